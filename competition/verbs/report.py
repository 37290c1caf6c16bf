"""Make one HTML page that says how good a run is, where it errs and looks, and what to do next.

Examples:
  python -m competition report runs/NAME --out page.html       opens from a mail, without a network
  python -m competition report runs/NAME runs/B runs/C         the first, compared with the others

Beside FILE.html lies FILE.json with the same findings for programs.
"""

from collections.abc import Sequence

from competition.analysis.settings import ReportSettings
from competition.cli import Parser, parse_settings


def main(argv: Sequence[str]) -> int:
    """Write the page and say where it is."""
    parser = Parser(__doc__ or "", prog="python -m competition report")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, such as runs/NAME; the first is described")
    settings, values = parse_settings(parser, ReportSettings, argv, leave_out=("on_bad",))  # the run has decided that

    from competition.analysis.report import make_report  # late: torch is not needed to refuse a flag

    path = make_report(settings, values.runs)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB; the same findings for programs: {path.with_suffix('.json')}")
    return 0
