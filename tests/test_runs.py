"""Atomic writes, history, locks and counted numbers."""

import errno
import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.error

import pytest

from competition import runs
from competition.cli import run_command
from competition.errors import UserError


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    runs.write_atomically(path, "old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk")))
    with pytest.raises(OSError, match="disk"):
        runs.write_atomically(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_writers_of_two_hosts_with_the_same_pid_do_not_touch_each_others_file(tmp_path, monkeypatch):
    path, fsync, contents = tmp_path / "a.json", os.fsync, []

    def let_the_other_write(number):
        fsync(number)
        monkeypatch.setattr(os, "fsync", fsync)
        runs.write_atomically(path, "theirs")
        contents.append(path.read_text())

    monkeypatch.setattr(os, "fsync", let_the_other_write)
    runs.write_atomically(path, "ours")
    assert [*contents, path.read_text()] == ["theirs", "ours"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_named_by_the_file_that_was_wanted(tmp_path, monkeypatch, capsys):
    def fail(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SystemExit) as end:
        run_command(lambda _: runs.write_atomically(tmp_path / "a.json", "new"))
    assert end.value.code == 2
    assert f"No space left on device ({tmp_path / 'a.json'}): free some space" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("folder", "Is a directory"),
        ("file/a.json", "File exists"),
        ("file/a/b.json", "Not a directory"),
        ("n" * 300, "File name too long"),
        ("n" * 300 + "/a.json", "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused(tmp_path, capsys, name, said):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit) as end:
        run_command(lambda _: runs.write_atomically(tmp_path / name, "new"))
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert f"({tmp_path / name.partition('/')[0]}" in error


def test_a_name_of_255_bytes_is_not_too_long(tmp_path):
    path = tmp_path / ("é" * 125 + ".json")
    runs.write_atomically(path, "new")
    assert [file.read_text() for file in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EIO, "Input/output error"), urllib.error.HTTPError("https://example.org/a", 404, "lost", {}, None)],
)
def test_an_error_without_a_place_on_disk_is_not_hidden(error):
    def fail(_):
        raise error

    with pytest.raises(OSError, match="error|lost"):
        run_command(fail)


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a"
    code = (
        "from pathlib import Path; from competition.runs import write_atomically\n"
        f"path = Path({str(path)!r})\n"
        "n = 0\nwhile True:\n  n = (n + 1) % 10; write_atomically(path, str(n) * 200_000)\n"
    )
    for pause in (0.05, 0.11, 0.17):
        path.write_text("")
        process = subprocess.Popen([sys.executable, "-c", code])
        while not path.read_text():
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(pause)
        process.send_signal(signal.SIGKILL)
        process.wait()
        text = path.read_text()
        assert len(text) == 200_000
        assert len(set(text)) == 1


def test_a_history_whose_last_line_was_cut_is_read_up_to_it(tmp_path):
    path = tmp_path / "history.jsonl"
    runs.append_history(path, {"epoch": 1})
    with open(path, "a") as file:
        file.write('{"epoch": 2, "lo')
    assert runs.read_history(path) == [{"epoch": 1}]
    assert runs.read_history(tmp_path / "none") == []


def _hold(path, held):
    with runs.locked(path, "fold 0"):
        held.set()
        signal.pause()  # until it is killed


def test_a_lock_keeps_others_out_and_dies_with_its_process(tmp_path):
    path = tmp_path / "lock"
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(path, held))
    process.start()
    assert held.wait(300)
    with pytest.raises(UserError, match="another process"), runs.locked(path, "fold 0"):
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with runs.locked(path, "fold 0"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL])
@pytest.mark.parametrize("wait", [False, True])
def test_a_file_system_without_locks_does_without(tmp_path, monkeypatch, number, wait):
    answer_locks_with(monkeypatch, number)
    with runs.locked(tmp_path / "lock", "fold 0", wait):
        pass
    with open(tmp_path / "lock", "a") as file:
        assert not runs.take_lock(file, wait)


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_only_a_lock_that_is_held_keeps_out(tmp_path, monkeypatch, number):
    answer_locks_with(monkeypatch, number)
    with pytest.raises(UserError, match="fold 0 is being trained by another"), runs.locked(tmp_path / "lock", "fold 0"):
        pass


def test_a_disk_that_fails_is_no_lock(tmp_path, monkeypatch):
    answer_locks_with(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match="flock"), runs.locked(tmp_path / "lock", "fold 0"):
        pass


def answer_locks_with(monkeypatch, number):
    def fail(*_):
        raise OSError(number, "flock fails")

    monkeypatch.setattr(fcntl, "flock", fail)


def test_counted_seeds_depend_on_every_key():
    seeds = {runs.counted_seed(a, b, c) for a in range(4) for b in range(4) for c in ("x", "y")}
    assert len(seeds) == 32
    assert runs.counted_seed(1, 23) != runs.counted_seed(12, 3)
    assert runs.counted_seed("a", 0) == 5896990226851556301  # the same on every machine, for ever


@pytest.mark.parametrize(("text", "said"), [(None, "does not exist"), ("{", "is damaged")])
def test_unreadable_json_is_named(tmp_path, text, said):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=said):
        runs.read_json(path)


def test_a_long_name_is_cut_within_its_bytes_and_stays_another():
    assert runs.shortened("a-b", 12) == "a-b"
    names = [runs.shortened("ü" * 20 + end, 21) for end in "xy"]
    assert all(name.startswith("üüüüüü-") and len(name.encode()) == 21 for name in names)
    assert names[0] != names[1]
    assert "--" not in runs.shortened("ab-cdefghijklmn", 12)  # "ab-" is what is left before the hash
