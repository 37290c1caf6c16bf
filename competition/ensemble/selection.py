"""Nested estimates of every method, and the simplest that is not beaten beyond noise.

Nested: for each outer fold the method is fitted on the rows of the other folds and applied to this one; the answers of
all folds are pooled and scored once, so no row is scored by weights that saw its label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.ensemble.combination import Combination, Method, in_threads, single
from competition.ensemble.greedy import fit_greedy
from competition.ensemble.shortlist import best_singles
from competition.ensemble.stack import Stack
from competition.ensemble.stacked import fit_stacked
from competition.ensemble.weighted import fit_weighted

METHODS: tuple[Method, ...] = get_args(Method)  # from the simplest on
BASELINE: Method = "best"


@dataclass(frozen=True)
class Estimate:
    """What a method is worth on rows that it was not fitted on.

    Attributes:
        method: which.
        macro_f1: of the pooled nested predictions.
        interval: its 95 % bootstrap interval.
        probabilities: (N, K) nested out-of-fold probabilities.
    """

    method: Method
    macro_f1: float
    interval: metrics.Interval
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Difference:
    """A method's macro F1 less the chosen method's, on the same bootstrap draws of the rows."""

    value: float
    interval: metrics.Interval
    standard_error: float


@dataclass(frozen=True)
class Selection:
    """The ensemble that was chosen, and why.

    Attributes:
        combination: fitted on all rows.
        estimates: nested estimates, from the simplest method on.
        differences: of each estimate to the chosen one, in the same order.
    """

    combination: Combination
    estimates: list[Estimate]
    differences: list[Difference]

    @property
    def chosen(self) -> Estimate:
        """The estimate of the method that was chosen."""
        return next(item for item in self.estimates if item.method == self.combination.method)


def select_ensemble(stack: Stack, method: str) -> Selection:
    """Fit an ensemble on out-of-fold predictions.

    "auto" is the one-standard-error rule (Breiman, Friedman, Olshen & Stone, Classification and regression trees,
    1984, section 3.4.3): of all methods in the order of `METHODS`, the first whose nested macro F1 is less than one
    standard error below the best one's. The standard error is that of the difference, over 1,000 paired bootstrap
    draws of the rows. Any other method is taken as told, beside the best single member for comparison.

    Args:
        stack: M members, at least two.
        method: "auto" or one of `METHODS`.
    """
    wanted = METHODS if method == "auto" else tuple(name for name in METHODS if name in (BASELINE, method))
    estimates = [estimate(stack, name) for name in wanted]
    draws = _draws(stack, estimates)
    chosen = _simplest_unbeaten(estimates, draws) if method == "auto" else wanted.index(method)
    combination = fit(stack, wanted[chosen], np.arange(len(stack.labels)))
    return Selection(combination, estimates, [_difference(estimates, draws, n, chosen) for n in range(len(wanted))])


def fit(stack: Stack, method: Method, rows: NDArray[np.intp]) -> Combination:
    """Fit one method on some rows."""
    members = len(stack.names)
    equal = np.full(members, 1 / members)
    if method == "best":
        return single(int(best_singles(stack.shortlist, rows, 1)[0]), members)
    if method == "weighted":
        return Combination(method, "probability", fit_weighted(stack.shortlist, rows))
    if method == "greedy":
        return Combination(method, "probability", fit_greedy(stack.shortlist, rows))
    if method == "stacked":
        return Combination(method, "log", *fit_stacked(stack.shortlist, rows, stack.folds))
    return Combination(method, {"mean": "probability", "geometric": "log", "rank": "rank"}[method], equal)  # type: ignore[arg-type]


def estimate(stack: Stack, method: Method) -> Estimate:
    """Return a method's nested estimate."""
    probabilities = _nested_probabilities(stack, method)
    counts = metrics.confusion(stack.labels, probabilities.argmax(axis=1), len(stack.class_names))
    return Estimate(method, metrics.macro_f1(counts), metrics.bootstrap_interval(counts), probabilities)


def _nested_probabilities(stack: Stack, method: Method) -> NDArray[np.float32]:
    if method == "mean":
        return stack.mean
    if method in ("geometric", "rank"):  # nothing is fitted, so nothing can be seen
        return fit(stack, method, np.arange(0)).apply(stack.probabilities)
    result = np.empty((len(stack.labels), len(stack.class_names)), np.float32)
    numbers = np.unique(stack.folds).tolist()
    fitted = in_threads(lambda fold: fit(stack, method, np.flatnonzero(stack.folds != fold)), numbers)
    for fold, combination in zip(numbers, fitted, strict=True):
        rows = np.flatnonzero(stack.folds == fold)
        result[rows] = combination.apply(stack.probabilities, rows)
    return result


def _draws(stack: Stack, estimates: Sequence[Estimate]) -> NDArray[np.float64]:
    """Return macro F1 of every method on the same bootstrap draws. -> (D, number of methods)."""
    predicted = np.stack([item.probabilities.argmax(axis=1) for item in estimates])
    return metrics.paired_f1_draws(stack.labels, predicted, len(stack.class_names)).mean(axis=2)


def _simplest_unbeaten(estimates: Sequence[Estimate], draws: NDArray[np.float64]) -> int:
    scores = [item.macro_f1 for item in estimates]
    best = int(np.argmax(scores))
    errors = (draws - draws[:, best : best + 1]).std(axis=0)
    return next(number for number, score in enumerate(scores) if scores[best] - score <= errors[number])


def _difference(estimates: Sequence[Estimate], draws: NDArray[np.float64], number: int, chosen: int) -> Difference:
    value = estimates[number].macro_f1 - estimates[chosen].macro_f1
    drawn = draws[:, number] - draws[:, chosen]
    return Difference(value, metrics.interval_of(drawn), float(drawn.std()))
