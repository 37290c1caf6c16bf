"""Make one picture of what a run's network sees.

Examples:
  python -m competition look runs/NAME --what occlusion --image ID_OR_PATH --out look.png
  python -m competition look runs/NAME --what cam --image ID --target CLASS --out look.png
  python -m competition look runs/NAME --what dream --target CLASS --out look.png

An image of the training table is shown to the network of the fold that held it out; what is printed says so where
another one looks at it (--fold, or a fold that is not finished).
"""

from collections.abc import Sequence

from competition.analysis.settings import LookSettings
from competition.cli import Parser, parse_settings


def main(argv: Sequence[str]) -> int:
    """Write the picture and say what it shows."""
    parser = Parser(__doc__ or "", prog="python -m competition look")
    parser.add_argument("run", metavar="RUN", help="run folder, such as runs/NAME")
    settings, values = parse_settings(parser, LookSettings, argv, leave_out=("on_bad",))  # the run has decided that

    from competition.analysis.look import look  # late: torch is not needed to refuse a flag

    print(look(settings, values.run))
    return 0
