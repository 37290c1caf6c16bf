"""Make one picture of what a run's network sees.

Examples:
  python -m competition look runs/NAME --what occlusion --image ID_OR_PATH --out look.png
  python -m competition look runs/NAME --what cam --image ID --target CLASS --out look.png
  python -m competition look runs/NAME --what dream --target CLASS --out look.png

An image of the training table is shown to the network of the fold that held it out.
"""

from collections.abc import Sequence

from competition.analysis.settings import LookSettings
from competition.cli import Parser, add_settings, read_settings


def main(argv: Sequence[str]) -> int:
    """Write the picture and say what it shows."""
    parser = Parser(__doc__ or "", prog="python -m competition look")
    parser.add_argument("run", metavar="RUN", help="run folder, such as runs/NAME")
    add_settings(parser, LookSettings, leave_out=("on_bad",))  # the run has decided that
    values = vars(parser.parse(argv))
    run = values.pop("run")
    settings = read_settings(LookSettings, values)

    from competition.analysis.look import look  # late: torch is not needed to refuse a flag

    print(look(settings, run))
    return 0
