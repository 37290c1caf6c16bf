"""Macro F1 and what belongs to it: arrays in, numbers out.

Everything is computed from one K x K table of counts (rows: true class, columns: predicted class), so a
class that is absent is treated the same everywhere.
"""

from collections.abc import Iterator, Sequence
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
    return f1(np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0))


def f1(hits: NDArray[np.number], true: NDArray[np.number], predicted: NDArray[np.number]) -> NDArray[np.float64]:
    """Return F1 of hits among so many true and predicted rows, 0 where there are neither; shapes broadcast."""
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

    def signed(self, digits: int = 3) -> str:
        """Return it as text that shows the signs, as those of a difference have to be."""
        return f"[{self.low:+.{digits}f}, {self.high:+.{digits}f}]"

    def plain(self) -> list[float]:
        """Return both ends as plain data."""
        return [self.low, self.high]


def bootstrap_interval(counts: Counts, draws: int = 1000, seed: int = 0) -> Interval:
    """Return the bootstrap interval of macro F1 over as many other test rows like these.

    Drawing N rows with replacement is one multinomial draw over the cells of the table, so the cost does not
    grow with N. The interval holds what chance in the rows does; not what another training would do.
    (Efron & Tibshirani 1993, chapter 13; see `recentred`.)
    """
    table = _Cells.of(counts)
    if table.rows == 0:
        return Interval(0.0, 0.0)
    rng = np.random.default_rng(seed)
    found = np.array([table.macro_f1(table.draw(rng, table.rows)) for _ in range(draws)])
    return interval_of(recentred(found, macro_f1(counts)))


def leaderboard_band(
    counts: Counts, test_rows: int, public_share: float = 1.0, draws: int = 500, seed: int = 0
) -> Interval:
    """Return where 95 % of leaderboard scores over so many rows are to be expected, given out-of-fold counts.

    Chance enters twice: in the N rows the counts come from, and in the rows of the leaderboard. So each draw
    takes N rows with replacement, then the leaderboard's rows from what those show, scored over the classes that occur
    in them, as scikit-learn does. Few rows of many classes lower macro F1 on average: what the counts show by some
    amount, what the drawn counts show by as much again, so twice the shift is taken back: that from leaderboards
    drawn from the counts themselves to those drawn from drawn counts.

    The band assumes test rows like the training rows; it holds neither a shift between the two, nor another
    training or seed, nor the gain of averaging the folds' networks on test images.

    Args:
        counts: (K, K) table of the out-of-fold predictions.
        test_rows: rows of the whole test set.
        public_share: part of them that this leaderboard scores.
        draws: bootstrap draws.
        seed: of the draws.
    """
    table = _Cells.of(counts)
    scored = round(test_rows * public_share)
    if table.rows == 0 or scored < 1:
        return Interval(0.0, 1.0)
    rng = np.random.default_rng(seed)
    once, twice = np.empty(draws), np.empty(draws)
    for draw in range(draws):
        seen = table.draw(rng, table.rows)
        once[draw] = table.macro_f1(table.draw(rng, scored), only_present=True)
        twice[draw] = table.macro_f1(rng.multinomial(scored, seen / table.rows), only_present=True)
    return interval_of(np.clip(twice - 2 * (twice.mean() - once.mean()), 0, 1))


def interval_of(draws: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of the draws."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return Interval(float(low), float(high))


def recentred(draws: NDArray[np.float64], score: float) -> NDArray[np.float64]:
    """Take back what drawing rows anew lowers macro F1 by: a class of few rows loses some of them, or all. (D,)

    Without it the interval of 100 classes with 5 rows each covers the true score 20 times in 100, with it 75 times.
    """
    return np.clip(draws - (draws.mean() - score), 0, 1)


@dataclass(frozen=True)
class _Cells:
    """The cells of a (K, K) table that are not empty: where they lie and how many rows each holds. C cells."""

    true: NDArray[np.intp]
    predicted: NDArray[np.intp]
    counts: Counts
    classes: int

    @classmethod
    def of(cls, counts: Counts) -> "_Cells":
        true, predicted = np.nonzero(counts)
        return cls(true, predicted, counts[true, predicted], len(counts))

    @property
    def rows(self) -> int:
        return int(self.counts.sum())

    def draw(self, rng: np.random.Generator, rows: int) -> Counts:
        """Draw rows with replacement. -> (C,) rows in each cell."""
        return rng.multinomial(rows, self.counts / self.rows)

    def macro_f1(self, drawn: Counts, only_present: bool = False) -> float:
        """Return macro F1 of so many rows in each cell, over all classes or over those true or predicted."""
        right = self.true == self.predicted
        hits = np.bincount(self.true[right], drawn[right], self.classes)
        true, predicted = (np.bincount(side, drawn, self.classes) for side in (self.true, self.predicted))
        scores = f1(hits, true, predicted)
        return float((scores[true + predicted > 0] if only_present else scores).mean())


def paired_f1_draws(
    truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int, draws: int = 1000, seed: int = 0
) -> NDArray[np.float64]:
    """Return F1 of each class for several predictions of the same rows, over bootstrap draws of those rows.

    Every draw uses one set of rows for all R predictions, so differences between them are paired. Rows that agree
    in the truth and in all predictions are one cell and are counted together.

    Args:
        truth: (N,) class numbers.
        predicted: (R, N) class numbers.
        classes: number of classes K.
        draws: bootstrap draws D.
        seed: of the draws.

    Returns:
        (D, R, K) F1; the mean over K is macro F1.
    """
    _, first, counts = np.unique(_joint_codes(truth, predicted, classes), return_index=True, return_counts=True)
    true, guesses = truth[first], predicted[:, first]
    right = [guess == true for guess in guesses]
    scores = np.empty((draws, len(guesses), classes))
    for draw, drawn in enumerate(_redraw(counts, draws, np.random.default_rng(seed))):
        rows = np.bincount(true, drawn, classes)
        for run, guess in enumerate(guesses):
            hits = np.bincount(true[right[run]], drawn[right[run]], classes)
            scores[draw, run] = f1(hits, rows, np.bincount(guess, drawn, classes))
    return scores


def paired_gain(
    truth: NDArray[np.integer], below: NDArray[np.integer], above: NDArray[np.integer], classes: int
) -> tuple[float, Interval]:
    """Return what ``above`` gains in macro F1 over ``below``, and its paired 95 % interval. (N,) class numbers each."""
    scores = [macro_f1(confusion(truth, predicted, classes)) for predicted in (below, above)]
    draws = paired_f1_draws(truth, np.stack([below, above]), classes).mean(axis=2)
    return scores[1] - scores[0], interval_of(draws[:, 1] - draws[:, 0])


def _redraw(counts: Counts, draws: int, rng: np.random.Generator) -> Iterator[Counts]:
    """Yield (C,) rows in each cell, drawn with replacement, in whichever of two equal ways is faster.

    One multinomial draw costs as much as there are cells, however many rows; where most cells hold a row or two,
    drawing the rows themselves is up to five times faster.
    """
    total, cells = int(counts.sum()), len(counts)
    cell_of_row = np.repeat(np.arange(cells), counts)
    for _ in range(draws):
        if total > 8 * cells:
            yield rng.multinomial(total, counts / total)
        else:
            yield np.bincount(cell_of_row[rng.integers(0, total, total, dtype=np.int32)], minlength=cells)


def _joint_codes(truth: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Number the rows so that two are equal where truth and all predictions are."""
    codes = truth.astype(np.int64)
    for guess in predicted:
        # Below N after each step, so that any number of predictions fits.
        codes = np.unique(codes * classes + guess, return_inverse=True)[1]
    return codes


def summary(counts: Counts, class_names: Sequence[str]) -> dict[str, object]:
    """Return the whole score as plain data: macro F1, interval, accuracy, and each class."""
    return {
        "macro_f1": macro_f1(counts),
        "interval_95": bootstrap_interval(counts).plain(),
        "accuracy": accuracy(counts),
        "rows": int(counts.sum()),
        "per_class": per_class(counts, class_names),
    }


def per_class(counts: Counts, class_names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return F1, precision, recall and rows of each class as plain data."""
    scores = f1_per_class(counts)
    hits, true, predicted = np.diagonal(counts), counts.sum(axis=1), counts.sum(axis=0)
    return {
        name: {
            "f1": float(scores[k]),
            "precision": float(hits[k] / predicted[k]) if predicted[k] else 0.0,
            "recall": float(hits[k] / true[k]) if true[k] else 0.0,
            "rows": int(true[k]),
        }
        for k, name in enumerate(class_names)
    }
