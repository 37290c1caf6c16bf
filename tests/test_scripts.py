"""The real scripts on tiny data: train, go on, predict, score; killed for real; refused in words."""

import contextlib
import dataclasses
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import albumentations
import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from timm.models import register_model
from torch import nn

import predict
import train
from competition.__main__ import main as competition
from competition.checkpoint import open_checkpoint, save_checkpoint
from competition.cli import run_command
from competition.models.budget import count_nonzero
from competition.models.factory import create_network
from competition.predictions import load_predictions
from competition.runs import read_history
from competition.training import machine
from competition.training.probe import probe_precision
from tests.conftest import REPOSITORY

pytestmark = pytest.mark.usefixtures("no_probe")
CLASSES = ("blue", "green", "<red>")
TINY = [
    "--model",
    "mycnn",
    "--folds",
    "2",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--precision",
    "fp32",
    "--learning-rate",
    "0.01",
]


def picture(rng, channel, size=32):
    """Return noise that is brighter in one channel. (size, size, 3) uint8, BGR."""
    image = rng.integers(0, 180, (size, size, 3), dtype=np.uint8)
    image[..., channel] += 70
    return image


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Class folders: 24 training, 6 validation and 9 test images."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("data") / "tiny"
    for split, count in (("train", 8), ("val", 2)):
        for channel, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(root / split / name / f"{split}{number}.png"), picture(rng, channel))
    (root / "test").mkdir()
    for number in range(9):
        cv2.imwrite(str(root / "test" / f"{number}.png"), picture(rng, number % 3))
    return root


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory with its own cache."""
    monkeypatch.chdir(tmp_path)
    return ["--cache-dir", str(tmp_path / "cache")]


def answer(main, words, capsys):
    """Run a command as its script does; return (exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as end:
        run_command(main, [str(word) for word in words])
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


@pytest.fixture(scope="module")
def trained(folders, no_probe, tmp_path_factory):
    """A finished run, made once; tests copy what they change."""
    place = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(place)
    try:
        train.main(["--data", str(folders), "--run", "runs/a", "--cache-dir", str(place / "cache"), *TINY])
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def finished(trained, tmp_path, monkeypatch):
    """A copy of the finished run in a working directory of its own."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return ["--cache-dir", str(tmp_path / "copy" / "cache")]


def test_a_run_leaves_what_the_readme_says(trained):
    run = trained / "runs" / "a"
    names = {path.name for path in run.iterdir()}
    assert {
        "settings.yaml",
        "run.json",
        "environment.json",
        "precision.json",
        "oof.npz",
        "oof.csv",
        "score.json",
    } <= names
    assert {path.name for path in (run / "fold_0").iterdir()} == {
        "history.jsonl", "lock", "model.json", "model.safetensors", "predictions.npz",
    }  # fmt: skip
    pooled = load_predictions(run / "oof.npz")
    assert len(pooled.image_ids) == 30  # the validation split joins the folds
    table = pd.read_csv(run / "oof.csv")
    assert table["image_id"].tolist() == pooled.image_ids.tolist()
    score = json.loads((run / "score.json").read_text())
    assert set(score["per_fold"]) == {"0", "1"}
    assert set(score["per_class"]) == set(CLASSES)
    assert score["kept_epoch"] == "last"
    folds = pd.read_csv(trained / "folds" / "tiny-2-seed0.csv")
    assert folds["image_id"].nunique() == 30


def test_predict_writes_a_submission_and_what_made_it(finished, capsys):
    code, out, err = answer(predict.main, ["runs/a", "--out", "submissions/s.csv", *finished], capsys)
    assert code == 0
    assert "9 rows from 2 networks" in out
    assert "predicting: 18/18 images in " in err
    table = pd.read_csv("submissions/s.csv")
    assert table.columns.tolist() == ["image_id", "label"]
    assert table["image_id"].tolist() == [f"{number}.png" for number in range(9)]
    assert set(table["label"]) <= set(CLASSES)
    record = json.loads(Path("submissions/s.json").read_text())
    assert record["runs"][0]["folds"] == ["fold_0", "fold_1"]
    assert record["runs"][0]["out_of_fold"]["macro_f1"] == json.loads(Path("runs/a/score.json").read_text())["macro_f1"]


def test_the_last_line_is_the_predict_command(folders, finished, capsys):
    words = ["--data", folders, "--run", "runs/a", *finished, *TINY]
    code, out, _ = answer(train.main, words, capsys)  # finished: nothing is trained, the score is printed again
    assert code == 0
    command = out.splitlines()[-1].split()
    assert command[:2] == ["python", "predict.py"]
    assert answer(predict.main, [*command[2:], *finished], capsys)[0] == 0
    assert Path("submissions/a.csv").exists()


def test_other_settings_on_the_same_folder_are_listed(folders, finished, capsys):
    words = ["--data", folders, "--run", "runs/a", *finished, *TINY, "--epochs", "3", "--dropout", "0.1"]
    code, _, err = answer(train.main, words, capsys)
    assert code == 2
    assert "epochs: 2 then, 3 now" in err
    assert "dropout: 0.0 then, 0.1 now" in err


def test_a_run_knows_the_files_it_began_from_by_their_contents(folders, place, capsys):
    def write(policy, seed):
        albumentations.save(albumentations.Compose(policy), "policy.yaml", "yaml")
        torch.manual_seed(seed)
        save_file(create_network("mycnn", 3, image_size=32).state_dict(), "start.safetensors")

    def train_from(folder):
        files = ["--augment", f"{folder}/policy.yaml", "--weights", f"{folder}/start.safetensors"]
        command = ["--data", folders, "--run", "runs/w", *place, *TINY, "--only-folds", "0", "--epochs", "1", *files]
        return answer(train.main, command, capsys)

    write([albumentations.HorizontalFlip(p=0.5)], seed=1)
    assert train_from(".")[0] == 0
    shutil.copytree(".", "elsewhere", ignore=shutil.ignore_patterns("runs", "cache"))
    assert train_from("elsewhere")[0] == 0
    write([albumentations.VerticalFlip(p=0.5)], seed=2)
    code, _, err = train_from(".")
    assert code == 2
    assert "was begun with other settings" in err
    assert re.search(r"augment: 'contents \w{16}' then, 'contents \w{16}' now", err)
    assert re.search(r"weights: 'contents \w{16}, mean .*' then, 'contents \w{16}, mean .*' now", err)


def test_a_run_without_a_name_finds_itself_again(folders, place, capsys):
    words = ["--data", folders, *place, *TINY, "--only-folds", "0", "--epochs", "1"]
    assert answer(train.main, words, capsys)[0] == 0
    (run,) = Path("runs").iterdir()
    stamp = (run / "fold_0" / "model.safetensors").stat().st_mtime_ns
    code, out, _ = answer(train.main, words, capsys)
    assert code == 0
    assert "folds [1] are not finished" in out
    assert (run / "fold_0" / "model.safetensors").stat().st_mtime_ns == stamp


def test_a_partial_run_asks_for_permission(finished, capsys):
    (Path("runs/a/fold_1") / "predictions.npz").unlink()
    code, _, err = answer(predict.main, ["runs/a", *finished], capsys)
    assert code == 2
    assert "fold_1 not finished (1 of 2 are)" in err
    assert "--allow-partial" in err
    code, out, _ = answer(predict.main, ["runs/a", "--allow-partial", *finished], capsys)
    assert code == 0
    assert "from 1 network\n" in out


def test_runs_with_other_classes_are_refused(finished, capsys):
    shutil.copytree("runs/a", "runs/b")
    text = Path("runs/b/run.json").read_text().replace('"green"', '"violet"')
    Path("runs/b/run.json").write_text(text)
    code, _, err = answer(predict.main, ["runs/a", "runs/b", *finished], capsys)
    assert code == 2
    assert "only runs/b knows violet; only runs/a knows green" in err


def test_settings_can_be_read_back(folders, finished, capsys):
    code, out, _ = answer(train.main, ["--config", "runs/a/settings.yaml", "--run", "runs/a", *finished], capsys)
    assert code == 0
    assert "out-of-fold macro F1" in out


def test_holdout_is_scored_apart(folders, place, capsys):
    words = ["--data", folders, "--run", "runs/h", "--holdout", *place, *TINY, "--epochs", "1"]
    code, out, _ = answer(train.main, words, capsys)
    assert code == 0
    assert "holdout macro F1" in out
    assert json.loads(Path("runs/h/score.json").read_text())["holdout"]["rows"] == 6
    assert len(load_predictions(Path("runs/h/oof.npz")).image_ids) == 24


def test_the_time_limit_ends_with_code_3_and_the_same_command_goes_on(folders, place, capsys):
    words = ["--data", folders, "--run", "runs/t", *place, *TINY]
    code, out, _ = answer(train.main, [*words, "--time-limit", "1s", "--epochs", "2000"], capsys)
    assert code == 3
    assert "the same command goes on" in out
    assert Path("runs/t/fold_0/state.pt").exists()
    code, out, _ = answer(train.main, [*words, "--time-limit", "1s", "--epochs", "2000"], capsys)
    assert "fold 0: going on from epoch" in out


def test_a_zip_is_used_in_place(folders, place, capsys):
    shutil.make_archive("tiny", "zip", folders)
    words = ["--data", "tiny.zip", "--run", "runs/z", *place, *TINY, "--epochs", "1"]
    assert answer(train.main, words, capsys)[0] == 0
    assert answer(predict.main, ["runs/z", "--out", "z.csv", *place], capsys)[0] == 0
    assert len(pd.read_csv("z.csv")) == 9
    assert {path.name for path in Path().iterdir()} >= {"tiny.zip", "runs", "folds"}
    assert not Path("train").exists()


def test_repeats_average_two_dealings(folders, place, capsys):
    words = ["--data", folders, "--run", "runs/r", "--repeats", "2", *place, *TINY, "--epochs", "1"]
    assert answer(train.main, words, capsys)[0] == 0
    assert len(list(Path("runs/r").glob("fold_*"))) == 4
    assert len(load_predictions(Path("runs/r/oof.npz")).image_ids) == 30
    assert answer(predict.main, ["runs/r", *place], capsys)[0] == 0


@pytest.mark.parametrize("method", ["structured", "magnitude"])
def test_pruning_under_a_limit_and_tuning_on(folders, finished, capsys, method):
    words = ["--data", folders, "--run", "runs/p", *finished, *TINY, "--epochs", "1"]
    prune = ["--prune-from", "runs/a", "--max-parameters", "50000", "--prune-method", method]
    assert answer(train.main, [*words, *prune], capsys)[0] == 0
    network, _ = open_checkpoint(Path("runs/p/fold_0"))
    assert count_nonzero(network) <= 50_000
    assert answer(predict.main, ["runs/p", *finished], capsys)[0] == 0


def test_a_run_knows_what_it_is_pruned_from_by_its_weights(folders, finished, capsys):
    def prune_from(source):
        words = ["--data", folders, "--run", "runs/p", *finished, *TINY, "--epochs", "1", "--only-folds", "0"]
        return answer(train.main, [*words, "--prune-from", source, "--max-parameters", "50000"], capsys)

    assert prune_from("runs/a")[0] == 0
    os.rename("runs/a", "runs/moved")
    assert prune_from("runs/moved")[0] == 0
    network, checkpoint = open_checkpoint(Path("runs/moved/fold_1"))
    network.get_classifier().bias.data += 1
    save_checkpoint(Path("runs/moved/fold_1"), network, checkpoint)
    code, _, err = prune_from("runs/moved")
    assert code == 2
    assert re.search(r"prune_from: 'contents \w{16}' then, 'contents \w{16}' now", err)


def test_frozen_layers_keep_the_weights_they_started_from(folders, place, capsys):
    start = create_network("mycnn", 7, image_size=32)
    save_file(start.state_dict(), "start.safetensors")
    words = ["--data", folders, "--run", "runs/f", *place, *TINY, "--weights", "start.safetensors", "--only-folds", "0"]
    assert answer(train.main, [*words, "--freeze", "all"], capsys)[0] == 0
    trained, _ = open_checkpoint(Path("runs/f/fold_0"))
    head = set(dict(trained.get_classifier().named_parameters(prefix="classifier")))
    for name, tensor in trained.state_dict().items():
        assert name in head or torch.equal(tensor, start.state_dict()[name])
    assert head


def test_runs_are_joined_by_class_name(finished, capsys):
    """The same networks with their classes in another order must not change the answer."""
    shutil.copytree("runs/a", "runs/b")
    for fold in ("fold_0", "fold_1"):
        path = Path("runs/b") / fold
        network, checkpoint = open_checkpoint(path)
        order = [2, 0, 1]
        head = network.get_classifier()
        head.weight.data, head.bias.data = head.weight.data[order], head.bias.data[order]
        names = tuple(checkpoint.class_names[number] for number in order)
        save_checkpoint(path, network, dataclasses.replace(checkpoint, class_names=names))
    for name, runs in (("one", ["runs/a"]), ("both", ["runs/a", "runs/b"])):
        words = [*runs, "--ensemble", "mean", "--out", f"{name}.csv", *finished]
        assert answer(predict.main, words, capsys)[0] == 0
    assert Path("one.csv").read_text() == Path("both.csv").read_text()


def test_another_ensemble_of_the_same_runs_needs_no_network(folders, finished, capsys):
    words = ["--data", folders, "--run", "runs/b", *finished, *TINY, "--epochs", "1", "--seed", "1"]
    assert answer(train.main, words, capsys)[0] == 0  # on folds of its own
    code, out, err = answer(predict.main, ["runs/a", "runs/b", "--views", "auto", *finished], capsys)
    assert code == 0
    assert "2 members on 30 out-of-fold images, nested in 2 outer folds:" in out
    assert "views of b: 240/240 images in " in err  # 8 views of 30 images
    assert "runs/a: " in out
    assert answer(predict.main, ["runs/a", "runs/b", "--ensemble", "mean", *finished], capsys)[0] == 0
    first = Path("submissions/a+b.csv").read_text()
    for weights in Path("runs").glob("*/fold_*/model.safetensors"):
        weights.unlink()
    code, out, _ = answer(predict.main, ["runs/a", "runs/b", "--ensemble", "mean", *finished], capsys)
    assert code == 0
    assert Path("submissions/a+b.csv").read_text() == first
    code, _, err = answer(predict.main, ["runs/a", "runs/b", "--views", "auto", *finished], capsys)
    assert code == 2
    assert "--views auto predicts the held-out images anew and needs the networks" in err
    code, _, err = answer(predict.main, ["runs/a", "--views", "3", *finished], capsys)
    assert code == 2
    assert "fold_0 has no weights, and no stored predictions of these test images with 3 views" in err


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
        cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
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


class TooDeep(nn.Module):
    """Halves its pictures until there is nothing left to pool."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        return self.head(nn.functional.max_pool2d(images, 32).mean((2, 3)))


class Endless(TooDeep):
    """Is never finite."""

    def forward(self, images):
        return super().forward(images) / 0.0


@register_model
def too_deep_test_network(pretrained=False, num_classes=3, **options):
    return TooDeep(num_classes)


@register_model
def endless_test_network(pretrained=False, num_classes=3, **options):
    return Endless(num_classes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "resnet_fsat"], "did you mean 'resnet_fast'"),
        (["--model", "mycnn", "--model-options", "nonsense=1"], "has no option 'nonsense'"),
        (["--optimizer", "adamm"], "did you mean 'adam"),
        (["--augment", "meduim"], "did you mean 'medium'"),
        (["--max-parameters", "10"], "over the limit of 10"),
        (["--fold-file", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--folds", "60", "--only-folds", "0"], "class too small for the folds"),
        (["--device", "cuda"], "--device cuda"),
        (["--train-csv", "nowhere.csv"], "nowhere.csv"),
        (["--prune-from", "runs/none", "--max-parameters", "9"], "runs/none"),
        (["--augment", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--optimizer", "fusedsgd"], "--optimizer fusedsgd cannot run here: CUDA required"),
        (["--optimizer", "adahessian"], "--optimizer adahessian needs second derivatives"),
        (["--model", "mlp", "--grow-from", "0.5"], "--grow-from 0.5: mlp takes one image size only"),
        (["--model", "too_deep_test_network", "--image-size", "16"], "cannot take images of 16 px"),
        (["--precision", "fp16", "--model", "endless_test_network"], "--precision fp16: the loss is not finite"),
    ],
)
def test_wrong_flags_are_refused_and_leave_nothing_behind(folders, place, capsys, monkeypatch, words, said):
    monkeypatch.setattr(machine, "probe_precision", probe_precision)  # one of them is the probe's own refusal
    command = ["--data", folders, "--run", "runs/w", *place, *TINY]
    code, out, err = answer(train.main, [*command, *words], capsys)
    assert code == 2
    assert said in out + err
    assert "error: " in err
    assert not Path("runs").exists()


def test_a_refused_command_can_be_corrected_on_the_same_folder(folders, place, capsys):
    command = ["--data", folders, "--run", "runs/w", *place, *TINY, "--only-folds", "0", "--epochs", "1"]
    assert answer(train.main, [*command, "--optimizer", "adamm"], capsys)[0] == 2
    assert answer(train.main, command, capsys)[0] == 0


def test_a_folder_that_is_no_run_receives_no_file(folders, place, capsys):
    Path("mine/fold_0").mkdir(parents=True)
    Path("notes.txt").write_text("mine")
    for name, said in (("mine", "holds folds but no run.json"), ("notes.txt", "is a file: name a folder")):
        code, _, err = answer(train.main, ["--data", folders, "--run", name, *place, *TINY], capsys)
        assert code == 2
        assert said in err
    assert [path.name for path in Path("mine").rglob("*")] == ["fold_0"]


def test_no_run_is_no_run(place, capsys):
    code, _, err = answer(predict.main, ["nowhere", *place], capsys)
    assert code == 2
    assert "nowhere is not a run" in err


def test_data_that_is_not_there(place, capsys):
    code, _, err = answer(train.main, ["--data", "nowhere", *place], capsys)
    assert code == 2
    assert "nowhere" in err
    code, _, err = answer(competition, ["check", "nowhere", *place], capsys)
    assert code == 2


def test_bad_images_stop_the_training_unless_they_are_left_out(folders, place, capsys):
    shutil.copytree(folders, "bad")
    Path("bad/train/blue/train0.png").write_bytes(b"not an image")
    words = ["--data", "bad", "--run", "runs/b", *place, *TINY, "--only-folds", "0", "--epochs", "1"]
    code, out, err = answer(train.main, words, capsys)
    assert code == 2
    assert "train/blue/train0.png" in out
    assert "--on-bad skip" in err
    code, out, _ = answer(train.main, [*words, "--on-bad", "skip"], capsys)
    assert code == 0
    assert "left out of the training: 1 image\n" in out
    assert json.loads(Path("runs/b/run.json").read_text())["identity"]["images"] == 29


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
