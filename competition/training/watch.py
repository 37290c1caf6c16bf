"""Who may end a fold before its time, and how that is said."""

from typing import Protocol


class Watch(Protocol):
    """Somebody who may end a fold before its time."""

    def validated(self, fold: int, step: int, total_steps: int, macro_f1: float) -> None:
        """A validation before the last one is done; an exception from here abandons the fold."""


class Unwatched:
    """Lets every fold end in its own time."""

    def validated(self, fold: int, step: int, total_steps: int, macro_f1: float) -> None:
        """Do nothing."""


UNWATCHED = Unwatched()
