"""Did it learn: the course of loss and score over the epochs, and whether it fits what it saw far better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.analysis.predicting import predict_under, sample_f1
from competition.analysis.source import Source

GAP_LARGE = 0.15  # macro F1 on seen images above that on held-out ones: it learns images by heart
SEEN_LOW = 0.85  # macro F1 on seen images below which the network has not even learned those
RISE = 0.05  # the validation loss has risen by this part above its lowest
STILL_GAINING = 0.01  # macro F1 gained between the last two validations
MEANING = {
    "underfits": " It has not even learned the images it saw.",
    "overfits": " It learns images by heart.",
    "fits well": "",
}


@dataclass(frozen=True)
class Curve:
    """One recorded number over the epochs, folds as a band. E epochs.

    Attributes:
        name: as in ``history.jsonl``.
        epochs: (E,) numbers of the epochs.
        mean, low, high: (E,) over the folds that recorded the epoch.
    """

    name: str
    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]


def curve(histories: Mapping[int, Sequence[Mapping[str, Any]]], name: str) -> Curve:
    """Return a recorded number over the epochs."""
    values: dict[int, dict[int, float]] = {}
    for fold, records in histories.items():
        for record in records:
            if name in record:
                values.setdefault(int(record["epoch"]), {})[fold] = float(record[name])  # the last one counts
    epochs = sorted(values)
    rows = [list(values[epoch].values()) for epoch in epochs]
    return Curve(
        name, epochs, [float(np.mean(row)) for row in rows], [min(row) for row in rows], [max(row) for row in rows]
    )


@dataclass(frozen=True)
class Fit:
    """Macro F1 of the same networks on images that they saw and on images that they did not, plain, one view."""

    images: int  # of each kind
    seen: float
    held_out: float

    @property
    def verdict(self) -> str:
        """``underfits``, ``overfits`` or ``fits well``: one of `MEANING`."""
        if self.seen - self.held_out > GAP_LARGE:
            return "overfits"
        return "underfits" if self.seen < SEEN_LOW else "fits well"


def measure_fit(source: Source, which: NDArray[np.intp], held_out: NDArray[np.float32]) -> Fit | None:
    """Predict images once more with networks that were trained on them; None where no other fold has weights.

    Args:
        source: the run.
        which: (n,) predictions.
        held_out: (n, K) their probabilities under the fold that held them out, one view.
    """
    first_repeat = [fold for fold in source.folds_with_weights() if fold < source.member.settings.folds]
    if len(first_repeat) < 2:
        return None
    following = dict(zip(first_repeat, [*first_repeat[1:], first_repeat[0]], strict=True))
    # What a later repeat alone held out, none of these did: any of them was trained on it.
    next_fold = np.array([following.get(fold, first_repeat[0]) for fold in source.folds[which].tolist()])
    seen = predict_under(source, which, next_fold)
    return Fit(len(which), *(sample_f1(source.labels[which], part) for part in (seen, held_out)))


def rise_at_the_end(score: Curve, stop_after: int | None) -> float | None:
    """Return what the last validation gained over the one before, where that asks for more epochs.

    With ``--stop-after`` a training ends because it no longer gained; what is said then is None.
    """
    if stop_after is not None or len(score.mean) < 2:
        return None
    rise = score.mean[-1] - score.mean[-2]
    return rise if rise > STILL_GAINING else None


def describe_learning(fit: Fit | None, loss: Curve, score: Curve, rise: float | None) -> list[str]:
    """Name overfitting and underfitting in words, by the rules above; ``rise`` is that of `rise_at_the_end`."""
    words = []
    if fit is not None:
        figures = f"macro F1 {fit.seen:.3f} on images it was trained on, {fit.held_out:.3f} on images it was not"
        words.append(f"It {fit.verdict}: {figures}.{MEANING[fit.verdict]}")
    if loss.mean and loss.mean[-1] > min(loss.mean) * (1 + RISE):
        best = loss.epochs[int(np.argmin(loss.mean))]
        words.append(
            f"The validation loss was lowest at epoch {best} ({min(loss.mean):.3f}) and has risen to "
            f"{loss.mean[-1]:.3f}: it has grown too sure of its mistakes."
        )
    if rise is not None:
        words.append(f"Macro F1 still rose at the end, by {rise:.3f} since epoch {score.epochs[-2]}.")
    return words
