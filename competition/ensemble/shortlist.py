"""The few classes that can win each row, and macro F1 of many candidate sums on confusion counts.

An ensemble adds members; what counts of a sum is the class that wins each row. Of many classes only a few ever win a
row, so every member is kept for those alone: the eight most probable in the plain mean (all of them up to twelve).
That makes 200 members of 50,000 rows and 100 classes a matter of seconds; with up to twelve classes it is exact.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from competition.ensemble.combination import in_threads
from competition.metrics import f1

EXACT_CLASSES = 12  # up to here every class is kept
KEPT_CLASSES = 8
CELLS = 1 << 15  # (row, candidate) pairs looked at together: their arrays stay in the processor's cache


@dataclass(frozen=True)
class Counts:
    """What macro F1 needs of G candidates: hits and predictions per class, each (G, K) int64."""

    hits: NDArray[np.int64]
    predicted: NDArray[np.int64]

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.hits + other.hits, self.predicted + other.predicted)

    def macro_f1(self, true: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return macro F1 of each candidate. (K,) true counts -> (G,)."""
        return f1(self.hits, true, self.predicted).mean(axis=1)


@dataclass(frozen=True)
class Shortlist:
    """C classes for each of N rows, and M members' probabilities of them.

    Attributes:
        classes: (N, C) class numbers, ascending in each row.
        values: (N, C, M) float32.
        labels: (N,) class numbers, of K.
        class_count: K.
    """

    classes: NDArray[np.int64]
    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    class_count: int

    @classmethod
    def of(
        cls, probabilities: NDArray[np.float16], mean: NDArray[np.float32], labels: NDArray[np.int64]
    ) -> "Shortlist":
        """Keep the most probable classes of the mean. (M, N, K), (N, K), (N,)."""
        members, rows, class_count = probabilities.shape
        kept = class_count if class_count <= EXACT_CLASSES else KEPT_CLASSES
        classes = np.sort(np.argpartition(-mean, kept - 1, axis=1)[:, :kept], axis=1)
        values = np.empty((rows, kept, members), np.float32)

        def fill(member: int) -> None:
            values[:, :, member] = np.take_along_axis(probabilities[member], classes, axis=1)

        list(in_threads(fill, range(members)))
        return cls(classes, values, labels, class_count)

    def true_counts(self, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        """Return how many of the rows each class has. -> (K,)."""
        return np.bincount(self.labels[rows], minlength=self.class_count)

    def winners(self, rows: NDArray[np.intp], totals: NDArray[np.float32]) -> NDArray[np.int64]:
        """Return the class that wins each row; equal values go to the lower number. (R, C) totals -> (R,)."""
        return self.classes[rows, totals.argmax(axis=1)]

    def count(self, rows: NDArray[np.intp], winners: NDArray[np.int64]) -> Counts:
        """Count the winners of G candidates. (R,) rows, (R, G) class numbers."""
        candidates = winners.shape[1]
        cells = winners + np.arange(candidates) * self.class_count
        size, shape = candidates * self.class_count, (candidates, self.class_count)
        hits = cells[winners == self.labels[rows][:, None]]
        return Counts(
            np.bincount(hits, minlength=size).reshape(shape), np.bincount(cells.ravel(), minlength=size).reshape(shape)
        )

    def of_members(self, members: NDArray[np.intp]) -> "Shortlist":
        """Return some of the members, copied so that they lie side by side."""
        return replace(self, values=np.take(self.values, members, axis=2))

    def count_each(self, rows: NDArray[np.intp], totals: NDArray[np.float32]) -> Counts:
        """Count what wins when each member in turn is added to the totals. (R,) rows, (R, C) totals -> (M, K)."""
        members = self.values.shape[2]

        def work(place: slice) -> Counts:
            block = rows[place]
            return self.count(block, best_of(self.classes[block], totals[place], self.values[block]))

        step = max(1, CELLS // members)
        places = [slice(start, start + step) for start in range(0, len(rows), step)]
        empty = np.zeros((members, self.class_count), np.int64)
        return sum(in_threads(work, places), start=Counts(empty, empty))


def best_of(
    classes: NDArray[np.int64], totals: NDArray[np.float32], additions: NDArray[np.float32]
) -> NDArray[np.int64]:
    """Return the class that wins each row in each of G sums; equal values go to the lower number.

    (R, C) ascending, (R, C), (R, C, G) -> (R, G)
    """
    best = additions[:, 0] + totals[:, 0, None]
    winner = np.zeros(best.shape, np.int8)
    for place in range(1, classes.shape[1]):
        value = additions[:, place] + totals[:, place, None]
        # Places only grow, so the last one that was better than all before it is the largest of them.
        np.maximum(winner, (value > best).view(np.int8) * np.int8(place), out=winner)
        np.maximum(best, value, out=best)
    return np.take_along_axis(classes, winner.astype(np.intp), axis=1)


def best_singles(shortlist: Shortlist, rows: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Return the members with the best macro F1 by themselves on some rows, best first."""
    nothing = np.zeros((len(rows), shortlist.classes.shape[1]), np.float32)
    scores = shortlist.count_each(rows, nothing).macro_f1(shortlist.true_counts(rows))
    return np.argsort(-scores, kind="stable")[:most]
