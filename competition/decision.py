"""Probabilities -> labels for macro F1: a ladder of decisions, each kept only when it beats the one below.

argmax     the most probable class
prior      argmax of p_k^(1/T) * prior_k^-tau: one number, against a model that favours common classes
weights    argmax of p_k^(1/T) * weight_k: one number per class, by coordinate ascent from there (`class_weights`)

T calibrates the probabilities. No decision depends on it alone, but it gives tau and the weights a meaning: tau 0 is
the model's own prior, tau 1 removes it. The prior is the mean predicted probability of each class, not the share of the
labels: a model that favours a class shows it there even where the labels are balanced, and where the model is
calibrated the two are the same.

Every gain is nested: the rows of a fold are decided by what the other folds chose, and compared with the rung below on
the same rows. A rung is kept when the 95 % interval of its gain lies above 0, so the simplest that is not beaten stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.class_weights import ascend
from competition.errors import UserError

Kind = Literal["argmax", "auto", "prior", "weights"]
TAUS = np.arange(-10, 21) / 10
ROWS_FOR_WEIGHTS = 100  # rows of the rarest class below which `auto` does not try a weight per class
SMALLEST = 1e-7  # probability; float32 tells 1 from 1 - p down to there
SHARPEST = 20.0  # 1 / T; a model that is always right would have it grow for ever
CHUNK = 8192  # rows at a time, so that what is worked on stays in the processor's cache

Scores = NDArray[np.float32]
Classes = NDArray[np.int64]
Fit = Callable[[Scores, Classes], NDArray[np.float64]]  # of some rows -> (K,) log weights


@dataclass(frozen=True)
class Trial:
    """One rung that was tried.

    Attributes:
        kind: ``prior`` or ``weights``.
        over: the rung it had to beat.
        gain: nested macro F1 minus that rung's.
        interval: 95 % interval of the gain over rows like these.
        kept: whether it was taken.
    """

    kind: str
    over: str
    gain: float
    interval: metrics.Interval
    kept: bool

    def describe(self) -> str:
        """Return ``prior: gain +0.012 [0.004, 0.019], kept``."""
        over = "" if self.over == "argmax" else f" over {self.over}"
        but = "it costs more than chance would" if self.interval.high < 0 else "chance could give as much"
        doubt = f", as asked for though {but}" if self.kept and self.interval.low <= 0 else ""
        return f"{self.kind}: gain{over} {self.gain:+.3f} {self.interval}, {'kept' if self.kept else 'not kept'}{doubt}"


@dataclass(frozen=True)
class Decision:
    """How probabilities become class numbers.

    Attributes:
        asked: what was asked for.
        kind: what it came to: ``argmax``, ``prior`` or ``weights``.
        temperature: T.
        tau: exponent of the prior; None unless ``kind`` is ``prior``.
        weights: (K,) factors on p^(1/T), in the order of the classes; their geometric mean is 1.
        trials: the rungs that were tried, in order.
        skipped: why the last rung was not tried, or an empty string.
    """

    asked: Kind
    kind: str
    temperature: float
    tau: float | None
    weights: NDArray[np.float64]
    trials: tuple[Trial, ...] = ()
    skipped: str = ""

    def apply(self, probabilities: NDArray[np.floating]) -> Classes:
        """Return class numbers. (N, K) -> (N,)."""
        if self.kind == "argmax":
            return probabilities.argmax(axis=1)
        return _assign(_scores(probabilities, self.temperature), np.log(self.weights)[None])[0]

    def describe(self) -> str:
        """Return what was tried and what was kept, in one line."""
        parts = [trial.describe() for trial in self.trials] + ([self.skipped] if self.skipped else [])
        tau = f" (tau {self.tau:.2f})" if self.tau is not None else ""
        return f"{self.kind}{tau}" + (f"; tried {'; '.join(parts)}" if parts else "")

    def plain(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "asked": self.asked,
            "kind": self.kind,
            "temperature": self.temperature,
            "tau": self.tau,
            "weights": self.weights.tolist(),
            "tried": [
                {
                    "kind": trial.kind,
                    "over": trial.over,
                    "gain": trial.gain,
                    "interval_95": trial.interval.plain(),
                    "kept": trial.kept,
                }
                for trial in self.trials
            ],
            "skipped": self.skipped,
        }


def fit_decision(kind: Kind, probabilities: NDArray[np.floating], labels: Classes, folds: Classes) -> Decision:
    """Choose how to decide from out-of-fold predictions.

    Args:
        kind: ``argmax``; ``prior`` or ``weights`` to have that one whatever it gains; ``auto`` to climb the ladder.
        probabilities: (N, K).
        labels: (N,) class numbers.
        folds: (N,) fold that predicted each row.

    Raises:
        UserError: fewer than two folds.
    """
    classes = probabilities.shape[1]
    if kind == "argmax":
        return Decision(kind, kind, 1.0, None, np.ones(classes))
    if len(np.unique(folds)) < 2:
        raise UserError(f"--decide {kind} is judged on folds it was not fitted on and needs two at least")
    return _climb(kind, probabilities, labels, folds)


def _climb(kind: Kind, probabilities: NDArray[np.floating], labels: Classes, folds: Classes) -> Decision:
    classes = probabilities.shape[1]
    temperature = fit_temperature(probabilities, labels)
    scores = _scores(probabilities, temperature)
    rarest = int(np.bincount(labels, minlength=classes).min())
    enough = rarest >= ROWS_FOR_WEIGHTS
    rungs: Sequence[str] = (("prior", "weights") if enough else ("prior",)) if kind == "auto" else (kind,)
    kept, decided, bias = "argmax", scores.argmax(axis=1), np.zeros(classes)
    trials = []
    for rung in rungs:
        nested = _nested(FITS[rung], scores, labels, folds)
        gain, interval = metrics.paired_gain(labels, decided, nested, classes)
        trials.append(Trial(rung, kept, gain, interval, kind == rung or interval.low > 0))
        if trials[-1].kept:
            kept, decided, bias = rung, nested, FITS[rung](scores, labels)
    tau = _best_prior(scores, labels)[0] if kept == "prior" else None
    skipped = ""
    if kind == "auto" and not enough:
        skipped = f"weights not tried: the rarest class has {rarest} rows of the {ROWS_FOR_WEIGHTS} they need"
    return Decision(kind, kept, temperature, tau, np.exp(bias - bias.mean()), tuple(trials), skipped)


def _nested(fit: Fit, scores: Scores, labels: Classes, folds: Classes) -> Classes:
    """Decide the rows of every fold with what is fitted on the other folds. -> (N,) class numbers."""
    decided = np.empty(len(folds), np.int64)
    for fold in np.unique(folds):
        others = folds != fold
        decided[~others] = _assign(scores[~others], fit(scores[others], labels[others])[None])[0]
    return decided


def _best_prior(scores: Scores, labels: Classes) -> tuple[float, NDArray[np.float64]]:
    """Return the exponent with the best macro F1 (of equal ones, the nearest to 0) and the (K,) log prior.

    The prior is that of these rows alone: it needs no labels, but the mean over all rows knows where this sample
    of them happens to lean, and correcting that would win on every fold and nowhere else.
    """
    log_prior = np.log(_mean_probabilities(scores))
    found = [
        metrics.macro_f1(metrics.confusion(labels, decided, scores.shape[1]))
        for decided in _assign(scores, -TAUS[:, None] * log_prior)
    ]
    return float(TAUS[np.lexsort((np.abs(TAUS), -np.array(found)))[0]]), log_prior


def _fit_prior(scores: Scores, labels: Classes) -> NDArray[np.float64]:
    tau, log_prior = _best_prior(scores, labels)
    return -tau * log_prior


def _fit_weights(scores: Scores, labels: Classes) -> NDArray[np.float64]:
    """Coordinate ascent from the best prior."""
    return ascend(scores, labels, _fit_prior(scores, labels))


FITS: dict[str, Fit] = {"prior": _fit_prior, "weights": _fit_weights}


def fit_temperature(probabilities: NDArray[np.floating], labels: Classes) -> float:
    """Return T that makes p^(1/T), normalised, most likely given the labels (Guo et al. 2017).

    The loss is convex in 1 / T, so Newton's method on its first two derivatives finds the one minimum.
    """
    sharpness = 1.0
    for _ in range(20):
        slope, curvature = _likelihood_slopes(probabilities, labels, sharpness)
        step = sharpness - slope / max(curvature, 1e-12)
        step = min(max(step, sharpness / 2, 1 / SHARPEST), sharpness * 2, SHARPEST)
        if abs(step - sharpness) < 1e-4 * sharpness:
            break
        sharpness = step
    return 1 / step


def _likelihood_slopes(probabilities: NDArray[np.floating], labels: Classes, sharpness: float) -> tuple[float, float]:
    """Return first and second derivative of the log loss by 1 / T: mean and variance of log p under the model."""
    slope = curvature = 0.0
    for start in range(0, len(labels), CHUNK):
        logs = _scores(probabilities[start : start + CHUNK], 1.0)
        shares = _softmax(logs * np.float32(sharpness))
        mean = (shares * logs).sum(axis=1)
        truth = logs[np.arange(len(logs)), labels[start : start + CHUNK]]
        slope += float((mean - truth).sum(dtype=np.float64))
        curvature += float(((shares * logs * logs).sum(axis=1) - mean * mean).sum(dtype=np.float64))
    return slope / len(labels), curvature / len(labels)


def _scores(probabilities: NDArray[np.floating], temperature: float) -> Scores:
    """Return log p / T. (N, K) -> (N, K)."""
    return np.log(np.maximum(probabilities, SMALLEST), dtype=np.float32) / np.float32(temperature)


def _softmax(scores: Scores) -> Scores:
    raised = np.exp(scores - scores.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _mean_probabilities(scores: Scores) -> NDArray[np.float64]:
    total = np.zeros(scores.shape[1])
    for start in range(0, len(scores), CHUNK):
        total += _softmax(scores[start : start + CHUNK]).sum(axis=0, dtype=np.float64)
    return np.maximum(total / len(scores), SMALLEST)


def _assign(scores: Scores, biases: NDArray[np.float64]) -> Classes:
    """Return the class of the largest score plus bias, for each of B biases. (N, K), (B, K) -> (B, N)."""
    decided = np.empty((len(biases), len(scores)), np.int64)
    for start in range(0, len(scores), CHUNK):
        chunk = scores[start : start + CHUNK]
        for number, bias in enumerate(biases.astype(np.float32)):
            decided[number, start : start + CHUNK] = (chunk + bias).argmax(axis=1)
    return decided
