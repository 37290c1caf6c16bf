"""Runs against each other on the same out-of-fold images: is one better, by how much, and where.

Chance enters once: every bootstrap draw takes the same images for all runs, so what is hard about the images cancels in
the difference. An interval holds what other images like these would do; not what another seed or training of the same
settings would do, which moves a score as well. Trained once each, runs are compared, not recipes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.errors import UserError, counted, first_few
from competition.metrics import Interval
from competition.predictions import Predictions, align, class_numbers, in_class_order, load_predictions
from competition.runs import read_json, read_run


@dataclass(frozen=True)
class Contender:
    """One side of a comparison.

    Attributes:
        name: what the answer calls it.
        predictions: with labels.
        warning: how its score flatters itself; empty where it does not.
        images_hash: fingerprint of the images it was trained on; empty where it is not known.
    """

    name: str
    predictions: Predictions
    warning: str = ""
    images_hash: str = ""


@dataclass(frozen=True)
class ClassChange:
    """F1 of one class in the first run and in another, with the interval of the difference."""

    name: str
    before: float
    after: float
    interval: Interval


@dataclass(frozen=True)
class Difference:
    """A run minus the first run.

    Attributes:
        macro_f1: difference of pooled macro F1.
        interval: its paired 95 % interval.
        chance_better: share of bootstrap draws in which this run is the better one; ties count half.
        per_fold: difference of macro F1 within each fold of the first run; empty where folds are not known.
        only_first_right: images that only the first run gets right.
        only_this_right: images that only this run gets right.
        classes: every class, the biggest change first.
    """

    macro_f1: float
    interval: Interval
    chance_better: float
    per_fold: dict[int, float]
    only_first_right: int
    only_this_right: int
    classes: tuple[ClassChange, ...]


@dataclass(frozen=True)
class Standing:
    """One run's score, and how it differs from the first run (None for the first run itself)."""

    name: str
    macro_f1: float
    interval: Interval
    band: Interval | None
    difference: Difference | None


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same images.

    Attributes:
        images: how many images all of them predicted.
        classes: number of classes.
        test_rows: rows of the leaderboard that the bands are for, or None.
        runs: in the order they were given.
        notes: what the reader must know: images left out, folds that differ, scores picked on their own fold.
    """

    images: int
    classes: int
    test_rows: int | None
    runs: tuple[Standing, ...]
    notes: tuple[str, ...]


def open_contender(path: Path) -> Contender:
    """Read a run folder's pooled out-of-fold predictions, or a predictions file.

    Raises:
        UserError: nothing there, a run that is not finished, rows without labels, an image named twice.
    """
    file = path / "oof.npz" if path.is_dir() else path
    if (path / "study.json").exists():
        raise UserError(f"{path} is a study: name its trials, such as {path}/trials/0000")
    if path.is_dir() and not file.exists():
        raise UserError(f"{path} has no oof.npz: finish its folds with train.py, or name a predictions file (.npz)")
    predictions = load_predictions(file)
    if predictions.labels is None:
        raise UserError(f"{file} has no labels: only predictions whose truth is known can be compared")
    names, counts = np.unique(predictions.image_ids, return_counts=True)
    if len(names) < len(predictions.image_ids):
        raise UserError(f"{file} names images twice: {first_few(names[counts > 1])}")
    return contender_of(path, predictions) if path.is_dir() else Contender(str(path), predictions)


def contender_of(run: Path, predictions: Predictions) -> Contender:
    """Return a run folder's side of a comparison."""
    is_known = (run / "run.json").exists()
    images_hash = read_run(run)["identity"].get("images_hash", "") if is_known else ""
    return Contender(str(run), predictions, warning_of(run), images_hash)


def warning_of(run: Path) -> str:
    """Return what a run's score warns of: how it flatters itself; empty where it does not."""
    score = run / "score.json"
    return str(read_json(score).get("warning", "")) if score.exists() else ""


def compare(contenders: Sequence[Contender], test_rows: int | None = None) -> Comparison:
    """Compare every run with the first, on the images that all of them predicted.

    Raises:
        UserError: other classes, no image in common, or an image with two truths.
    """
    aligned, notes = _same_rows(contenders)
    first = aligned[0]
    assert first.labels is not None
    truth, classes = first.labels, len(first.class_names)
    decided = np.stack([one.probabilities.argmax(axis=1) for one in aligned])
    draws = metrics.paired_f1_draws(truth, decided, classes)
    counts = [metrics.confusion(truth, one, classes) for one in decided]
    runs = tuple(
        Standing(
            contender.name,
            metrics.macro_f1(counts[run]),
            metrics.interval_of(metrics.recentred(draws[:, run].mean(axis=1), metrics.macro_f1(counts[run]))),
            metrics.leaderboard_band(counts[run], test_rows) if test_rows else None,
            _difference(first, decided[[0, run]], draws[:, [0, run]]) if run else None,
        )
        for run, contender in enumerate(contenders)
    )
    return Comparison(len(truth), classes, test_rows, runs, tuple(notes))


def _difference(first: Predictions, decided: NDArray[np.int64], draws: NDArray[np.float64]) -> Difference:
    """Compare two runs. (2, N) class numbers, (D, 2, K) bootstrapped F1."""
    assert first.labels is not None
    truth, classes = first.labels, len(first.class_names)
    before, after = (metrics.f1_per_class(metrics.confusion(truth, one, classes)) for one in decided)
    by_class = draws[:, 1] - draws[:, 0]  # (D, K)
    overall = by_class.mean(axis=1)
    right = decided == truth
    changes = [
        ClassChange(name, float(before[k]), float(after[k]), metrics.interval_of(by_class[:, k]))
        for k, name in enumerate(first.class_names)
    ]
    return Difference(
        macro_f1=float(np.average(after) - np.average(before)),
        interval=metrics.interval_of(overall),
        chance_better=float((overall > 0).mean() + (overall == 0).mean() / 2),
        per_fold=_fold_differences(first, decided),
        only_first_right=int((right[0] & ~right[1]).sum()),
        only_this_right=int((right[1] & ~right[0]).sum()),
        classes=tuple(sorted(changes, key=lambda change: -abs(change.after - change.before))),
    )


def _fold_differences(first: Predictions, decided: NDArray[np.int64]) -> dict[int, float]:
    assert first.labels is not None
    found = {}
    for fold in np.unique(first.folds) if first.folds is not None else ():
        rows = first.folds == fold
        scores = [
            metrics.macro_f1(metrics.confusion(first.labels[rows], one[rows], len(first.class_names)))
            for one in decided
        ]
        found[int(fold)] = scores[1] - scores[0]
    return found


def _same_rows(contenders: Sequence[Contender]) -> tuple[list[Predictions], list[str]]:
    """Return the images that all runs predicted, in one order of rows and classes, and notes on what differs."""
    first = contenders[0]
    ordered = [_same_classes(first, contender) for contender in contenders]
    common = ordered[0].image_ids
    for one in ordered[1:]:
        common = np.intersect1d(common, one.image_ids)
    if not len(common):
        raise UserError("the runs have no image in common: they were trained on other data")
    aligned = [align(one, common) for one in ordered]
    notes = []
    for contender, one in zip(contenders, aligned, strict=True):
        _refuse_other_truth(first.name, contender.name, aligned[0], one)
        left_out = len(contender.predictions.image_ids) - len(common)
        if left_out:
            notes.append(f"{contender.name}: {counted(left_out, 'image')} left out that not all runs predicted")
        notes.extend(_image_notes(first, contender))
        notes.extend(_fold_notes(first.name, contender.name, aligned[0], one))
        if contender.warning:
            notes.append(f"{contender.name}: {contender.warning}")
    return aligned, notes


def _same_classes(first: Contender, other: Contender) -> Predictions:
    """Return a run's predictions with the classes in the order of the first run's; UserError where they differ."""
    names, found = first.predictions.class_names, other.predictions.class_names
    if set(names) != set(found):
        differ = sorted(set(names) ^ set(found))
        raise UserError(f"{first.name} and {other.name} know different classes; in one alone: {first_few(differ)}")
    assert other.predictions.labels is not None
    labels = class_numbers(found, names)[other.predictions.labels]
    probabilities = in_class_order(other.predictions, names)
    return replace(other.predictions, class_names=names, probabilities=probabilities, labels=labels)


def _refuse_other_truth(first: str, name: str, one: Predictions, other: Predictions) -> None:
    assert one.labels is not None
    differ = one.image_ids[one.labels != other.labels]
    if len(differ):
        raise UserError(f"{first} and {name} give {counted(len(differ), 'image')} other labels: {first_few(differ)}")


def _image_notes(first: Contender, other: Contender) -> list[str]:
    """Say so where equal ids may not be equal images.

    The fingerprints cover the contents of all images of a run. They differ by right where one run had more images
    (``--holdout``, ``--on-bad skip``), or the same ones resized or saved anew, so nothing is refused.
    """
    if not (first.images_hash and other.images_hash) or first.images_hash == other.images_hash:
        return []
    has_same_ids = set(first.predictions.image_ids) == set(other.predictions.image_ids)
    whose = "has the ids but not the images of" if has_same_ids else "was not trained on the same images as"
    return [
        f"{other.name} {whose} {first.name} (images_hash in run.json): images are paired by id, which says nothing "
        "unless equal ids show the same"
    ]


def _fold_notes(first: str, name: str, one: Predictions, other: Predictions) -> list[str]:
    if other is one:
        return []
    if one.folds is None or other.folds is None:
        unknown = first if one.folds is None else name
        return [f"{unknown}: its folds are not known; whether the runs trained on the same images cannot be told"]
    moved = int((one.folds != other.folds).sum())
    if not moved:
        return []
    return [
        f"{name}: {counted(moved, 'image')} of {len(one.folds):,} in another fold than with {first}: paired by image "
        "but not by training set, so part of the difference is the luck of the folds"
    ]
