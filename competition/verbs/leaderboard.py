"""Show every submission with its out-of-fold, public and private score, and suggest the final two."""

import json
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from competition.cli import Parser
from competition.errors import UserError


def main(argv: Sequence[str]) -> int:
    """Enter what is new, print the logbook."""
    parser = Parser(__doc__ or "", prog="python -m competition leaderboard")
    parser.add_argument(
        "--folder",
        metavar="PATH",
        type=Path,
        default=Path("submissions"),
        help="where the submissions and the logbook lie",
    )
    parser.add_argument("--set", metavar="NAME", help="enter scores of this submission")
    parser.add_argument("--public", metavar="X", type=float, help="its public score")
    parser.add_argument("--private", metavar="X", type=float, help="its private score")
    parser.add_argument(
        "--public-share",
        metavar="X",
        type=float,
        default=0.3,
        help="part of the test rows behind the public score (default 0.3; the competition's page tells)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    values = parser.parse(argv)
    _refuse_contradictions(values)

    from competition.leaderboard import report
    from competition.logbook import add_new_submissions, read_logbook, set_scores

    entries = add_new_submissions(values.folder) if values.folder.is_dir() else []
    if values.set is not None:
        set_scores(values.folder, values.set, values.public, values.private)
        entries = read_logbook(values.folder)
    if values.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=2, ensure_ascii=False))
    else:
        print(report(entries, values.folder, values.public_share))
    return 0


def _refuse_contradictions(values: Namespace) -> None:
    if values.set is None and (values.public is not None or values.private is not None):
        raise UserError("--public and --private belong to one submission: name it with --set NAME")
    if values.set is not None and values.public is None and values.private is None:
        raise UserError(f"--set {values.set}: which score? Add --public SCORE, --private SCORE, or both")
    if values.folder.exists() and not values.folder.is_dir():
        raise UserError(f"--folder {values.folder} is a file: name the folder that holds the submissions")
    if not 0 < values.public_share <= 1:
        raise UserError(f"--public-share {values.public_share}: a part of the rows, above 0 and at most 1")
