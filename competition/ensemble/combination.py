"""A fitted ensemble: a transform of each member's probabilities, a weight per member, a bias per class."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from competition.process import usable_cores

Method = Literal["best", "mean", "geometric", "rank", "weighted", "greedy", "stacked"]
Transform = Literal["probability", "log", "rank"]
Item = TypeVar("Item")
Result = TypeVar("Result")

FLOOR = 1e-5  # the least probability whose logarithm counts: no member can veto a class
BLOCK = 1024  # rows combined at once: a block of every array involved stays in the processor's cache
COLUMNS = 32  # classes ranked at once
HALF_ONE = 0x3C00  # the bits of 1.0 in float16: bits of probabilities are whole numbers from 0 to this, in their order


def mean(members: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of the members' probabilities. Each (N, K) -> (N, K)."""
    return np.stack(members).mean(axis=0, dtype=np.float64).astype(np.float32)


@dataclass(frozen=True)
class Combination:
    """A fitted ensemble of M members over K classes.

    Attributes:
        method: how it was fitted.
        transform: of each member's probabilities, before they are added.
        weights: (M,) weight of each member; those at 0 need not be predicted.
        bias: (K,) added to the sum of weighted logarithms, or None.
    """

    method: Method
    transform: Transform
    weights: NDArray[np.float64]
    bias: NDArray[np.float64] | None = None

    @property
    def used(self) -> NDArray[np.intp]:
        """Numbers of the members whose weight is not 0."""
        return np.flatnonzero(self.weights)

    def of_used(self) -> "Combination":
        """Return the same without the members whose weight is 0."""
        return replace(self, weights=self.weights[self.used])

    def apply(self, members: NDArray[np.floating], rows: NDArray[np.intp] | None = None) -> NDArray[np.float32]:
        """Return probabilities. (M, N, K), and (R,) rows of N or all of them -> (R, K), rows sum to 1.

        "rank" compares the rows with one another, so its answer for an image depends on the images beside it.
        """
        rows = np.arange(members.shape[1]) if rows is None else rows
        if self.transform == "rank":
            return _normalised(_mean_ranks(members, self.weights, rows))
        blocks = [rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK)]
        if not blocks:
            return np.empty((0, members.shape[2]), np.float32)
        return np.concatenate(list(in_threads(lambda block: self._combine(members, block), blocks)))

    def _combine(self, members: NDArray[np.floating], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Combine one block of rows. -> (R, K)."""
        total = np.zeros((len(rows), members.shape[2]), np.float32)
        window = _as_slice(rows)
        for member in self.used:
            values = members[member][window].astype(np.float32)
            if self.transform == "log":
                np.log(np.maximum(values, np.float32(FLOOR), out=values), out=values)
            total += np.multiply(values, np.float32(self.weights[member]), out=values)
        if self.transform == "probability":
            return _normalised(total)
        total += 0 if self.bias is None else self.bias.astype(np.float32)
        return _normalised(np.exp(total - total.max(axis=1, keepdims=True)))


def single(member: int, members: int) -> Combination:
    """Return one member of several as a combination."""
    return Combination("best", "probability", np.eye(members)[member])


def in_threads(work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
    """Yield the results in order, from as many threads as there are cores (numpy lets them run side by side)."""
    with ThreadPoolExecutor(usable_cores()) as threads:
        yield from threads.map(work, items)


def _as_slice(rows: NDArray[np.intp]) -> NDArray[np.intp] | slice:
    """Return a slice where the rows follow one another: read in place rather than gathered."""
    is_run = rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all())
    return slice(int(rows[0]), int(rows[-1]) + 1) if is_run else rows


def _normalised(values: NDArray[np.float32]) -> NDArray[np.float32]:
    sums = values.sum(axis=1, keepdims=True)
    return np.divide(values, sums, out=np.full_like(values, 1 / max(values.shape[1], 1)), where=sums > 0)


def _mean_ranks(
    members: NDArray[np.floating], weights: NDArray[np.float64], rows: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Return the weighted mean over the members of each value's rank in its column, from 0 to 1. -> (R, K)."""
    classes = members.shape[2]
    result = np.zeros((classes, len(rows)), np.float32)
    window = _as_slice(rows) if len(rows) else rows

    def add(first: int) -> None:
        for member in np.flatnonzero(weights):
            block = members[member][window, first : first + COLUMNS].astype(np.float16, copy=False)
            for column, bits in enumerate(np.ascontiguousarray(block.T).view(np.uint16)):
                result[first + column] += np.float32(weights[member]) * _ranks(bits)

    list(in_threads(add, range(0, classes, COLUMNS)))
    return np.ascontiguousarray(result.T) / np.float32(len(rows) * weights.sum() or 1)


def _ranks(bits: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Return ranks from 1 to N, equal values sharing their mean rank, by counting. (N,) bits of float16 -> (N,)."""
    counts = np.bincount(bits, minlength=HALF_ONE + 1)
    return (np.cumsum(counts) - (counts - 1) / 2).astype(np.float32)[bits]
