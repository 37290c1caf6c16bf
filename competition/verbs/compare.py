"""Compare runs on the same out-of-fold images: paired differences of macro F1 with their intervals."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from competition.cli import Parser
from competition.errors import UserError, counted

if TYPE_CHECKING:
    from competition.comparison import Comparison, Difference, Standing

CLASSES_SHOWN = 5
WHAT_INTERVALS_HOLD = (
    "Intervals (95 %) hold the luck of the images, the same for all runs; not that of another seed or training."
)


def main(argv: Sequence[str]) -> int:
    """Print how each run differs from the first."""
    parser = Parser(__doc__ or "", prog="python -m competition compare")
    parser.add_argument("runs", nargs="+", metavar="RUN", type=Path, help="run folder or predictions file (.npz)")
    parser.add_argument(
        "--test-rows", metavar="N", type=_rows, help="print where a leaderboard score over N rows is to be expected"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, every class included")
    values = parser.parse(argv)
    if len(values.runs) < 2:
        raise UserError(f"compare needs two runs at least: {values.runs[0]} and another")

    from competition.comparison import compare, open_contender

    comparison = compare([open_contender(path) for path in values.runs], values.test_rows)
    print(json.dumps(asdict(comparison), indent=2, ensure_ascii=False) if values.json else in_words(comparison))
    return 0


def _rows(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows: a whole number from 1 on")
    return int(text)


def in_words(comparison: "Comparison") -> str:
    """Return the comparison for a reader: the table, each difference, the notes."""
    first, *others = comparison.runs
    lines = [f"{counted(comparison.images, 'image')}, {comparison.classes} classes", "", *_table(comparison)]
    for run in others:
        assert run.difference is not None
        lines += ["", *_difference_in_words(first, run, run.difference)]
    lines += ["", *(f"note: {note}" for note in comparison.notes), WHAT_INTERVALS_HOLD]
    if len(others) > 1:
        lines.append("The best of several is flattered: part of its lead is luck that a fresh test set takes back.")
    return "\n".join(lines)


def _table(comparison: "Comparison") -> list[str]:
    heads = ["run", "macro F1", "95 % interval", "difference", "95 % interval", "chance better"]
    rows = [heads + ([f"over {comparison.test_rows:,} test rows"] if comparison.test_rows else [])]
    for run in comparison.runs:
        cells = [run.name, f"{run.macro_f1:.4f}", str(run.interval)]
        if run.difference:
            difference = run.difference
            cells += [f"{difference.macro_f1:+.4f}", difference.interval.signed(4), f"{difference.chance_better:.1%}"]
        else:
            cells += ["reference", "", ""]
        rows.append(cells + ([str(run.band)] if run.band else []))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _difference_in_words(first: "Standing", run: "Standing", difference: "Difference") -> list[str]:
    folds = ", ".join(f"{change:+.3f}" for change in difference.per_fold.values())
    changes = [
        f"  {change.name}: {change.before:.3f} -> {change.after:.3f} "
        f"({change.after - change.before:+.3f} {change.interval.signed()})"
        for change in difference.classes[:CLASSES_SHOWN]
        if change.after != change.before
    ]
    return [
        f"{run.name} {_verdict(difference)} {first.name}",
        f"right alone: {run.name} on {counted(difference.only_this_right, 'image')}, "
        f"{first.name} on {counted(difference.only_first_right, 'image')}",
        *([f"per fold: {folds}"] if folds else []),
        *([f"classes that change most ({_by_chance(len(difference.classes))}):", *changes] if changes else []),
    ]


def _by_chance(classes: int) -> str:
    return f"of equal runs, {classes * 0.05:.1f} of {classes} intervals leave zero out by chance"


def _verdict(difference: "Difference") -> str:
    if difference.interval.low > 0:
        return "is better than"
    if difference.interval.high < 0:
        return "is worse than"
    return "cannot be told apart from"
