"""Predictions as a thing on disk: ids, class names, probabilities, and labels where they are known.

Everything is joined by image id and class name, never by position.
"""

import io
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.data.csvfile import write_csv
from competition.errors import UserError, first_few
from competition.runs import write_atomically

CSV_ROWS = 1000  # whose probabilities are numbers of Python's at one time: bounds memory


@dataclass(frozen=True)
class Predictions:
    """Probabilities of N images over K classes.

    Attributes:
        image_ids: (N,) names, each once.
        class_names: K names.
        probabilities: (N, K) float32, rows sum to 1.
        labels: (N,) class numbers, or None where the truth is not known.
        folds: (N,) number of the fold that predicted each row, or None.
        weights: the hash of the weights that predicted, or None where it was not noted.
    """

    image_ids: NDArray[np.str_]
    class_names: tuple[str, ...]
    probabilities: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    folds: NDArray[np.int64] | None = None
    weights: str | None = None

    def predicted(self) -> NDArray[np.str_]:
        """Return the most probable class name of each row."""
        return np.asarray(self.class_names)[self.probabilities.argmax(axis=1)]

    def confusion(self) -> metrics.Counts:
        """Return the (K, K) table of counts; needs labels."""
        assert self.labels is not None
        return metrics.confusion(self.labels, self.probabilities.argmax(axis=1), len(self.class_names))

    def rows(self, rows: NDArray[np.integer]) -> "Predictions":
        """Return some rows in the given order."""
        return replace(
            self,
            image_ids=self.image_ids[rows],
            probabilities=self.probabilities[rows],
            labels=None if self.labels is None else self.labels[rows],
            folds=None if self.folds is None else self.folds[rows],
        )


def class_numbers(labels: Iterable[str], class_names: Sequence[str]) -> NDArray[np.int64]:
    """Return the number of each label in ``class_names``. -> (N,)."""
    numbers = {name: number for number, name in enumerate(class_names)}
    return np.array([numbers[label] for label in labels], dtype=np.int64)


def save_predictions(path: Path, predictions: Predictions) -> None:
    """Write one .npz, whole or not at all; probabilities that are float16 stay so."""
    kind = np.float16 if predictions.probabilities.dtype == np.float16 else np.float32
    arrays = {
        "image_ids": predictions.image_ids.astype(np.str_),
        "class_names": np.asarray(predictions.class_names, dtype=np.str_),
        "probabilities": predictions.probabilities.astype(kind),
    }
    for name in ("labels", "folds", "weights"):
        if getattr(predictions, name) is not None:
            arrays[name] = np.asarray(getattr(predictions, name))
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(path, buffer.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read a .npz; nothing in it is unpickled.

    Raises:
        UserError: missing, damaged, or not a predictions file.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Predictions(
                image_ids=arrays["image_ids"],
                class_names=tuple(str(name) for name in arrays["class_names"]),
                probabilities=arrays["probabilities"].astype(np.float32, copy=False),
                labels=arrays.get("labels"),
                folds=arrays.get("folds"),
                weights=str(arrays["weights"]) if "weights" in arrays else None,
            )
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        reason = error if zipfile.is_zipfile(path) else "no .npz, or one that was cut short"
        is_ours = path.suffix == ".npz"
        advice = "remove it and give the command that made it again" if is_ours else "name a run, or the .npz of one"
        raise UserError(f"{path} is not a predictions file ({reason}): {advice}") from None


def save_csv(path: Path, predictions: Predictions) -> None:
    """Write the same as a CSV: image_id, fold, label, predicted, one column of probability per class."""
    columns: dict[str, NDArray[Any]] = {"image_id": predictions.image_ids}
    if predictions.folds is not None:
        columns["fold"] = predictions.folds
    if predictions.labels is not None:
        columns["label"] = np.asarray(predictions.class_names)[predictions.labels]
    columns["predicted"] = predictions.predicted()

    def cells() -> Iterator[list[Any]]:
        for start in range(0, len(predictions.image_ids), CSV_ROWS):
            rows = slice(start, start + CSV_ROWS)
            names = zip(*(column[rows].tolist() for column in columns.values()), strict=True)
            for first, numbers in zip(names, predictions.probabilities[rows].tolist(), strict=True):
                yield [*first, *map("%.6g".__mod__, numbers)]

    write_csv(path, [*columns, *(f"p_{name}" for name in predictions.class_names)], cells())


def pool(parts: Sequence[Predictions]) -> Predictions:
    """Join the folds' out-of-fold predictions, which have labels: every image once, repeats averaged, ordered by id.

    Raises:
        UserError: folds that name different classes.
    """
    _refuse_other_classes(parts)
    ids = np.concatenate([part.image_ids for part in parts])
    unique, first, inverse, counts = np.unique(ids, return_index=True, return_inverse=True, return_counts=True)
    probabilities = np.concatenate([part.probabilities for part in parts]).astype(np.float64)
    sums = np.zeros((len(unique), probabilities.shape[1]))
    np.add.at(sums, inverse, probabilities)
    labels, folds = (np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "folds"))
    return Predictions(
        image_ids=unique,
        class_names=parts[0].class_names,
        probabilities=(sums / counts[:, None]).astype(np.float32),
        labels=labels[first],
        folds=folds[first],
    )


def align(predictions: Predictions, image_ids: NDArray[np.str_]) -> Predictions:
    """Return the rows in the order of ``image_ids``.

    Raises:
        UserError: ids that have no prediction.
    """
    order = np.argsort(predictions.image_ids)
    place = np.searchsorted(predictions.image_ids, image_ids, sorter=order)
    rows = order[np.minimum(place, len(order) - 1)]
    absent = image_ids[predictions.image_ids[rows] != image_ids]
    if len(absent):
        raise UserError(f"{len(absent)} images have no prediction: {first_few(absent)}")
    return predictions.rows(rows)


def in_class_order(predictions: Predictions, class_names: Sequence[str]) -> NDArray[np.float32]:
    """Return the probabilities with their columns in the order of ``class_names``. -> (N, K)."""
    if predictions.class_names == tuple(class_names):
        return predictions.probabilities
    return predictions.probabilities[:, [predictions.class_names.index(name) for name in class_names]]


def _refuse_other_classes(parts: Sequence[Predictions]) -> None:
    for part in parts[1:]:
        if part.class_names != parts[0].class_names:
            differ = sorted(set(part.class_names) ^ set(parts[0].class_names))
            raise UserError(f"predictions name different classes: {first_few(differ) or 'another order'}")
