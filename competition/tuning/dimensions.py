"""One dimension of a search: a range of numbers or a list of choices, and when it is searched at all."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from optuna.trial import Trial

MOST_GRID_VALUES = 1000  # of a range of whole numbers that a grid may count through


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included.

    Attributes:
        low: smallest value.
        high: largest value.
        is_whole: whole numbers only.
        log: drawn by their logarithm.
        step: distance between two values, counted from ``low``; None: any number, or 1 for whole ones.
    """

    low: float
    high: float
    is_whole: bool = False
    log: bool = False
    step: float | None = None

    def suggest(self, trial: Trial, name: str) -> float:
        """Draw a value."""
        if self.is_whole:
            return trial.suggest_int(name, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)

    def grid(self) -> list[Any] | None:
        """Return every value, or None where they cannot be counted."""
        step = self.step or (1 if self.is_whole and not self.log else None)
        if step is None or (self.high - self.low) / step >= MOST_GRID_VALUES:
            return None
        values = [self.low + position * step for position in range(round((self.high - self.low) / step) + 1)]
        return [int(value) for value in values] if self.is_whole else [float(f"{value:.12g}") for value in values]

    def key_of(self, value: Any) -> Any:
        """Return the value as Optuna knows it; raises ValueError for one outside the range."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high or (self.is_whole and value != int(value)):
            raise ValueError
        if self.step and not is_multiple(value - self.low, self.step):
            raise ValueError
        return int(value) if self.is_whole else float(value)

    def plain(self) -> dict[str, Any]:
        """Return YAML-ready values."""
        plain: dict[str, Any] = {"low": self.low, "high": self.high}
        return plain | ({"log": True} if self.log else {}) | ({"step": self.step} if self.step else {})

    def __str__(self) -> str:
        extras = (", log" if self.log else "") + (f", step {self.step:g}" if self.step else "")
        return f"{self.low:g} to {self.high:g}{extras}"


@dataclass(frozen=True)
class Choices:
    """A list of values; a value Optuna cannot store, such as a list of widths, goes by its JSON text."""

    values: tuple[Any, ...]

    def suggest(self, trial: Trial, name: str) -> Any:
        """Draw a value."""
        keys = self.grid()
        return self.values[keys.index(trial.suggest_categorical(name, keys))]

    def grid(self) -> list[Any]:
        """Return every value as Optuna knows it."""
        return [key(value) for value in self.values]

    def key_of(self, value: Any) -> Any:
        """Return the value as Optuna knows it; raises ValueError for one that is no choice."""
        return self.grid()[self.grid().index(key(value))]

    def plain(self) -> list[Any]:
        """Return YAML-ready values."""
        return [list(value) if isinstance(value, tuple) else value for value in self.values]

    def __str__(self) -> str:
        return ", ".join("auto" if item is None else str(item) for item in self.grid())


@dataclass(frozen=True)
class Dimension:
    """What one parameter of a trial may be.

    Attributes:
        name: of a setting, or ``model_options.OPTION``.
        values: what it may be.
        when: values of other dimensions under which it is searched; all must hold.
    """

    name: str
    values: Range | Choices
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    def is_searched(self, chosen: Mapping[str, Any]) -> bool:
        """Return whether its conditions hold among the values chosen so far."""
        return all(name in chosen and chosen[name] in allowed for name, allowed in self.when.items())

    def plain(self) -> Any:
        """Return YAML-ready values."""
        values = self.values.plain()
        if not self.when:
            return values
        when = {name: list(allowed) for name, allowed in self.when.items()}
        return {**(values if isinstance(values, dict) else {"choices": values}), "when": when}


def key(value: Any) -> Any:
    """Return a choice as Optuna stores it: itself, or its JSON text for a list or mapping."""
    return json.dumps(value) if isinstance(value, list | tuple | dict) else value


def is_multiple(length: float, step: float) -> bool:
    """Return whether a length is a whole number of steps, but for rounding."""
    return math.isclose(length / step, round(length / step), abs_tol=1e-9)
