"""Does a model still make different pictures? Notices mode collapse by comparing diversity with the data's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

COLLAPSED = 0.25  # diversity under this share of the data's is suspicious
PATIENCE = 3  # checks in a row that make suspicion certain
SETTLED = 0.25  # share of the training before which nothing is expected of a model
SETTLED_STEPS = 200  # nor before so many steps, however short the training: no model is diverse after a handful


def diversity(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Return how much pictures of one class differ: the standard deviation of a pixel, averaged, in grey levels.

    (N, S, S, 3), (N,) -> a number; classes with a single picture tell nothing.
    """
    spreads = [
        pixels[labels == label].astype(np.float64).std(axis=0).mean()
        for label in np.unique(labels)
        if (labels == label).sum() > 1
    ]
    return float(np.mean(spreads)) if spreads else float("nan")


def collapse_words(steps: int, kept_step: int) -> str:
    """Say of a model whose last checks were bad which of its states is the kept one."""
    if kept_step == steps:
        return "its pictures are still all alike: it needs more steps or other settings; the last model is kept"
    return f"its pictures became alike; the model of step {kept_step:,} is the one that is kept"


@dataclass
class Watch:
    """Counts checks in a row whose diversity is far under the data's."""

    bad_checks: int = 0
    has_been_good: bool = False

    def check(self, ratio: float, step: int, total_steps: int) -> bool:
        """Take the diversity as a share of the data's; returns whether the model is worth keeping now.

        A model that never was diverse is kept as it is: its latest weights are its best.
        """
        is_good = not ratio < COLLAPSED  # a share that is not a number tells nothing against it
        self.has_been_good |= is_good
        is_expected = self.has_been_good or step >= max(SETTLED * total_steps, SETTLED_STEPS)
        self.bad_checks = 0 if is_good or not is_expected else self.bad_checks + 1
        return is_good or not self.has_been_good

    @property
    def is_collapsed(self) -> bool:
        """Whether enough checks in a row were bad."""
        return self.bad_checks >= PATIENCE
