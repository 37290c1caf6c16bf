"""``python -m competition.tuning.worker``: one of several workers, started by `competition.tuning.workers`."""

import json
import math
import signal
import sys
import time
from collections.abc import Sequence

from competition.cli import run_command
from competition.config import TrainSettings
from competition.stop import Stop
from competition.tuning.settings import TuneSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Read the task from standard input and train trials; returns 0 once none is left, 130 when told to stop before."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt reaches all; the first process passes it on
    task = json.load(sys.stdin)
    left = task["seconds_left"]
    deadline = math.inf if left is None else time.perf_counter() + left

    from competition.tuning.study import open_study
    from competition.tuning.workers import work_here

    stop = Stop(deadline, task["parent"])
    # Each time: one wish may come twice, to the whole group and from the first process, which kills where it must.
    signal.signal(signal.SIGTERM, stop.wish)
    work_here(open_study(TuneSettings(**task["tune"]), TrainSettings(**task["base"])), stop)
    return 130 if stop() else 0


if __name__ == "__main__":
    run_command(main)
