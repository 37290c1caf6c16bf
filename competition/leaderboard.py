"""What the logbook says: a table, out-of-fold against public scores, a warning when they part, the final two."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from competition.data.csvfile import read_csv
from competition.errors import first_few
from competition.logbook import Entry, confusion_of, id_position, sidecar
from competition.metrics import Interval, leaderboard_band
from competition.runs import hash_file

PUBLIC_SHARE = 0.3  # of the test rows; sites seldom tell
DRAWS = 200  # of a band: many submissions are looked at
DIFFERENT = 0.05  # part of the rows on which the second final submission has to say something else
PLOT_COLUMNS, PLOT_LINES = 56, 14


@dataclass(frozen=True)
class FinalTwo:
    """The suggestion for the end of a competition."""

    best: Entry
    other: Entry | None
    disagreement: float | None  # part of the rows with another label


def format_entries(entries: Sequence[Entry]) -> str:
    """Return the logbook as a table."""
    header = ("submission", "out of fold", "95 % interval", "public", "private", "status")
    rows = [header, *(_cells(entry) for entry in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)


def _cells(entry: Entry) -> tuple[str, ...]:
    interval = "" if entry.low is None or entry.high is None else str(Interval(entry.low, entry.high))
    status = entry.status + (f": {entry.reason}" if entry.reason else "")
    return (entry.submission, _score(entry.out_of_fold), interval, _score(entry.public), _score(entry.private), status)


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def expected_band(entry: Entry, folder: Path, public_share: float) -> Interval | None:
    """Return where 95 % of public scores are to be expected, or None where the submission's JSON cannot tell."""
    counts = confusion_of(folder / entry.submission, entry.sha256)
    if counts is None or not entry.rows:
        return None
    return leaderboard_band(counts, entry.rows, public_share, DRAWS)


def parted(entries: Sequence[Entry], folder: Path, public_share: float) -> list[str]:
    """Return one warning for each submission whose public score lies outside the band to be expected."""
    warnings = []
    for entry in entries:
        band = None if entry.public is None else expected_band(entry, folder, public_share)
        if band is None or entry.public is None or band.low <= entry.public <= band.high:
            continue
        if entry.public < band.low:
            advice = "the test images may differ, or the folds leak: look for groups and duplicates across folds"
        else:
            advice = "averaging the folds' networks helps on test images; much more may mean that test images leak"
        warnings.append(
            f"{entry.submission}: public {entry.public:.4f} lies outside {band}, where 95 % of scores on "
            f"{public_share:.0%} of the test rows are to be expected after {entry.out_of_fold:.4f} out of fold: "
            + advice
        )
    return warnings


def text_plot(entries: Sequence[Entry]) -> str:
    """Return out-of-fold (across) against public scores (up) as text; a letter for each submission."""
    known = [
        (entry.submission, entry.out_of_fold, entry.public)
        for entry in entries
        if entry.out_of_fold is not None and entry.public is not None
    ]
    if len(known) < 2:
        return ""
    names, across, up = zip(*known, strict=True)
    field = [[" "] * PLOT_COLUMNS for _ in range(PLOT_LINES)]
    for place, (_, x, y) in enumerate(known):
        column = _position(x, across, PLOT_COLUMNS)
        line = PLOT_LINES - 1 - _position(y, up, PLOT_LINES)
        field[line][column] = chr(ord("a") + place % 26) if field[line][column] == " " else "*"
    left = [f"{max(up):.4f}", *[""] * (PLOT_LINES - 2), f"{min(up):.4f}"]
    lines = [f"{name:>7} |{''.join(row)}" for name, row in zip(left, field, strict=True)]
    key = ", ".join(f"{chr(ord('a') + place % 26)} {name}" for place, name in enumerate(names))
    foot = f"{'':>8}{min(across):<.4f}{'out of fold':^{PLOT_COLUMNS - 12}}{max(across):.4f}"
    return "\n".join(["public", *lines, f"{'':>8}+{'-' * PLOT_COLUMNS}", foot, key])


def _position(value: float, values: Sequence[float], cells: int) -> int:
    low, high = min(values), max(values)
    return 0 if high == low else round((value - low) / (high - low) * (cells - 1))


def final_two(entries: Sequence[Entry], folder: Path) -> FinalTwo | None:
    """Suggest the best submission and the best one that differs from it.

    "Best" is the out-of-fold score: it is measured on more rows than the public one and was not looked at as often;
    the public score decides only where no out-of-fold score is known. "Differs" is another label on at least
    ``DIFFERENT`` of the rows; where none does, the one that differs most. One below the interval of the best is no
    second chance, and comes last. Only CSVs that lie in the folder unchanged and predict the same images as the newest
    one are compared.
    """
    labels = {place: _labels(folder, entry) for place, entry in enumerate(entries) if _value(entry) is not None}
    there = {place: table for place, table in labels.items() if table}
    if not there:
        return None
    newest = there[max(there)].keys()
    rest = sorted((place for place, table in there.items() if table.keys() == newest), key=lambda p: _rank(entries[p]))
    best = rest.pop()
    if not rest:
        return FinalTwo(entries[best], None, None)
    distance = {place: _disagreement(there[best], there[place]) for place in rest}
    rest = [place for place in rest if distance[place] and not _is_far_below(entries[place], entries[best])] or rest
    far = [place for place in rest if distance[place] >= DIFFERENT]
    other = far[-1] if far else max(rest, key=lambda place: distance[place])
    return FinalTwo(entries[best], entries[other], distance[other])


def _is_far_below(other: Entry, best: Entry) -> bool:
    return best.low is not None and (_value(other) or 0.0) < best.low


def _value(entry: Entry) -> float | None:
    return entry.out_of_fold if entry.out_of_fold is not None else entry.public


def _rank(entry: Entry) -> tuple[bool, float]:
    """Sort key: measured out of fold first."""
    return entry.out_of_fold is not None, _value(entry) or 0.0


def _labels(folder: Path, entry: Entry) -> dict[str, str]:
    """{id: label} of a CSV that lies there unchanged, else nothing."""
    path = folder / entry.submission
    if entry.status == "failed" or not path.exists() or hash_file(path) != entry.sha256:
        return {}
    table = read_csv(str(path))
    if len(table.columns) < 2:
        return {}
    ids = id_position(table, sidecar(path))
    return {row[ids]: row[1 - ids] for row in table.rows}


def _disagreement(first: dict[str, str], second: dict[str, str]) -> float:
    return sum(first[name] != second[name] for name in first) / max(1, len(first))


def format_final_two(found: FinalTwo) -> str:
    """Return the suggestion in words."""
    best = f"suggested final submissions: {found.best.submission} (best: {_why(found.best)})"
    if found.other is None or found.disagreement is None:
        return f"{best}; there is no second one that predicts the same images"
    differs = f"differs on {found.disagreement:.1%} of the rows; {_why(found.other)}"
    close = ""
    if _is_far_below(found.other, found.best):
        close = ", hardly a second chance: it lies below the interval of the best"
    elif found.disagreement < DIFFERENT:
        close = ", hardly a second chance: a run with another network differs more"
    return f"{best} and {found.other.submission} ({differs}{close})"


def _why(entry: Entry) -> str:
    return f"{_score(_value(entry))} {'public' if entry.out_of_fold is None else 'out of fold'}"


def report(entries: Sequence[Entry], folder: Path, public_share: float) -> str:
    """Return everything the logbook has to say."""
    if not entries:
        return f"{folder} holds no submission yet: predict.py writes one, and NAME.json with its score beside it"
    parts = [format_entries(entries), text_plot(entries)]
    parts += [f"warning: {warning}" for warning in parted(entries, folder, public_share)]
    waiting = [entry.submission for entry in entries if entry.public is None and entry.status != "failed"]
    if waiting:
        parts.append(
            f"no public score yet: {first_few(waiting)} (python -m competition leaderboard --set NAME --public SCORE)"
        )
    found = final_two(entries, folder)
    parts.append(format_final_two(found) if found else "")
    return "\n\n".join(part for part in parts if part)
