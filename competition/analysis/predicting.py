"""Probabilities of chosen pictures under a fold's network, as they are or changed: the one evaluation path."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.analysis.source import Source
from competition.data.loader import Images, Loader
from competition.inference import views_of

Change = Callable[[NDArray[np.uint8], int], NDArray[np.uint8]]  # picture (H, W, 3), row -> picture
BATCH = 256


@dataclass(frozen=True)
class Changed:
    """An image store whose pictures are changed on their way out."""

    images: Images
    change: Change

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return changed pictures. (B,) row numbers -> (B, H, W, 3) uint8."""
        pictures = self.images.gather(rows)
        for place, row in enumerate(rows):
            pictures[place] = self.change(pictures[place], int(row))
        return pictures


def predict_rows(
    source: Source, fold: int, rows: NDArray[np.int64], change: Change | None = None
) -> NDArray[np.float32]:
    """Return the probabilities of some store rows under a fold's network, one view. -> (n, K), run's class order."""
    network, checkpoint = source.open_network(fold)
    images: Images = source.store if change is None else Changed(source.store, change)
    loader = Loader(images, rows, np.zeros(len(rows), np.uint64), BATCH)
    probabilities = checkpoint.predict(network, loader, source.device, views_of(1))
    return probabilities[:, [checkpoint.class_names.index(name) for name in source.class_names]]


def predict_held_out(source: Source, which: NDArray[np.intp], change: Change | None = None) -> NDArray[np.float32]:
    """Return the probabilities of some predictions' images, each under the fold that held it out. -> (n, K)."""
    return predict_under(source, which, source.folds[which], change)


def predict_under(
    source: Source, which: NDArray[np.intp], folds: NDArray[np.int64], change: Change | None = None
) -> NDArray[np.float32]:
    """Return the probabilities of some predictions' images, each under the network of its fold of ``folds``, (n,)."""
    result = np.empty((len(which), len(source.class_names)), np.float32)
    for fold in np.unique(folds):
        places = np.flatnonzero(folds == fold)
        result[places] = predict_rows(source, int(fold), source.rows[which[places]], change)
    return result


def sample_of(source: Source, limit: int) -> NDArray[np.intp]:
    """Return up to ``limit`` predictions whose fold has weights: of every class its share, spread evenly over the ids.

    A class of few images may have none among them, see `sample_f1`.
    """
    usable = np.flatnonzero(np.isin(source.folds, source.folds_with_weights()))
    by_class = usable[np.lexsort((source.predictions.image_ids[usable], source.labels[usable]))]
    return np.sort(by_class[evenly(len(by_class), limit)])


def evenly(count: int, limit: int) -> NDArray[np.intp]:
    """Return up to ``limit`` of ``count`` places, spread evenly from the first to the last."""
    return np.linspace(0, count - 1, min(limit, count)).round().astype(np.intp)


def sample_f1(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> float:
    """Return the mean F1 of the classes that have images in a sample. (n,), (n, K)."""
    counts = metrics.confusion(labels, probabilities.argmax(axis=1), probabilities.shape[1])
    return float(metrics.f1_per_class(counts)[counts.sum(axis=1) > 0].mean())
