"""Train one network per fold and score their out-of-fold predictions with macro F1.

Examples:
  python train.py                                    the embedded sample competition
  python train.py --data PATH                        your own competition: a folder or a zip
  python train.py --data PATH --model resnet18 --epochs 40 --only-folds 0
  python train.py --config runs/NAME/settings.yaml   the settings of an earlier run

The same command goes on where it was killed. Exit codes: 0 done, 2 refused, 3 time limit reached, 130 stopped.
"""

import shlex
import time
from collections.abc import Sequence

from competition.cli import Parser, parse_settings, run_command
from competition.config import TrainSettings


def main(argv: Sequence[str] | None = None) -> int:
    """Images -> folds -> one network per fold -> out-of-fold predictions -> macro F1."""
    start = time.perf_counter()
    parser = Parser(__doc__ or "", prog="train.py")
    parser.add_argument("--config", metavar="FILE.yaml", help="settings to start from; flags override them")
    settings, _ = parse_settings(parser, TrainSettings, argv)

    from competition.training import cross_validation as steps  # late: torch is not needed to refuse a flag

    run = steps.open_run(settings)
    in_time = steps.train_folds(run, start)
    unfinished = steps.unfinished_folds(run)
    if unfinished:
        told = f"fold {', '.join(map(str, unfinished))}; {way_on(unfinished, settings.only_folds)}"
        print(f"{run.folder}: not finished: {told}")
        return 0 if in_time else 3
    score = steps.pool_and_score(run)
    print(steps.describe(score))
    elsewhere = [] if run.has_test_images else ["--data", "PATH"]
    print(shlex.join(["python", "predict.py", str(run.folder), *elsewhere]))  # the run knows its data
    return 0


def way_on(unfinished: Sequence[int], asked: Sequence[int] | None) -> str:
    """Say which command trains the folds that are not finished, where it was asked for some of all."""
    if asked is None or set(unfinished) <= set(asked):
        return "the same command goes on"
    if set(unfinished).isdisjoint(asked):
        return "the same command without --only-folds trains them"
    return "the same command goes on, without --only-folds with all of them"


if __name__ == "__main__":
    run_command(main)
