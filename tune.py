"""Search for better settings: an Optuna study around the same fold training as train.py.

Examples:
  python tune.py                                            the embedded sample competition, 50 trials
  python tune.py --data PATH --study NAME --trials 100 --epochs 10 --timeout 2h
  python tune.py --data PATH --space mine.yaml --workers 4 --storage postgresql://USER@HOST/DATABASE
  python train.py --config studies/NAME/best.yaml           train with what was found

The same command goes on where it was killed; on other machines it joins in. Trial 0 is the settings given here.
Exit codes: 0 done, 2 refused, 3 time limit reached, 130 stopped.
"""

import time
from collections.abc import Sequence

from competition.cli import Parser, add_settings, run_command
from competition.config import TrainSettings
from competition.tuning.settings import NOT_FOR_TUNING, TuneSettings, read_tuning


def main(argv: Sequence[str] | None = None) -> int:
    """Images -> folds -> a trial per setting, each trained fold by fold -> the best setting."""
    start = time.perf_counter()
    parser = Parser(__doc__ or "", prog="tune.py")
    parser.add_argument("--config", metavar="FILE.yaml", help="training settings to start from; flags override them")
    add_settings(parser, TuneSettings)
    add_settings(parser, TrainSettings, leave_out=NOT_FOR_TUNING)
    settings, base = read_tuning(vars(parser.parse(argv)))

    from competition.tuning import study as steps  # late: optuna and torch are not needed to refuse a flag
    from competition.tuning.workers import train_trials

    search = steps.open_study(settings, base)
    code = train_trials(search, start)
    steps.write_results(search)
    print(steps.describe(search))
    if code == 130:
        raise KeyboardInterrupt  # what is said then, is said in one place
    return code


if __name__ == "__main__":
    run_command(main)
