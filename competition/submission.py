"""Submission CSVs: written in the rows and columns asked for, and scored against a truth.

Nothing here needs torch, so ``score`` answers within two seconds.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from competition import metrics
from competition.data.csvfile import read_csv
from competition.errors import UserError, first_few
from competition.predictions import class_numbers
from competition.runs import write_atomically


def write_submission(
    path: Path,
    ids: Sequence[str],
    labels: Sequence[str],
    id_column: str,
    label_column: str,
    wanted: Sequence[str] | None,
) -> None:
    """Write one row per wanted id, in that order.

    Args:
        path: the CSV.
        ids: (N,) image ids that were predicted.
        labels: (N,) class names.
        id_column: its name in the sample submission or the test list.
        label_column: likewise.
        wanted: ids in the order asked for, or None for the order given.

    Raises:
        UserError: wanted ids that were not predicted.
    """
    label_of = dict(zip(ids, labels, strict=True))
    order = list(wanted) if wanted is not None else list(ids)
    missing = [name for name in order if name not in label_of]
    if missing:
        raise UserError(f"{path}: {len(missing)} ids of the test list have no prediction: {first_few(missing)}")
    table = pd.DataFrame({id_column: order, label_column: [label_of[name] for name in order]})
    write_atomically(path, table.to_csv(index=False))


def score_files(submission: Path, truth: Path, id_column: str | None, label_column: str | None) -> dict[str, Any]:
    """Score a submission against a truth, both CSVs, joined by id.

    Macro F1 runs over the classes of the truth and of the submission together, as scikit-learn's does.

    Raises:
        UserError: every missing, extra or doubled id and every unknown class, all in one message.
    """
    true_ids, true_labels = _read(truth, id_column, label_column, None)
    ids, labels = _read(submission, id_column, label_column, set(true_ids))
    _refuse_differences(submission, truth, ids, labels, true_ids, true_labels)
    label_of = dict(zip(ids, labels, strict=True))
    names = sorted(set(true_labels))
    true = class_numbers(true_labels, names)
    predicted = class_numbers([label_of[name] for name in true_ids], names)
    return metrics.summary(metrics.confusion(true, predicted, len(names)), names)


def _read(
    path: Path, id_column: str | None, label_column: str | None, known_ids: set[str] | None
) -> tuple[list[str], list[str]]:
    """Return ids and labels of a two-column CSV; further columns are allowed where the flags name the two."""
    table = read_csv(str(path))
    columns = list(table.columns)
    if len(columns) < 2:
        raise UserError(f"{path}: expected a column of ids and one of labels, found {', '.join(columns) or 'nothing'}")
    id_name = id_column or columns[0]
    if id_column is None and known_ids is not None and not known_ids & set(table.column(columns[0], "--id-column")):
        hits = [name for name in columns if known_ids & set(table.column(name, "--id-column"))]
        id_name = hits[0] if hits else id_name
    label_name = label_column or next(name for name in columns if name != id_name)
    ids = [cell.strip() for cell in table.column(id_name, "--id-column")]
    return ids, [cell.strip() for cell in table.column(label_name, "--label-column")]


def _refuse_differences(
    submission: Path, truth: Path, ids: list[str], labels: list[str], true_ids: list[str], true_labels: list[str]
) -> None:
    problems = []
    for path, names in ((submission, ids), (truth, true_ids)):
        twice = sorted(pd.Series(names)[pd.Series(names).duplicated()].unique()) if names else []
        if twice:
            problems.append(f"{path} names {len(twice)} ids more than once: {first_few(twice)}")
    missing, extra = sorted(set(true_ids) - set(ids)), sorted(set(ids) - set(true_ids))
    if missing:
        problems.append(f"{submission} lacks {len(missing)} ids: {first_few(missing)}")
    if extra:
        problems.append(f"{submission} has {len(extra)} ids that are not in {truth}: {first_few(extra)}")
    unknown = sorted(set(labels) - set(true_labels))
    if unknown:
        problems.append(
            f"{submission} predicts {len(unknown)} classes that {truth} does not know: {first_few(unknown)}"
        )
    if problems:
        raise UserError("the submission cannot be scored:\n  " + "\n  ".join(problems))


def format_score(score: dict[str, Any]) -> str:
    """Return the score as text: each class, then the numbers that count, macro F1 last."""
    width = max([len(name) for name in score["per_class"]] + [5])
    lines = [f"{'class':<{width}}  {'F1':>6}  {'precision':>9}  {'recall':>6}  {'rows':>6}"]
    for name, values in score["per_class"].items():
        scores = f"{values['f1']:6.3f}  {values['precision']:9.3f}  {values['recall']:6.3f}"
        lines.append(f"{name:<{width}}  {scores}  {values['rows']:6d}")
    low, high = score["interval_95"]
    lines += [f"rows {score['rows']}, accuracy {score['accuracy']:.3f}, 95 % interval [{low:.3f}, {high:.3f}]"]
    return "\n".join([*lines, f"macro F1 {score['macro_f1']:.3f}"])


def score_json(score: dict[str, Any]) -> str:
    """Return the score for programs."""
    return json.dumps(score, indent=2, ensure_ascii=False)
