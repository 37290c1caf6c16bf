"""A search space as a study uses it: proposals, trial 0, the grid, its size. `competition.tuning.space` reads it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import Trial

from competition.config import TrainSettings
from competition.errors import UserError
from competition.training.rates import automatic_learning_rate, weight_decay
from competition.tuning.dimensions import Dimension, key

OPTIONS = "model_options"
MOST_POINTS = 100_000  # of a space whose size is counted


@dataclass(frozen=True)
class Space:
    """The dimensions of a search and the settings fixed under it.

    Attributes:
        name: its name, or that of its file.
        dimensions: what is searched, a dimension after those it depends on.
        fixed: settings and ``model_options.OPTION`` that every trial has.
        start: values of trial 0 where the base's are not in the space.
        left_out: dimensions whose conditions the base does not meet.
        base: the settings under the search.
        images: labelled ones of the data, by which the weight decay of trial 0 goes.
    """

    name: str
    dimensions: tuple[Dimension, ...]
    fixed: Mapping[str, Any]
    start: Mapping[str, Any]
    left_out: tuple[str, ...]
    base: TrainSettings
    images: int

    def suggest(self, trial: Trial) -> dict[str, Any]:
        """Draw a trial's settings: changes over the base, those that are fixed among them."""
        chosen: dict[str, Any] = {}
        for dimension in self.dimensions:
            if dimension.is_searched(chosen):
                chosen[dimension.name] = dimension.values.suggest(trial, dimension.name)
        return self.changes({**self.fixed, **chosen})

    def changes(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return changes over the base: ``model_options.OPTION`` values join its own in one whole ``model_options``."""
        changes = {name: value for name, value in values.items() if not is_option(name)}
        options = {option_of(name): value for name, value in values.items() if is_option(name)}
        return {**changes, **({OPTIONS: {**self.base.model_options, **options}} if options else {})}

    def defaults(self) -> dict[str, Any]:
        """Return Optuna's parameters of the base settings, for trial 0."""
        return first_point(self)[0]

    def search_space(self) -> dict[str, list[Any]]:
        """Return every value of each dimension, for the grid; raises UserError for a range without steps."""
        ranges = [item.name for item in self.dimensions if item.values.grid() is None]
        if ranges:
            raise UserError(
                f"--sampler grid needs values to go through, and space {self.name} has ranges for "
                f"{', '.join(ranges)}: list their choices, give them a step, or take another --sampler"
            )
        return {item.name: item.values.grid() or [] for item in self.dimensions}

    def size(self) -> int | None:
        """Return how many different settings it holds; None where they are endless or past counting."""
        grids = {item.name: item.values.grid() for item in self.dimensions}
        if any(grid is None for grid in grids.values()):
            return None
        conditions = {name for item in self.dimensions for name in item.when}
        if math.prod(len(grids[name] or []) for name in conditions) > MOST_POINTS:
            return None
        return count_settings(self.dimensions, {})

    def plain(self) -> dict[str, Any]:
        """Return what decides which trials are possible, ready for JSON."""
        return {
            **{item.name: item.plain() for item in self.dimensions},
            **({"fixed": dict(self.fixed)} if self.fixed else {}),
            **({"start": dict(self.start)} if self.start else {}),
        }

    def describe(self) -> str:
        """Return one line per dimension."""
        size = self.size()
        lines = [f"space {self.name}" + (f": {size:,} settings" if size is not None else "")]
        for item in self.dimensions:
            when = " and ".join(f"{name} is {' or '.join(map(str, allowed))}" for name, allowed in item.when.items())
            lines.append(f"  {item.name}: {item.values}" + (f" (when {when})" if when else ""))
        if self.fixed:
            lines.append("  fixed: " + ", ".join(f"{name} {value}" for name, value in self.fixed.items()))
        if self.left_out:
            lines.append(f"  not searched with these settings: {', '.join(self.left_out)}")
        return "\n".join(lines)


def count_settings(dimensions: Sequence[Dimension], chosen: Mapping[str, Any]) -> int:
    """Return how many settings some dimensions hold, where values of those before them are chosen."""
    if not dimensions:
        return 1
    first, rest = dimensions[0], dimensions[1:]
    if not first.is_searched(chosen):
        return count_settings(rest, chosen)
    values = first.values.grid() or []
    if not any(first.name in item.when for item in rest):
        return len(values) * count_settings(rest, chosen)
    return sum(count_settings(rest, {**chosen, first.name: value}) for value in values)


def is_option(name: str) -> bool:
    """Return whether a name is ``model_options.OPTION``."""
    return name.startswith(f"{OPTIONS}.")


def option_of(name: str) -> str:
    """Return ``OPTION`` of ``model_options.OPTION``."""
    return name.removeprefix(f"{OPTIONS}.")


# -- trial 0 ---------------------------------------------------------------------------------------------------


def first_point(space: Space) -> tuple[dict[str, Any], list[str]]:
    """Return Optuna's parameters of trial 0, and the values that are outside their dimensions."""
    base, problems = space.base, []
    chosen: dict[str, Any] = {}
    keys: dict[str, Any] = {}
    # The optimiser first where it can be: the learning rate that suits depends on it.
    for item in sorted(space.dimensions, key=lambda item: item.name != "optimizer" or bool(item.when)):
        if not item.is_searched(chosen):
            continue
        known = {"model": base.model, "optimizer": base.optimizer, **space.fixed, **chosen}
        tried = list(_first_values(item.name, space, known["model"], known["optimizer"]))
        for value in tried:
            try:
                keys[item.name] = item.values.key_of(value)
            except ValueError:
                continue
            chosen[item.name] = value
            break
        else:
            problems.append(_outside(item, tried, is_given(item.name, base)))
            if item.name == "model":
                break  # the defaults of its options would be those of another network
    return keys, problems


def is_given(name: str, base: TrainSettings) -> bool:
    """Return whether the base has another value than the default."""
    if is_option(name):
        return option_of(name) in base.model_options
    return getattr(base, name) != getattr(TrainSettings(), name)


def _first_values(name: str, space: Space, model: str, optimizer: str) -> Iterator[Any]:
    """Yield what trial 0 may have: what the user gave and nothing else, or the default, or else the space's start."""
    base = space.base
    if not is_option(name):
        yield getattr(base, name)
    elif is_given(name, base):
        yield base.model_options[option_of(name)]
    else:
        yield from network_default(model, option_of(name))
    if name == "learning_rate" and base.learning_rate is None:
        yield automatic_learning_rate(optimizer, model)
    if name == "weight_decay" and base.weight_decay is None:
        yield weight_decay(base.replace(optimizer=optimizer), space.images)
    if name == "dropout" and base.dropout is None:
        yield from network_default(model, "drop_rate")
    if not is_given(name, base) and name in space.start:
        yield space.start[name]


def network_default(model: str, option: str) -> list[Any]:
    """Return the default of an option of one of our own networks; nothing for timm's, whose classes are not known."""
    from competition.models.factory import own_options  # late: imports timm

    known = own_options(model)
    return [known[option]] if option in known else []


def _outside(item: Dimension, tried: list[Any], is_given: bool) -> str:
    advice = f"add `start: {{{item.name}: VALUE}}`"
    if not tried:
        return f"{item.name}: the network's own default is not known: {advice} for trial 0"
    value = next((value for value in tried if value is not None), "auto")
    advice = "or give a value that is" if is_given else f"give a value that is, or {advice}"
    return (
        f"{item.name}: trial 0 has the settings under the search, but {key(value)} is not in {item.values}: "
        f"widen the space, {advice}"
    )
