"""Seconds that a trial takes beyond the training of its folds, per trial of a real study.

  python benchmarks/tuning_overhead.py                      the embedded sample, 6 trials of 2 folds
  python benchmarks/tuning_overhead.py --data PATH --trials 4

Fold training is everything inside `fit_fold`; the rest of a trial is claiming, sampling, opening the run, pruning,
reports, scoring and recording. The first trial also opens what the others share.
"""

import argparse
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from competition.process import settle

settle()

from competition.config import TrainSettings  # noqa: E402
from competition.training.fit import fit_fold  # noqa: E402
from competition.tuning import study as steps  # noqa: E402
from competition.tuning import trial  # noqa: E402
from competition.tuning.settings import TuneSettings  # noqa: E402
from competition.tuning.work import Stop  # noqa: E402
from competition.tuning.workers import work_here  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--trials", type=int, default=6)
    parser.add_argument("--folds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--storage")
    asked = parser.parse_args()
    inside = 0.0

    def timed(*arguments, **options):
        nonlocal inside
        start = time.perf_counter()
        try:
            return fit_fold(*arguments, **options)
        finally:
            inside += time.perf_counter() - start

    trial.fit_fold = timed
    with tempfile.TemporaryDirectory() as place:
        steps.FOLDER = Path(place)
        base = TrainSettings(data=asked.data, folds=asked.folds, epochs=asked.epochs, on_bad="skip")
        settings = TuneSettings(study="overhead", trials=asked.trials, storage=asked.storage, pruner="none")
        search = steps.open_study(settings, base)
        marks = [(time.perf_counter(), 0.0)]
        work_here(search, Stop(), lambda: marks.append((time.perf_counter(), inside)))
        found = [end - start - (after - before) for (start, before), (end, after) in pairwise(marks)]
        print(f"first trial: {found[0]:.2f} s beyond its folds")
        rest = sorted(found[1:])
        print(f"the other {len(rest)}: median {statistics.median(rest):.3f} s, largest {rest[-1]:.3f} s")


if __name__ == "__main__":
    main()
