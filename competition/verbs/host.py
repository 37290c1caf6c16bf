"""Make a competition of labelled folders: train, test, a hidden solution, a sample submission.

Example:
  python -m competition host FOLDER --out DIR --public 0.3
  python -m competition score CSV --truth DIR/private/solution.csv
"""

from collections.abc import Sequence

from competition.cli import Parser, add_settings, read_settings
from competition.config import HostSettings


def main(argv: Sequence[str]) -> int:
    """Write the competition and say what it holds."""
    parser = Parser(__doc__ or "", prog="python -m competition host")
    parser.add_argument("path", nargs="?", metavar="FOLDER", help="labelled images; without it, the embedded sample")
    add_settings(parser, HostSettings, leave_out=("cache_limit",))  # no decoded image is kept
    values = vars(parser.parse(argv))
    path = values.pop("path")
    settings = read_settings(HostSettings, values | ({"data": path} if path else {}))

    from competition.hosting import describe, host

    print(describe(host(settings)))
    return 0
