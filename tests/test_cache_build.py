"""A cache is made whole or not at all: killed, raced, out of space."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
import pytest

from competition.data import cache_build, decode
from competition.data.facts import FACT_BYTES
from competition.errors import UserError
from tests.conftest import REPOSITORY
from tests.test_cache import opened, write_images


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return write_images(tmp_path / "images", 70)


# Decodes half of the images and waits at the gate, a file, for leave to go on.
GATED_DECODE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
import pandas as pd
from pathlib import Path
from competition.data import cache, cache_build, decode
real, gate, cache_build.PROCESSES_FROM = decode.decode_file, Path(sys.argv[3]), int(sys.argv[4])
def gated(path, *args):
    while Path(path).name == "35.png" and not gate.exists():
        time.sleep(0.01)
    return real(path, *args)
decode.decode_file = gated
table = pd.read_csv(sys.argv[1], dtype=str)
print("go", flush=True)
cache.open_images(table, image_size=8, resize="squash", cache_dir=Path(sys.argv[2]), limit_bytes=1 << 30)
print("done", flush=True)
"""


BY_THREADS, BY_PROCESSES = 1000, 0  # fewer images than the first are decoded by threads


def start_gated_decode(table: pd.DataFrame, folder: Path, processes_from: int = BY_THREADS) -> subprocess.Popen[str]:
    table.to_csv(folder / "table.csv", index=False)
    words = [*map(str, (folder / "table.csv", folder / "cache", folder / "gate", processes_from))]
    process = subprocess.Popen(
        [sys.executable, "-c", GATED_DECODE, *words],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    while not list((folder / "cache").glob("*.tmp-*/images.npy")):
        assert process.poll() is None
        time.sleep(0.01)
    return process


def wait_for(is_so: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize("processes_from", [BY_THREADS, BY_PROCESSES])
def test_killed_decode_leaves_nothing_usable(table: pd.DataFrame, tmp_path: Path, processes_from: int) -> None:
    process = start_gated_decode(table, tmp_path, processes_from)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: is_gone(process.pid))  # the processes that decode for it too
    assert not list((tmp_path / "cache").glob("*/meta.json"))
    (left,) = (tmp_path / "cache").glob("*.tmp-*")
    opened(write_images(tmp_path / "others", 1), tmp_path / "cache")  # sweeps what the dead process left
    assert not left.exists()
    assert len(opened(table, tmp_path / "cache").facts) == 70


def children_of(process: "subprocess.Popen[str]") -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def ignores_interrupts(process: int) -> bool:
    (ignored,) = (line for line in Path(f"/proc/{process}/status").read_text().splitlines() if "SigIgn" in line)
    return bool(int(ignored.split()[1], 16) >> (signal.SIGINT - 1) & 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes in /proc")
def test_a_killed_process_that_decodes_is_told(table: pd.DataFrame, tmp_path: Path) -> None:
    process = start_gated_decode(table, tmp_path, BY_PROCESSES)
    wait_for(lambda: bool(children_of(process)))
    for child in children_of(process):
        os.kill(child, signal.SIGKILL)
    _, error = process.communicate(timeout=60)
    assert "UserError: a process that decodes images was killed, most likely for want of memory" in error
    assert not list((tmp_path / "cache").glob("*.tmp-*"))
    assert not list((tmp_path / "cache").glob("*/meta.json"))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds the processes in /proc")
def test_an_interrupted_decode_ends_without_words_of_its_processes(table: pd.DataFrame, tmp_path: Path) -> None:
    process = start_gated_decode(table, tmp_path, BY_PROCESSES)
    wait_for(lambda: bool(children_of(process)) and all(ignores_interrupts(child) for child in children_of(process)))
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl+C does
    (tmp_path / "gate").touch()
    _, error = process.communicate(timeout=60)
    assert error.count("Traceback") == error.count("KeyboardInterrupt\n") == 1
    assert is_gone(process.pid)
    assert not list((tmp_path / "cache").glob("*.tmp-*"))


def test_processes_decode_what_threads_do(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(table["path"][3])).write_bytes(b"not an image")
    made = []
    for processes_from in (BY_THREADS, BY_PROCESSES):
        monkeypatch.setattr(cache_build, "PROCESSES_FROM", processes_from)
        store = opened(table, tmp_path / str(processes_from))
        made.append((store.facts, store.gather(np.arange(70))))
    pd.testing.assert_frame_equal(made[0][0], made[1][0])
    assert (made[0][1] == made[1][1]).all()


def test_two_processes_decode_once(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = start_gated_decode(table, tmp_path)
    (building,) = (tmp_path / "cache").glob("*.tmp-*")
    opened(write_images(tmp_path / "others", 1), tmp_path / "cache")  # must not sweep a live decode
    assert building.exists()
    take_lock, waited = cache_build.take_lock, []

    def let_the_other_go_on(file: IO[str], wait: bool = False) -> bool:
        if wait:
            waited.append(file)
            (tmp_path / "gate").touch()
        return take_lock(file, wait)

    monkeypatch.setattr(cache_build, "take_lock", let_the_other_go_on)
    opened(table, tmp_path / "cache")
    assert len(waited) == 1
    assert process.wait(timeout=300) == 0
    assert len(list((tmp_path / "cache").glob("*/meta.json"))) == 2
    assert not list((tmp_path / "cache").glob("*.tmp-*"))


@pytest.mark.usefixtures("without_locks")
def test_without_locks_nothing_is_swept(table: pd.DataFrame, tmp_path: Path) -> None:
    opened(table[:3], tmp_path / "cache")
    (key,) = (path.parent.name for path in (tmp_path / "cache").glob("*/meta.json"))
    shutil.rmtree(tmp_path / "cache" / key)
    live = [tmp_path / "cache" / f"{name}.tmp-{os.getpid()}" for name in (key, "other")]
    for folder in live:  # of other processes, perhaps on another host
        folder.mkdir()
    assert len(opened(table[:3], tmp_path / "cache").facts) == 3
    assert all(folder.exists() for folder in live)


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("look_first", [True, False])
def test_full_disk(table: pd.DataFrame, small_disk: Path, monkeypatch: pytest.MonkeyPatch, look_first: bool) -> None:
    if not look_first:  # somebody else fills the disk after we looked
        monkeypatch.setattr(cache_build, "_require_space", lambda folder, needed: None)
    needed = 70 * 32 * 32 * 3 + 70 * FACT_BYTES + 4096
    with pytest.raises(UserError, match=rf"{small_disk}.*no space.*{needed:,} bytes.*--cache-dir"):
        opened(table, small_disk, image_size=32)
    assert [path.suffix for path in small_disk.iterdir()] == [".lock"]
    assert len(opened(table[:5], small_disk)) == 5  # what fits still works


def test_cache_dir_that_is_a_file(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="cannot be written.*--cache-dir"):
        opened(table, tmp_path / "cache")


def test_progress_without_a_terminal(table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(table, tmp_path / "cache")
    assert capsys.readouterr().err.startswith("decoding: 70/70 images in ")


PASSING = [
    *(OSError(number, os.strerror(number)) for number in (errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES)),
    MemoryError(),
]


def failing_for(name: str, error: Exception, function: Callable[..., Any]) -> Callable[..., Any]:
    def fail(path: str, *more: object) -> Any:
        if path.endswith(name):
            raise error
        return function(path, *more)

    return fail


@pytest.mark.parametrize("processes_from", [BY_THREADS, BY_PROCESSES])
@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_the_system_could_not_read_is_no_fact(
    table: pd.DataFrame, tmp_path: Path, error: Exception, processes_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_build, "PROCESSES_FROM", processes_from)
    reason = "not enough memory" if isinstance(error, MemoryError) else str(error.args[1]).lower()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "read_bytes", failing_for("35.png", error, decode.read_bytes))
        with pytest.raises(UserError, match=rf"images/35\.png: .*{reason}"):
            opened(table, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/meta.json"))
    store = opened(table, tmp_path / "cache")
    assert (store.facts["error"] == "").all()
    assert store.gather(np.array([35])).any()


def test_decoding_as_needed_does_not_pass_over_what_the_system_could_not_read(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = opened(table, tmp_path / "cache", limit_bytes=0)
    monkeypatch.setattr(decode, "read_bytes", failing_for("35.png", PASSING[0], decode.read_bytes))
    with pytest.raises(UserError, match=r"images/35\.png: .*input/output error"):
        store.gather(np.arange(70))
