"""``submissions/logbook.csv``: every submission with what was expected of it and what came of it.

One row per file content: a CSV that is written anew under its old name gets a new row. Rows are joined by name and
file hash. Nothing here needs torch.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from competition.data.csvfile import CsvFile, read_csv, write_csv
from competition.errors import UserError, did_you_mean, first_few
from competition.metrics import Counts
from competition.runs import hash_file, locked, read_json

LOGBOOK = "logbook.csv"


@dataclass(frozen=True)
class Entry:
    """One submission; what is not known is None or empty."""

    submission: str  # file name beside the logbook
    sha256: str = ""  # first 16 hex digits of the CSV's hash
    rows: int | None = None  # of the CSV
    out_of_fold: float | None = None  # macro F1
    low: float | None = None  # its 95 % interval
    high: float | None = None
    out_of_fold_rows: int | None = None  # what the interval was measured on
    public: float | None = None
    private: float | None = None
    competition: str = ""  # where it was sent
    sent: str = ""  # when, UTC
    reference: str = ""  # the site's number of the submission
    status: str = ""  # "pending", "complete" or "failed"
    reason: str = ""  # why it failed
    message: str = ""

    @property
    def file(self) -> tuple[str, str]:
        """What it is known by: the name and the content of its CSV."""
        return self.submission, self.sha256


COLUMNS = tuple(item.name for item in fields(Entry))
_NUMBERS = {item.name: int if "int" in str(item.type) else float for item in fields(Entry) if "None" in str(item.type)}


def read_logbook(folder: Path) -> list[Entry]:
    """Return the entries in the order they were made.

    Raises:
        UserError: not a logbook, or damaged rows, each named with its line.
    """
    path = folder / LOGBOOK
    if not path.exists():
        return []
    table = read_csv(str(path))
    if table.columns != list(COLUMNS):
        wrong = sorted(set(table.columns) ^ set(COLUMNS)) or ["their order"]
        raise UserError(f"{path} is not a logbook: its columns differ in {first_few(wrong)}. Mend or move the file")
    entries, damage = [], []
    for row, line in zip(table.rows, table.lines, strict=True):
        values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
        try:
            entries.append(Entry(**{name: _parse(name, cell) for name, cell in values.items()}))
        except ValueError as error:
            damage.append(f"line {line} ({values['submission'] or 'without a name'}): {error}")
    if damage:
        raise UserError(f"{path} is damaged, mend or remove these lines:\n  " + "\n  ".join(damage))
    return entries


def _parse(name: str, cell: str) -> Any:
    if name == "submission" and not cell:
        raise ValueError("no submission named")
    if name not in _NUMBERS:
        return cell
    if not cell:
        return None
    try:
        value = _NUMBERS[name](cell)
    except ValueError:
        raise ValueError(f"{name} is {cell!r}, not a number") from None
    if value != value or value < 0:
        raise ValueError(f"{name} is {cell!r}, not a score or a count")
    return value


def write_logbook(folder: Path, entries: list[Entry]) -> None:
    """Write the whole logbook atomically."""
    write_csv(folder / LOGBOOK, COLUMNS, (map(_cell, astuple(entry)) for entry in entries))


def _cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


@contextmanager
def changing_logbook(folder: Path) -> Iterator[list[Entry]]:
    """Give the entries to be changed in place, and write them at the end; others wait meanwhile."""
    with locked(folder / f".{LOGBOOK}.lock", str(folder / LOGBOOK), wait=True):
        entries = read_logbook(folder)
        before = list(entries)
        yield entries
        if entries != before:
            write_logbook(folder, entries)


def entry_of(path: Path) -> Entry:
    """Return a new entry for a CSV, from the JSON that `predict.py` wrote beside it where there is one."""
    entry = Entry(path.name, hash_file(path))
    record = sidecar(path)
    if record.get("sha256") != entry.sha256:
        return entry  # changed since, or not ours: nothing is known about it
    rows = record.get("rows")
    entry = replace(entry, rows=rows if isinstance(rows, int) else None)
    score = _score_in(record)
    if score is None:
        return entry
    low, high = score.get("interval_95") or (None, None)
    return replace(entry, out_of_fold=score["macro_f1"], low=low, high=high, out_of_fold_rows=score.get("rows"))


def sidecar(path: Path) -> dict[str, Any]:
    """Return what the JSON beside a submission says, nothing without one; raises UserError when it is damaged."""
    beside = path.with_suffix(".json")
    record = read_json(beside) if beside.exists() else None
    return record if isinstance(record, dict) else {}


def id_position(table: CsvFile, record: Mapping[str, Any]) -> int:
    """Return which column of a submission holds the ids: the one that its record names, or else the likely one."""
    if record.get("id_column") in table.columns:
        return table.columns.index(record["id_column"])
    first, second = ([row[place].strip() for row in table.rows] for place in (0, 1))
    # Each id is there once, labels come again; where that tells nothing, ids come first.
    return int(len(set(first)) < len(first) and len(set(second)) == len(second))


def _score_in(record: dict[str, Any]) -> dict[str, Any] | None:
    """The out-of-fold score of what was sent: the ensemble's, else that of the only run."""
    runs = record.get("runs") or []
    places = [record.get("score"), record.get("out_of_fold"), runs[0].get("out_of_fold") if len(runs) == 1 else None]
    found = [place for place in places if isinstance(place, dict) and isinstance(place.get("macro_f1"), float | int)]
    return found[0] if found else None


def confusion_of(path: Path, sha256: str) -> Counts | None:
    """Return the out-of-fold counts (K, K) that a submission was made with; None where its JSON does not tell them."""
    record = sidecar(path)
    score = record.get("score")
    if record.get("sha256") != sha256 or not isinstance(score, dict) or "confusion" not in score:
        return None
    table: dict[str, dict[str, int]] = score["confusion"]
    place = {name: number for number, name in enumerate(table)}
    counts = np.zeros((len(place), len(place)), dtype=np.int64)
    for true, row in table.items():
        for predicted, rows in row.items():
            counts[place[true], place[predicted]] = rows
    return counts


def find_entry(entries: list[Entry], path: Path) -> int:
    """Return the position of the entry of a CSV as it is now, after adding it where it is new."""
    new = entry_of(path)
    for position, entry in enumerate(entries):
        if entry.file == new.file:
            # The score is what the file says now; what came of it stays.
            known = {name: getattr(new, name) for name in ("rows", "out_of_fold", "low", "high", "out_of_fold_rows")}
            entries[position] = replace(entry, **{name: value for name, value in known.items() if value is not None})
            return position
    entries.append(new)
    return len(entries) - 1


def add_new_submissions(folder: Path) -> list[Entry]:
    """Enter every CSV that has its JSON beside it, oldest first, and return all entries."""
    with changing_logbook(folder) as entries:
        for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime_ns):
            if path.with_suffix(".csv").exists() and "submission" in sidecar(path.with_suffix(".csv")):
                find_entry(entries, path.with_suffix(".csv"))
        return list(entries)


def set_scores(folder: Path, name: str, public: float | None, private: float | None) -> Entry:
    """Enter leaderboard scores of the latest submission of this name, with or without ``.csv``.

    A CSV of the folder that is not in the logbook, one made by hand, is entered with them.

    Raises:
        UserError: no such submission, a path into another folder, or a score outside 0 to 1.
    """
    scores = {part: score for part, score in (("public", public), ("private", private)) if score is not None}
    wrong = [f"--{part} {score}" for part, score in scores.items() if not 0 <= score <= 1]
    if wrong:
        raise UserError(f"{first_few(wrong)}: macro F1 lies between 0 and 1")
    named = Path(name)
    if len(named.parts) > 1 and named.parent.resolve() != folder.resolve():
        raise UserError(f"{name} does not lie in {folder}: add --folder {quote(str(named.parent))}")
    with changing_logbook(folder) as entries:
        wanted = named.name.removesuffix(".csv")
        found = [place for place, entry in enumerate(entries) if entry.submission.removesuffix(".csv") == wanted]
        if not found and (path := folder / f"{wanted}.csv").is_file():
            found = [find_entry(entries, path)]
        if not found:
            known = [entry.submission for entry in entries]
            hint = did_you_mean(wanted, known)
            raise UserError(f"{folder / LOGBOOK} knows no {name!r}{hint}; it has {first_few(known) or 'no entry'}")
        entries[found[-1]] = replace(entries[found[-1]], status="complete", reason="", **scores)  # type: ignore[arg-type]
        return entries[found[-1]]
