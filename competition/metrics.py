"""Macro F1 and what belongs to it: arrays in, numbers out.

Everything is computed from one K x K table of counts (rows: true class, columns: predicted class), so a
class that is absent is treated the same everywhere.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]


def confusion(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> Counts:
    """Count (true, predicted) pairs. (N,), (N,) class numbers -> (K, K)."""
    cells = truth.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def f1_per_class(counts: Counts) -> NDArray[np.float64]:
    """Return F1 of each class; 0 for a class neither true nor predicted. (K, K) -> (K,)."""
    return _f1(np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0))


def _f1(hits: NDArray[np.int64], true: NDArray[np.int64], predicted: NDArray[np.int64]) -> NDArray[np.float64]:
    total = (true + predicted).astype(np.float64)
    return np.divide(2.0 * hits, total, out=np.zeros_like(total), where=total > 0)


def macro_f1(counts: Counts) -> float:
    """Return the mean F1 over all K classes.

    Equal to ``sklearn.metrics.f1_score(average="macro", labels=all classes, zero_division=0)``.
    """
    return float(np.average(f1_per_class(counts)))


def accuracy(counts: Counts) -> float:
    """Return the share of rows on the diagonal."""
    return float(np.trace(counts) / max(counts.sum(), 1))


@dataclass(frozen=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.3f}, {self.high:.3f}]"


def bootstrap_interval(counts: Counts, draws: int = 1000, seed: int = 0) -> Interval:
    """Return the percentile bootstrap interval of macro F1 over other test rows like these.

    Drawing N rows with replacement is one multinomial draw over the cells of the table, so the cost does not
    grow with N. The interval holds what chance in the rows does; not what another training would do.
    (Efron & Tibshirani 1993, chapter 13.)
    """
    true, predicted = np.nonzero(counts)
    cells = counts[true, predicted]
    total = int(cells.sum())
    if total == 0:
        return Interval(0.0, 0.0)
    rng = np.random.default_rng(seed)
    classes = len(counts)
    scores = np.empty(draws)
    for draw in range(draws):
        drawn = rng.multinomial(total, cells / total)
        hits = np.bincount(true[true == predicted], drawn[true == predicted], classes)
        scores[draw] = _f1(hits, np.bincount(true, drawn, classes), np.bincount(predicted, drawn, classes)).mean()
    low, high = np.percentile(scores, [2.5, 97.5])
    return Interval(float(low), float(high))


def summary(counts: Counts, class_names: list[str]) -> dict[str, object]:
    """Return the whole score as plain data: macro F1, interval, accuracy, and each class."""
    scores = f1_per_class(counts)
    interval = bootstrap_interval(counts)
    hits, true, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    return {
        "macro_f1": macro_f1(counts),
        "interval_95": [interval.low, interval.high],
        "accuracy": accuracy(counts),
        "rows": int(counts.sum()),
        "per_class": {
            name: {
                "f1": float(scores[k]),
                "precision": float(hits[k] / predicted[k]) if predicted[k] else 0.0,
                "recall": float(hits[k] / true[k]) if true[k] else 0.0,
                "rows": int(true[k]),
            }
            for k, name in enumerate(class_names)
        },
    }
