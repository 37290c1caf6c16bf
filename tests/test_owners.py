"""Who works on a study."""

import os
import signal
import time
from types import SimpleNamespace

from competition.tuning import owners
from competition.tuning.owners import Worker, forget, is_alive, statuses


def test_a_worker_lives_until_it_leaves(tmp_path):
    worker = Worker(tmp_path)
    assert is_alive(tmp_path, worker.name) is True
    worker.leave()
    assert is_alive(tmp_path, worker.name) is None


def test_a_killed_worker_is_known_to_be_dead(tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        worker = Worker(tmp_path)
        os.write(writer, worker.name.encode())
        signal.pause()
    name = os.read(reader, 500).decode()
    assert is_alive(tmp_path, name) is True
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert is_alive(tmp_path, name) is False
    forget(tmp_path, name)
    assert is_alive(tmp_path, name) is None


def test_without_locks_nobody_knows_who_lives(tmp_path, without_locks):
    worker = Worker(tmp_path)
    assert is_alive(tmp_path, worker.name) is None
    worker.leave()


def test_names_differ_within_a_process_too(tmp_path):
    names = {Worker(tmp_path).name for _ in range(3)}
    assert len(names) == 3
    assert all(f"-{os.getpid()}-" in name for name in names)


def test_what_workers_do_is_noted_at_most_once_a_second(tmp_path, monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now, time_ns=time.time_ns, now=100.0)
    monkeypatch.setattr(owners, "time", clock)
    worker = Worker(tmp_path)
    worker.tell({"trial": 1})
    clock.now += 0.99
    worker.tell({"trial": 2})
    assert statuses(tmp_path) == [{"trial": 1}]
    worker.tell({"trial": 3}, now=True)
    assert statuses(tmp_path) == [{"trial": 3}]
    clock.now += 1.0
    worker.tell({"trial": 4})
    assert statuses(tmp_path) == [{"trial": 4}]
    (tmp_path / "workers" / "damaged.json").write_text("{")
    assert statuses(tmp_path) == [{"trial": 4}]
    worker.leave()
    assert statuses(tmp_path) == []
