"""Does a model still make different pictures? Notices mode collapse by comparing diversity with the data's."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

COLLAPSED = 0.25  # diversity under this share of the data's is suspicious
ALIKE = 0.5  # so is a class's under this share of what the classes have in the mean
PATIENCE = 3  # checks in a row that make suspicion certain
SETTLED = 0.25  # share of the training before which nothing is expected of a model
SETTLED_STEPS = 200  # nor before so many steps, however short the training: no model is diverse after a handful


def spreads(pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> dict[int, float]:
    """Return by class how much its pictures differ: the standard deviation of a pixel, averaged, in grey levels.

    (N, S, S, 3), (N,) -> classes with a single picture tell nothing and are left out.
    """
    return {
        int(label): float(pixels[labels == label].astype(np.float64).std(axis=0, ddof=1).mean())
        for label in np.unique(labels)
        if (labels == label).sum() > 1
    }


@dataclass(frozen=True)
class Diversity:
    """How much pictures of one class differ, as a share of what real ones do: in the mean, and by class."""

    mean: float
    by_class: dict[str, float] = field(default_factory=dict)

    @classmethod
    def compare(cls, made: dict[int, float], real: dict[int, float], class_names: Sequence[str]) -> "Diversity":
        """Return the shares of two `spreads`, over the classes in both; not a number where there are none."""
        both = made.keys() & real.keys()
        if not both:
            return cls(float("nan"))
        mean = sum(made[label] for label in both) / max(sum(real[label] for label in both), 1e-9)
        return cls(mean, {class_names[label]: made[label] / real[label] for label in sorted(both) if real[label]})

    @property
    def alike(self) -> list[str]:
        """The classes that have far less diversity than the model's others."""
        return [name for name, share in self.by_class.items() if share < ALIKE * self.mean]


def collapse_words(steps: int, kept_step: int) -> str:
    """Say of a model whose last checks were bad which of its states is the kept one."""
    if kept_step == steps:
        return "its pictures are still all alike: it needs more steps or other settings; the last model is kept"
    return f"its pictures became alike; the model of step {kept_step:,} is the one that is kept"


def alike_words(classes: Sequence[str]) -> str:
    """Say of which classes a model's pictures are far more alike than those of its others."""
    return f"mode collapse within {', '.join(classes)}: far more alike than the other classes; another seed may help"


@dataclass
class Watch:
    """Counts checks in a row whose diversity is far under the data's, and by class far under the other classes'."""

    bad_checks: int = 0
    has_been_good: bool = False
    alike_checks: dict[str, int] = field(default_factory=dict)

    def check(self, diversity: Diversity, step: int, total_steps: int) -> bool:
        """Take the diversity as a share of the data's; returns whether the model is worth keeping now.

        A model that never was diverse is kept as it is: its latest weights are its best. So is one that lost a class,
        for it goes on learning the others.
        """
        is_good = not diversity.mean < COLLAPSED  # a share that is not a number tells nothing against it
        self.has_been_good |= is_good
        is_settled = step >= max(SETTLED * total_steps, SETTLED_STEPS)
        self.bad_checks = 0 if is_good or not (self.has_been_good or is_settled) else self.bad_checks + 1
        alike = diversity.alike if is_good and is_settled else []
        self.alike_checks = {name: self.alike_checks.get(name, 0) + 1 for name in alike}
        return is_good or not self.has_been_good

    @property
    def is_collapsed(self) -> bool:
        """Whether enough checks in a row were bad."""
        return self.bad_checks >= PATIENCE

    @property
    def alike_classes(self) -> list[str]:
        """The classes that were alike in enough checks in a row."""
        return [name for name, checks in self.alike_checks.items() if checks >= PATIENCE]
