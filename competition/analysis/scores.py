"""How good: each class, each fold, and the baseline."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition import metrics
from competition.data.duplicates import thumbnails
from competition.predictions import load_predictions


def class_rows(counts: metrics.Counts, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per class: F1, precision, recall, images, and the class it is most often taken for."""
    values = metrics.per_class(counts, class_names)
    rows = []
    for number, name in enumerate(class_names):
        wrong = counts[number].copy()
        wrong[number] = 0
        other = int(wrong.argmax())
        taken_for = {"taken_for": class_names[other], "times": int(wrong[other])} if wrong[other] else {}
        rows.append({"class": name, **values[name], **taken_for})
    return rows


def per_fold(fold_folders: Mapping[int, Path]) -> dict[str, float]:
    """Return macro F1 of the images that each fold held out, by its own network."""
    return {
        str(fold): metrics.macro_f1(load_predictions(folder / "predictions.npz").confusion())
        for fold, folder in fold_folders.items()
    }


def baseline_f1(facts: pd.DataFrame, labels: NDArray[np.int64], folds: NDArray[np.int64], classes: int) -> float | None:
    """Return macro F1 of a linear discriminant on thumbnails of 8 x 8 px, cross-validated on the same folds.

    What colour and layout alone give away. ``facts`` has the N rows of the labels, see `ImageStore.facts`.
    None with a single fold, which leaves nothing to fit on, or with fewer images to fit on than there are classes.
    """
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    largest = max(np.bincount(folds))
    if len(np.unique(folds)) < 2 or len(folds) - largest <= classes:
        return None
    inputs = thumbnails(facts).astype(np.float64) / 255
    predicted = np.zeros(len(labels), dtype=np.int64)
    for fold in np.unique(folds):
        held_out = folds == fold
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(inputs[~held_out], labels[~held_out])
        predicted[held_out] = model.predict(inputs[held_out])
    return metrics.macro_f1(metrics.confusion(labels, predicted, classes))
