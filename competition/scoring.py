"""Score a submission CSV against a truth CSV: macro F1 as a whole, and of the public and private parts.

Nothing here needs torch, so ``score`` answers within two seconds.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from competition import metrics
from competition.data.csvfile import CsvFile, read_csv
from competition.errors import UserError, counted, first_few, respelled
from competition.predictions import class_numbers

USAGE_COLUMN = "Usage"  # what Kaggle's solution files call it: Public, Private or Ignored
NAMED = 100  # ids of one kind in a message
AS_TEXT = "write it as the truth does (dtype=str in pandas)"


@dataclass(frozen=True)
class Truth:
    """Ids, labels and the part of the leaderboard each row counts for; ``usage`` is None without that column."""

    path: Path
    columns: tuple[str, str]  # of ids and labels
    ids: list[str]
    labels: list[str]
    usage: list[str] | None


def score_files(submission: Path, truth: Path, id_column: str | None, label_column: str | None) -> dict[str, Any]:
    """Score a submission against a truth, both CSVs, joined by id.

    Where the truth has a column ``Usage`` it is graded as Kaggle would: "public" and "private" hold the score of each
    part, rows marked Ignored count nowhere, the submission has exactly the truth's two columns, and no cell is trimmed.
    Macro F1, of a part too, runs over the classes that occur, in the truth or the submission, as scikit-learn's does;
    "note" names those that are predicted alone, and what they cost. Nothing is ever patched: every row has to be there
    once.

    Raises:
        UserError: every missing, extra or doubled id and every empty label, all in one message.
    """
    answer = _read_truth(truth, id_column, label_column)
    table = read_csv(str(submission))
    if answer.usage is None:
        columns = _columns_of(table, answer, id_column, label_column)
        _refuse_no_header(table, columns[1], label_column, answer.labels)
        ids, labels = _read(table, *columns)
    else:
        ids, labels = _read_exactly(table, answer)
    _refuse_differences(submission, ids, labels, answer)
    label_of = dict(zip(ids, labels, strict=True))
    predicted = [label_of[name] for name in answer.ids]
    score = _score(answer.labels, predicted) if answer.usage is None else _score_parts(answer, predicted)
    return score | _note(score)


def _note(score: dict[str, Any]) -> dict[str, str]:
    """Return the note on classes that no scored row is of: a truth that lacks some of many, or a name misspelt."""
    f1 = {name: values["f1"] for name, values in score["per_class"].items() if values["rows"]}
    strange = [name for name in score["per_class"] if name not in f1]
    if not strange:
        return {}
    told = f"no row of the truth is of class {first_few(map(repr, strange), NAMED)}: predicted, each counts with F1 0"
    told += respelled(strange, f1, AS_TEXT)
    return {"note": f"{told}; macro F1 without would be {sum(f1.values()) / len(f1):.3f}"}


def _score_parts(answer: Truth, predicted: list[str]) -> dict[str, Any]:
    assert answer.usage is not None
    rows = list(zip(answer.usage, answer.labels, predicted, strict=True))

    def score_of(*parts: str) -> dict[str, Any]:
        kept = [(true, label) for usage, true, label in rows if usage in parts]
        return _score([true for true, _ in kept], [label for _, label in kept])

    whole = score_of("public", "private")
    return whole | {part: score_of(part) for part in ("public", "private") if part in answer.usage}


def _score(true: Sequence[str], predicted: Sequence[str]) -> dict[str, Any]:
    names = sorted({*true, *predicted})
    counts = metrics.confusion(class_numbers(true, names), class_numbers(predicted, names), len(names))
    return metrics.summary(counts, names)


def _read_truth(path: Path, id_column: str | None, label_column: str | None) -> Truth:
    table = read_csv(str(path))
    columns = _two_columns(table, id_column, label_column)
    ids, labels = _read(table, *columns)
    _refuse_no_truth(table, labels)
    _refuse_no_header(table, columns[1], label_column, labels)
    name = next((column for column in table.columns if column.lower() == USAGE_COLUMN.lower()), None)
    if name is None or name in (id_column, label_column):
        return Truth(path, columns, ids, labels, None)
    usage = [cell.strip().lower() for cell in table.column(name, "")]
    wrong = [
        line for cell, line in zip(usage, table.lines, strict=True) if cell not in ("public", "private", "ignored")
    ]
    if wrong:
        raise UserError(f"{path}: column {name!r} is not Public, Private or Ignored in line {first_few(wrong)}")
    if "public" not in usage and "private" not in usage:
        raise UserError(f"{path}: column {name!r} ignores every row; there is nothing to score")
    return Truth(path, columns, ids, labels, usage)


def _refuse_no_truth(table: CsvFile, labels: list[str]) -> None:
    """Raise UserError for a truth without rows, or with rows that name no class."""
    if not labels:
        raise UserError(f"{table.path}: a header and no rows; there is nothing to score against")
    empty = [line for label, line in zip(labels, table.lines, strict=True) if not label]
    if empty:
        raise UserError(f"{table.path}: no label in line {first_few(empty)}; a truth names a class for every id")


def _refuse_no_header(table: CsvFile, column: str, told: str | None, labels: list[str]) -> None:
    """Raise UserError where a column of labels that nobody named is called like a class: a row would be lost."""
    if told is None and column in labels:
        raise UserError(
            f"{table.path}: its first line ({first_few(table.columns)}) holds the class {column!r}, so the header is "
            "missing: write id,label above it, or name the columns with --id-column and --label-column"
        )


def _read(table: CsvFile, id_column: str, label_column: str) -> tuple[list[str], list[str]]:
    """Return ids and labels without surrounding blanks."""
    ids = [cell.strip() for cell in table.column(id_column, "--id-column")]
    return ids, [cell.strip() for cell in table.column(label_column, "--label-column")]


def _columns_of(table: CsvFile, answer: Truth, id_column: str | None, label_column: str | None) -> tuple[str, str]:
    """Return the names of a submission's columns of ids and labels: as told, as in the truth, or by what they hold."""
    columns, known = set(table.columns), set(answer.ids)
    if id_column is None and answer.columns[0] in columns:
        id_column = answer.columns[0]
    if id_column is None:
        id_column = next((name for name in table.columns if known & set(table.column(name, "--id-column"))), None)
    if label_column is None and answer.columns[1] in columns - {id_column}:
        label_column = answer.columns[1]
    return _two_columns(table, id_column, label_column)


def _two_columns(table: CsvFile, id_column: str | None, label_column: str | None) -> tuple[str, str]:
    """Return the names of the columns of ids and labels: as told, else the first two that are named, beside ``Usage``.

    A column without a name is the index that pandas writes, unless the rest would be too few.
    """
    columns = [name for name in table.columns if name.lower() != USAGE_COLUMN.lower()]
    columns = [name for name in columns if name] if sum(map(bool, columns)) > 1 else columns
    if len(columns) < 2:
        found = ", ".join(table.columns) or "nothing"
        raise UserError(f"{table.path}: expected a column of ids and one of labels, found {found}")
    id_name = id_column or next(name for name in columns if name != label_column)
    label_name = label_column or next(name for name in columns if name != id_name)
    if id_name == label_name:
        raise UserError(f"{table.path}: {id_name!r} cannot hold both ids and labels: name another --label-column")
    return id_name, label_name


def _read_exactly(table: CsvFile, answer: Truth) -> tuple[list[str], list[str]]:
    """Return ids and labels as they are spelled; UserError unless the columns are those of the truth."""
    if sorted(table.columns) != sorted(answer.columns):
        raise UserError(
            f"{table.path} has the columns {', '.join(table.columns)}; the grader wants exactly "
            f"{' and '.join(answer.columns)}"
        )
    return table.column(answer.columns[0], ""), table.column(answer.columns[1], "")


def _refuse_differences(submission: Path, ids: list[str], labels: list[str], answer: Truth) -> None:
    problems = []
    for path, names in ((submission, ids), (answer.path, answer.ids)):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            problems.append(f"{path} names {counted(len(twice), 'id')} more than once: {first_few(twice, NAMED)}")
    missing, extra = sorted(set(answer.ids) - set(ids)), sorted(set(ids) - set(answer.ids))
    if missing:
        problems.append(f"{submission} lacks {counted(len(missing), 'id')}: {first_few(missing, NAMED)}")
    if extra:
        told = f"{counted(len(extra), 'id')} not in {answer.path}: {first_few(extra, NAMED)}"
        problems.append(f"{submission} has {told}{_ending_hint(extra, missing)}{respelled(extra, missing, AS_TEXT)}")
    empty = [name for name, label in zip(ids, labels, strict=True) if not label.strip()]
    if empty:
        problems.append(f"{submission} has no label for {counted(len(empty), 'id')}: {first_few(empty, NAMED)}")
    if problems:
        raise UserError("the submission cannot be scored:\n  " + "\n  ".join(problems))


def _ending_hint(extra: Sequence[str], missing: Sequence[str]) -> str:
    """Say so when ids differ from those asked for by their file ending alone."""
    asked = {PurePath(name).stem: name for name in missing}
    pair = next(((name, asked[PurePath(name).stem]) for name in extra if PurePath(name).stem in asked), None)
    return f" ({pair[0]!r} and {pair[1]!r} differ by their ending alone: write ids as the truth does)" if pair else ""


def format_score(score: dict[str, Any]) -> str:
    """Return the score as text: each class, the parts of the leaderboard, then what counts, macro F1 last."""
    width = max([len(name) for name in score["per_class"]] + [5])
    lines = [f"{'class':<{width}}  {'F1':>6}  {'precision':>9}  {'recall':>6}  {'rows':>6}"]
    for name, values in score["per_class"].items():
        scores = f"{values['f1']:6.3f}  {values['precision']:9.3f}  {values['recall']:6.3f}"
        lines.append(f"{name:<{width}}  {scores}  {values['rows']:6d}")
    for part in ("public", "private"):
        if part in score:
            interval = metrics.Interval(*score[part]["interval_95"])
            told = f"macro F1 {score[part]['macro_f1']:.5f}, rows {score[part]['rows']}"
            lines.append(f"{part:<7} {told}, 95 % interval {interval}")
    if "note" in score:
        lines.append(f"note: {score['note']}")
    interval = metrics.Interval(*score["interval_95"])
    lines.append(f"rows {score['rows']}, accuracy {score['accuracy']:.3f}, macro F1's 95 % interval {interval}")
    return "\n".join([*lines, f"macro F1 {score['macro_f1']:.3f}"])
