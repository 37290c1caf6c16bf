"""The processes that train trials: one here, or several that divide the cores."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from competition.errors import UserError
from competition.process import usable_cores
from competition.stop import Stop
from competition.tuning.claims import Claims, refuse_no_result
from competition.tuning.display import Board
from competition.tuning.owners import Worker
from competition.tuning.search import Search
from competition.tuning.storage import StorageDown
from competition.tuning.trial import TrialRunner
from competition.tuning.work import work

POLL_SECONDS = 0.5  # between two looks at the workers


def train_trials(search: Search, start: float) -> int:
    """Train trials until the study has as many as wanted, the time limit comes or a signal; all is saved.

    Args:
        search: the study.
        start: `time.perf_counter` value from which ``--timeout`` counts.

    Returns:
        The exit code: 0, 3 where the time limit came first, 130 where a signal did.

    Raises:
        KeyboardInterrupt: a second signal came.
        UserError: what stopped the study, see `Claims.claim`, or no trial has finished.
    """
    settings = search.settings
    stop = Stop.after(settings.timeout, start)
    board = Board(search.folder, settings.trials, settings.workers)
    with stop.listening(), board:
        board.refresh(search.trials())
        if settings.workers == 1:
            work_here(search, stop, lambda: board.refresh(search.trials()))
        else:
            _work_in_processes(search, stop, board)
        board.refresh(search.trials())
    if stop():
        return 130 if stop.is_signalled else 3
    refuse_no_result(search.trials())
    return 0


def work_here(search: Search, stop: Stop, refresh: Callable[[], None] = lambda: None) -> None:
    """Train trials in this process until none is left to claim."""
    worker = Worker(search.folder)
    claims = Claims(search, worker)
    claims.enqueue_first(search.space.defaults())
    try:
        work(claims, TrialRunner(search, worker.tell, stop), stop, refresh)
    finally:
        worker.leave()


def _work_in_processes(search: Search, stop: Stop, board: Board) -> None:
    """Start the workers, show what they do, and pass a wish to stop on to them."""
    logs = [search.folder / "workers" / f"{number}.log" for number in range(search.settings.workers)]
    workers = [start_worker(search, log, stop.deadline) for log in logs]
    is_told = False
    try:
        while any(worker.poll() is None for worker in workers):
            if stop() and not is_told:
                is_told = True
                _signal(workers, signal.SIGTERM)
            with suppress(StorageDown):  # the workers will say so
                board.refresh(search.trials())
            time.sleep(POLL_SECONDS)
    except BaseException:
        _signal(workers, signal.SIGKILL if is_told else signal.SIGTERM)  # they take SIGTERM as a wish, every time
        raise
    finally:
        for worker in workers:
            worker.wait()
    if not stop():
        _raise_their_errors([worker.returncode for worker in workers], logs)


def _signal(workers: "list[subprocess.Popen[bytes]]", number: signal.Signals) -> None:
    for worker in workers:
        worker.send_signal(number)


def start_worker(search: Search, log: Path, deadline: float) -> "subprocess.Popen[bytes]":
    """Start a process that trains trials with its share of the cores; it stops when this process dies.

    The settings travel through a pipe: a password in them shows neither in the process list nor in the environment.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    left = None if math.isinf(deadline) else max(0.0, deadline - time.perf_counter())
    task = {"tune": search.settings.plain(), "base": search.base.plain(), "seconds_left": left, "parent": os.getpid()}
    with open(log, "wb") as output:
        worker = subprocess.Popen(
            [sys.executable, "-m", "competition.tuning.worker"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=worker_environment(search.settings.workers),
        )
    assert worker.stdin is not None
    with suppress(BrokenPipeError), worker.stdin:
        worker.stdin.write(json.dumps(task).encode())
    return worker


def worker_environment(workers: int) -> dict[str, str]:
    """Return the environment of one of several workers: threads for its share of the cores."""
    threads = str(max(1, usable_cores() // workers))
    package = str(Path(__file__).parents[2])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        **os.environ,
        **dict.fromkeys(names, threads),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }


def _raise_their_errors(codes: list[int], logs: list[Path]) -> None:
    """Say which workers died; raise UserError with their words, or where none saw that no trial was left."""
    errors = {}
    for number, (code, log) in enumerate(zip(codes, logs, strict=True)):
        if code < 0:
            print(f"worker {number} was ended by signal {-code}; its trial goes on elsewhere or with the same command")
        elif code == 2:
            errors[log.read_text(errors="replace").split("error: ", 1)[-1].strip()] = log
        elif code not in (0, 3, 130):
            errors[f"worker {number} ended with code {code}, see {log}"] = log
    if errors:
        raise UserError("\n".join(errors))
    if 0 not in codes:
        raise UserError(
            "every worker was ended before the trials were (out of memory? then give fewer --workers): "
            "the same command goes on"
        )
