"""How good and how sure: the pooled score, the band to expect on a leaderboard, the baseline, and other runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition import metrics
from competition.data.duplicates import thumbnails
from competition.predictions import Predictions, align

DRAWS = 500


def class_rows(counts: metrics.Counts, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per class: F1, precision, recall, images, and the class it is most often taken for."""
    values = metrics.summary(counts, list(class_names))["per_class"]
    rows = []
    for number, name in enumerate(class_names):
        wrong = counts[number].copy()
        wrong[number] = 0
        other = int(wrong.argmax())
        taken_for = {"taken_for": class_names[other], "times": int(wrong[other])} if wrong[other] else {}
        rows.append({"class": name, **values[name], **taken_for})  # type: ignore[index]
    return rows


def per_fold(predictions: Predictions) -> dict[str, float]:
    """Return macro F1 of the images that each fold held out."""
    assert predictions.folds is not None
    return {
        str(fold): metrics.macro_f1(predictions.rows(np.flatnonzero(predictions.folds == fold)).confusion())
        for fold in np.unique(predictions.folds)
    }


def baseline_f1(facts: pd.DataFrame, labels: NDArray[np.int64], folds: NDArray[np.int64], classes: int) -> float | None:
    """Return macro F1 of a linear discriminant on thumbnails of 8 x 8 px, cross-validated on the same folds.

    What colour and layout alone give away. ``facts`` has the N rows of the labels, see `ImageStore.facts`.
    None with a single fold, which leaves nothing to fit on.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    if len(np.unique(folds)) < 2:
        return None
    inputs = thumbnails(facts).astype(np.float64) / 255
    predicted = np.zeros(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        held_out = folds == fold
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(inputs[~held_out], labels[~held_out])
        predicted[held_out] = model.predict(inputs[held_out])
    return metrics.macro_f1(metrics.confusion(labels, predicted, classes))


@dataclass(frozen=True)
class Comparison:
    """Another run against this one, on the images that both predicted."""

    images: int
    macro_f1: float
    gain: float  # of the other run over this one
    interval: metrics.Interval  # of the gain, 95 %, the images drawn in pairs


def compare(this: Predictions, other: Predictions) -> Comparison | None:
    """Compare two runs on the images they share, joined by id; None where they share none."""
    ids = np.intersect1d(this.image_ids, other.image_ids)
    if not len(ids):
        return None
    first, second = align(this, ids), align(other, ids)
    assert first.labels is not None
    columns = [other.class_names.index(name) for name in this.class_names]
    answers = (first.probabilities.argmax(axis=1), second.probabilities[:, columns].argmax(axis=1))
    draws = metrics.paired_f1_draws(first.labels, np.stack(answers), len(this.class_names), DRAWS)
    before, after = (metrics.macro_f1(metrics.confusion(first.labels, part, len(this.class_names))) for part in answers)
    gains = draws[:, 1].mean(axis=1) - draws[:, 0].mean(axis=1)
    return Comparison(len(ids), after, after - before, metrics.interval_of(gains))
