"""The real scripts stopped: by the time limit, killed for real, on a full disk; nothing finished is lost."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import train
from competition.predictions import load_predictions
from competition.runs import read_history
from tests.conftest import REPOSITORY
from tests.tiny_run import TINY, answer

pytestmark = pytest.mark.usefixtures("no_probe")


def test_the_time_limit_ends_with_code_3_and_the_same_command_goes_on(folders, place, capsys):
    words = ["--data", folders, "--run", "runs/t", *place, *TINY]
    code, out, _ = answer(train.main, [*words, "--time-limit", "1s", "--epochs", "2000"], capsys)
    assert code == 3
    assert "the same command goes on" in out
    assert Path("runs/t/fold_0/state.pt").exists()
    code, out, _ = answer(train.main, [*words, "--time-limit", "1s", "--epochs", "2000"], capsys)
    assert "fold 0: going on from epoch" in out


# train.py that saves its state every few milliseconds, so that kills also land inside a write of the state. Without
# the probe: two runs in different layouts differ in their last bits.
HURRIED = """
import sys, train
from competition.cli import run_command
from competition.precision import Precision
from competition.training import fit, machine
fit.SAVE_SECONDS = 0.02
machine.probe_precision = lambda *_: (Precision(), {})
run_command(train.main, sys.argv[1:])
"""


def hurried_train(words, cwd):
    """Start training in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", HURRIED, *map(str, words)],
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def finish(process):
    """Let a training run to its end."""
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, output


def test_killed_at_random_moments_the_predictions_are_bit_identical(folders, tmp_path):
    words = ["--data", folders, *TINY, "--epochs", "15", "--cache-dir", tmp_path / "cache", "--run"]
    finish(hurried_train([*words, "runs/a"], tmp_path))
    pauses = random.Random(0)
    for _ in range(4):
        process = hurried_train([*words, "runs/b"], tmp_path)
        for line in process.stdout:  # wait until a fold is under way: importing is not worth killing
            if line.startswith("fold "):
                break
        time.sleep(pauses.uniform(0, 0.6))
        process.send_signal(signal.SIGKILL)
        process.wait()
    finish(hurried_train([*words, "runs/b"], tmp_path))
    for fold in ("fold_0", "fold_1"):
        first, second = (load_predictions(tmp_path / "runs" / run / fold / "predictions.npz") for run in "ab")
        np.testing.assert_array_equal(first.probabilities, second.probabilities)
        epochs = [record["epoch"] for record in read_history(tmp_path / "runs" / "b" / fold / "history.jsonl")]
        assert epochs == [record["epoch"] for record in read_history(tmp_path / "runs" / "a" / fold / "history.jsonl")]


@pytest.mark.parametrize(
    ("send", "number"),
    [(os.killpg, signal.SIGINT), (os.kill, signal.SIGTERM), (os.killpg, signal.SIGTERM)],
    ids=["as a terminal does", "as kill does", "as Slurm, systemd and timeout do"],
)
def test_a_signal_saves_and_the_same_command_goes_on(folders, tmp_path, send, number):
    words = ["--data", folders, *TINY, "--epochs", "2000", "--workers", "1", "--run", "runs/a"]
    process = hurried_train(words, tmp_path)
    state = tmp_path / "runs" / "a" / "fold_0" / "state.pt"
    for line in process.stdout:
        if line.startswith("fold 0: epoch"):
            break
    send(process.pid, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopping as soon as all is saved" in said
    assert said.endswith("error: stopped; the same command goes on from what is saved\n")
    assert "Traceback" not in said
    assert torch.load(state, weights_only=True)["progress"]["step"] > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="a full disk needs the right to mount a small one")
def test_a_full_disk_loses_nothing_that_was_finished(folders, place, capsys, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2500k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("mounting is not permitted here")
    try:
        words = ["--data", folders, *place, *TINY, "--epochs", "1", "--run", disk / "run"]
        assert answer(train.main, [*words, "--only-folds", "0"], capsys)[0] == 0
        before = (disk / "run" / "fold_0" / "model.safetensors").read_bytes()
        with open(disk / "filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(b"x" * 4096)
        code, _, err = answer(train.main, words, capsys)
        assert code == 2
        assert "No space left on device" in err
        assert (disk / "run" / "fold_0" / "model.safetensors").read_bytes() == before
        (disk / "filler").unlink()
        assert answer(train.main, words, capsys)[0] == 0
    finally:
        subprocess.run(["umount", str(disk)], check=True)
