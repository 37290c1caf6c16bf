"""Many predictions of the same images -> one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from competition.errors import UserError, first_few


def refuse_different_classes(names: Sequence[str], class_names: Sequence[tuple[str, ...]]) -> None:
    """Raise UserError naming the classes that not all runs share."""
    for name, classes in zip(names[1:], class_names[1:], strict=True):
        if set(classes) != set(class_names[0]):
            only_here, only_there = set(classes) - set(class_names[0]), set(class_names[0]) - set(classes)
            raise UserError(
                f"{name} and {names[0]} know different classes and cannot be averaged: only {name} knows "
                f"{first_few(sorted(only_here)) or 'none'}; "
                f"only {names[0]} knows {first_few(sorted(only_there)) or 'none'}"
            )


def mean(members: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean of the members' probabilities. Each (N, K) -> (N, K)."""
    return np.stack(members).mean(axis=0, dtype=np.float64).astype(np.float32)
