"""Stacking: a regularised multinomial regression on the members' log-probabilities.

The logit of class k is ``sum_m a_m log p_m[k] + b_k``: one weight per member and one bias per class, so that 100
classes of many members stay M + K numbers. At a = 1/M, b = 0 this is the geometric mean; a ridge penalty pulls towards
it, and folds inside the rows at hand choose how hard. (Wolpert, Stacked generalization, Neural Networks 1992; the
conditional logit of McFadden 1974. With two classes it is logistic regression on the differences of the
log-probabilities.)
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition.ensemble.combination import FLOOR
from competition.ensemble.shortlist import Shortlist, best_singles

PENALTIES = (1000.0, 100.0, 10.0, 1.0)  # half of this times the squared distance from the geometric mean
MOST_MEMBERS = 16
MOST_ROWS = 10_000
INNER_FOLDS = 3


@dataclass(frozen=True)
class Regression:
    """What the regression is fitted to.

    Attributes:
        logs: (R, C, m) log-probabilities of the listed classes.
        classes: (R, C) class numbers.
        place: (R,) where in its row the true class stands.
        class_count: K.
    """

    logs: NDArray[np.float64]
    classes: NDArray[np.int64]
    place: NDArray[np.int64]
    class_count: int

    @property
    def members(self) -> int:
        """Number of members m."""
        return self.logs.shape[2]

    def take(self, which: NDArray[np.bool_]) -> "Regression":
        """Return some of the rows."""
        return Regression(self.logs[which], self.classes[which], self.place[which], self.class_count)

    def start(self) -> NDArray[np.float64]:
        """Return the geometric mean as parameters. -> (m + K,)."""
        return np.concatenate([np.full(self.members, 1 / self.members), np.zeros(self.class_count)])

    def loss(self, parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the summed cross entropy and its gradient. (m + K,) -> number, (m + K,)."""
        logits = self.logs @ parameters[: self.members] + parameters[self.members :][self.classes]
        logits -= logits.max(axis=1, keepdims=True)
        odds = np.exp(logits)
        sums = odds.sum(axis=1, keepdims=True)
        every = np.arange(len(self.place))
        loss = float(np.log(sums).sum() - logits[every, self.place].sum())
        residuals = odds / sums
        residuals[every, self.place] -= 1
        weights = residuals.ravel() @ self.logs.reshape(-1, self.members)
        biases = np.bincount(self.classes.ravel(), residuals.ravel(), self.class_count)
        return loss, np.concatenate([weights, biases])

    def fit(self, penalty: float, start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the parameters with the least penalised loss. -> (m + K,)."""
        from scipy.optimize import minimize

        centre = self.start()

        def penalised(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            loss, gradient = self.loss(parameters)
            away = parameters - centre
            return loss + penalty / 2 * float(away @ away), gradient + penalty * away

        return np.asarray(minimize(penalised, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x)


def fit_stacked(
    shortlist: Shortlist, rows: NDArray[np.intp], folds: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (weights (M,), biases (K,)) by cross entropy on some rows.

    Args:
        shortlist: N rows.
        rows: (R,) those to fit on; at most 10,000 of them, evenly spaced, are used.
        folds: (N,) outer folds, which also serve to choose the penalty.
    """
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(np.intp)]
    chosen = best_singles(shortlist, rows, MOST_MEMBERS)
    is_place = shortlist.classes[rows] == shortlist.labels[rows][:, None]
    rows, is_place = rows[is_place.any(axis=1)], is_place[is_place.any(axis=1)]
    logs = np.log(np.maximum(shortlist.values[rows][:, :, chosen], FLOOR)).astype(np.float64)
    regression = Regression(logs, shortlist.classes[rows], is_place.argmax(axis=1), shortlist.class_count)
    fitted = regression.fit(choose_penalty(regression, folds[rows]), regression.start())
    weights = np.zeros(shortlist.values.shape[2])
    weights[chosen] = fitted[: len(chosen)]
    return weights, fitted[len(chosen) :]


def choose_penalty(regression: Regression, folds: NDArray[np.int64]) -> float:
    """Return the penalty whose fits lose least on the folds they did not see."""
    losses = np.zeros(len(PENALTIES))
    inner = np.unique(folds)[:INNER_FOLDS]
    if len(inner) < 2:
        return PENALTIES[0]
    for fold in inner:
        seen, unseen = regression.take(folds != fold), regression.take(folds == fold)
        parameters = regression.start()
        for number, penalty in enumerate(PENALTIES):
            parameters = seen.fit(penalty, parameters)
            losses[number] += unseen.loss(parameters)[0]
    return PENALTIES[int(losses.argmin())]
