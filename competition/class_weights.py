"""One weight per class for macro F1, by coordinate ascent on confusion counts.

Raising the weight of class k takes rows over one by one, in the order of their margins, from the class that had them;
lowering it hands rows to the class that comes second. Each such step changes the counts of two classes, so macro F1
along the whole path follows from cumulative counts: one sort per class, and the metric is never called.
"""

import numpy as np
from numpy.typing import NDArray

from competition.metrics import f1

Numbers = int | NDArray[np.integer]

SWEEPS = 10
LIMIT = np.log(8.0)  # no weight goes further than this factor from where it started
CAUTION = 1.0  # standard errors that are taken off the gain of a step
BEYOND = 0.02  # how far past the last row of a path its end lies, in log weight
DISTINCT = 1e-5  # distances nearer than this are equal: float32 rounds scores to about 1e-6


def ascend(
    scores: NDArray[np.float32], labels: NDArray[np.int64], start: NDArray[np.float64], caution: float = CAUTION
) -> NDArray[np.float64]:
    """Return log weights that raise macro F1 of ``argmax(scores + log weights)``.

    A step is judged by its gain less its own standard error (of a sum over independent rows), so a few lucky rows
    move nothing: with little to win the weights stay where they started.

    Args:
        scores: (N, K) log probabilities.
        labels: (N,) class numbers.
        start: (K,) log weights to start from.
        caution: standard errors that are taken off the gain; 0 climbs to the very top of these rows.

    Returns:
        (K,) log weights.
    """
    table = _Table(scores, labels, start, caution)
    for _ in range(SWEEPS):
        moved = [table.improve(k) for k in range(len(start))]
        if not any(moved):
            break
    return table.bias


class _Table:
    """The rows with their two best classes, and the counts that macro F1 needs. N rows, K classes."""

    def __init__(
        self, scores: NDArray[np.float32], labels: NDArray[np.int64], start: NDArray[np.float64], caution: float
    ) -> None:
        rows, self.classes = scores.shape
        self.start, self.caution = start, caution
        self.scores, self.labels, self.bias = scores, labels, start.astype(np.float64)
        self.columns = np.ascontiguousarray(scores.T)  # (K, N): one class is read at a time
        self.best, self.second = np.empty(rows, np.intp), np.empty(rows, np.intp)
        self.best_score, self.second_score = np.empty(rows, np.float32), np.empty(rows, np.float32)
        self.true = np.bincount(labels, minlength=self.classes)
        self._rank(np.arange(rows))

    def improve(self, k: int) -> bool:
        """Move the weight of class k to where it gains most; returns whether it moved."""
        own = self._score(k)
        holds = self.best == k
        distance = np.where(holds, own - self.second_score, self.best_score - own)  # until the row changes hands
        most, shift = 0.0, 0.0
        for sign, changes, other in ((1, ~holds, self.best), (-1, holds, self.second)):
            rows = np.flatnonzero(changes & (distance < LIMIT - sign * (self.bias[k] - self.start[k])))
            if len(rows):
                rows = rows[np.argsort(distance[rows])]
                gain, reach = self._best_stop(k, sign, rows, other[rows], distance[rows])
                if gain > most:
                    most, shift = gain, sign * reach
        if shift:
            self._move(k, shift)
        return shift != 0

    def _score(self, k: int) -> NDArray[np.float32]:
        return self.columns[k] + np.float32(self.bias[k])

    def _best_stop(
        self, k: int, sign: int, rows: NDArray[np.intp], other: NDArray[np.intp], distance: NDArray[np.float32]
    ) -> tuple[float, float]:
        """Return the largest cautious gain along a path, and how far to go for it: midway to the next row."""
        gain = self._gains(k, sign, rows, other)
        net = gain - self.caution * np.sqrt(np.cumsum(np.diff(gain, prepend=0.0) ** 2))
        gap = np.diff(distance, append=distance[-1] + BEYOND)
        net[gap < DISTINCT] = -np.inf  # equal rows cannot be told apart: go past all of them or none
        stop = int(net.argmax())
        return float(net[stop]), float(distance[stop] + gap[stop] / 2)

    def _gains(self, k: int, sign: int, rows: NDArray[np.intp], other: NDArray[np.intp]) -> NDArray[np.float64]:
        """Return the gain in macro F1 after 1, 2, ... of the rows have changed hands.

        Args:
            k: the class whose weight moves.
            sign: 1 where it takes the rows, -1 where it hands them on.
            rows: (M,) in the order in which they change hands.
            other: (M,) the class that each is taken from or handed to.
        """
        labels, step = self.labels[rows], np.arange(1, len(rows) + 1)
        own = self._f1(k, sign * np.cumsum(labels == k), sign * step) - self._f1(k, 0, 0)
        # The other classes: each row changes one of them, by what was taken from it before.
        order = np.argsort(other, kind="stable")
        classes, hit = other[order], (labels == other)[order]
        first = np.searchsorted(classes, classes)  # where the run of each row's class begins
        total = np.cumsum(hit)
        hits, moved = total - (total - hit)[first], step - first
        change = np.empty(len(rows))
        change[order] = self._f1(classes, -sign * hits, -sign * moved) - self._f1(
            classes, -sign * (hits - hit), -sign * (moved - 1)
        )
        return (own + np.cumsum(change)) / self.classes

    def _f1(self, classes: Numbers, more_hits: Numbers, more_predicted: Numbers) -> NDArray[np.float64]:
        return f1(self.hits[classes] + more_hits, self.true[classes], self.predicted[classes] + more_predicted)

    def _move(self, k: int, shift: float) -> None:
        self.bias[k] += shift
        among = (self.best == k) | (self.second == k) | (self._score(k) >= self.second_score)
        self._rank(np.flatnonzero(among))

    def _rank(self, rows: NDArray[np.intp]) -> None:
        """Find the two best classes of some rows anew, and count."""
        scores = self.scores[rows] + self.bias.astype(np.float32)
        for best, best_score in ((self.best, self.best_score), (self.second, self.second_score)):
            found = scores.argmax(axis=1)[:, None]
            best[rows] = found[:, 0]
            best_score[rows] = np.take_along_axis(scores, found, axis=1)[:, 0]
            np.put_along_axis(scores, found, -np.inf, axis=1)
        self.predicted = np.bincount(self.best, minlength=self.classes)
        self.hits = np.bincount(self.best[self.best == self.labels], minlength=self.classes)
