"""Make a competition of labelled folders: train, test, a hidden solution, a sample submission.

Example:
  python -m competition host FOLDER --out DIR --public 0.3
  python -m competition score CSV --truth DIR/private/solution.csv
"""

from collections.abc import Sequence

from competition.cli import Parser, parse_settings
from competition.config import HostSettings


def main(argv: Sequence[str]) -> int:
    """Write the competition and say what it holds."""
    parser = Parser(__doc__ or "", prog="python -m competition host")
    parser.add_argument("path", nargs="?", metavar="FOLDER", help="labelled images; without it, the embedded sample")
    settings, values = parse_settings(parser, HostSettings, argv, leave_out=("cache_limit",))  # it keeps no pixels
    if values.path:
        settings = settings.replace(data=values.path)

    from competition.hosting import describe, host

    print(describe(host(settings)))
    return 0
