"""Worker processes: their share of the cores, and no password where others can read it."""

import io
import json
import math
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from competition.config import TrainSettings
from competition.errors import UserError
from competition.stop import Stop
from competition.tuning import workers as workers_module
from competition.tuning.settings import TuneSettings
from competition.tuning.workers import start_worker, worker_environment


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 2, "4"), (8, 3, "2"), (2, 4, "1")])
def test_workers_divide_the_cores(monkeypatch, cores, workers, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)))
    environment = worker_environment(workers)
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == threads
    assert environment["PATH"] == os.environ["PATH"]


def test_the_settings_travel_through_the_pipe_alone(tmp_path, monkeypatch):
    seen = {}

    class Pipe(io.BytesIO):
        def close(self):
            seen["task"] = self.getvalue()
            super().close()

    def start(words, **options):
        seen.update(words=words, environment=options["env"])
        return SimpleNamespace(stdin=Pipe())

    monkeypatch.setattr(subprocess, "Popen", start)
    settings = TuneSettings(storage="postgresql://u:secret@h/d", workers=2)
    search = SimpleNamespace(settings=settings, base=TrainSettings(epochs=7), folder=tmp_path)
    start_worker(search, tmp_path / "workers" / "0.log", math.inf)
    assert "secret" not in str(seen["words"]) + str(seen["environment"])
    task = json.loads(seen["task"])
    assert TuneSettings(**task["tune"]) == settings
    assert TrainSettings(**task["base"]) == search.base
    assert (task["seconds_left"], task["parent"]) == (None, os.getpid())


def test_a_second_interrupt_kills_workers_that_do_not_save(tmp_path, monkeypatch):
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(20)"
    started = []

    def start(*_):
        started.append(subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE))
        started[-1].stdout.readline()  # it is deaf now
        return started[-1]

    looks = iter([None, None])

    def refresh(trials):
        assert started[0].poll() is None
        if next(looks, "end") == "end":
            raise KeyboardInterrupt

    monkeypatch.setattr(workers_module, "start_worker", start)
    search = SimpleNamespace(settings=TuneSettings(workers=2), folder=tmp_path, trials=list)
    with pytest.raises(KeyboardInterrupt):
        workers_module._work_in_processes(search, Stop(deadline=0.0), SimpleNamespace(refresh=refresh))
    assert [worker.returncode for worker in started] == [-signal.SIGKILL] * 2


def test_what_a_worker_was_refused_for_is_said_once(tmp_path, capsys):
    logs = [tmp_path / f"{number}.log" for number in range(4)]
    for log in logs[:2]:
        log.write_text("some output\nerror: the last 10 trials all failed\n")
    with pytest.raises(UserError) as refusal:
        workers_module._raise_their_errors([2, 2, 1, -9], logs)
    assert str(refusal.value).splitlines() == [
        "the last 10 trials all failed",
        f"worker 2 ended with code 1, see {logs[2]}",
    ]
    assert "worker 3 was ended by signal 9" in capsys.readouterr().out


def test_workers_that_all_end_before_the_trials_do_are_an_error(tmp_path, monkeypatch, capsys):
    ends = iter(["os.kill(os.getpid(), signal.SIGKILL)", "sys.exit(130)"])
    start = lambda *_: subprocess.Popen([sys.executable, "-c", f"import os, signal, sys; {next(ends)}"])  # noqa: E731
    monkeypatch.setattr(workers_module, "start_worker", start)
    search = SimpleNamespace(settings=TuneSettings(workers=2), folder=tmp_path, trials=list)
    with pytest.raises(UserError, match=r"every worker was ended before the trials were.*the same command goes on"):
        workers_module._work_in_processes(search, Stop(), SimpleNamespace(refresh=lambda trials: None))
    assert "worker 0 was ended by signal 9" in capsys.readouterr().out


def test_dead_workers_beside_one_that_saw_the_end_are_no_error(tmp_path, capsys):
    workers_module._raise_their_errors([0, -9, 3], [tmp_path / "x"] * 3)
    assert "signal 9" in capsys.readouterr().out
