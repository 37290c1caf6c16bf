"""Read a search space from YAML over the settings' own names, and check it against them before the first trial.

  learning_rate: {low: 0.0005, high: 0.03, log: true}        a range, of whole numbers where the setting is one
  augment: [none, light, medium]                             choices
  cutmix_alpha: {low: 0.2, high: 2, when: {mix: [cutmix]}}   searched only where `mix` was drawn so
  model_options.widths: [[64, 128], [96, 192]]               an option of the network
  fixed: {schedule: constant}                                settings of every trial
  start: {optimizer: adam}                                   trial 0, where the default is not in the space

A condition on a setting that is not searched is settled when the space is loaded. ``fixed`` takes the place of a
setting's default; against another value that was given it is an error.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from competition.config import TrainSettings
from competition.data.augment import create_policy
from competition.errors import UserError, did_you_mean
from competition.models.factory import check_network
from competition.settings import flag
from competition.training.optim import create_optimizer
from competition.training.start import starting_contents, untrained_network
from competition.tuning.dimensions import Dimension, Range, key
from competition.tuning.proposals import OPTIONS, Space, first_point, is_given, is_option, option_of
from competition.tuning.space_file import find_space, read_space
from competition.tuning.space_lines import Problems, read_line, why_not

BLOCKS = ("fixed", "start")
# Settings whose values may be files; a network's is the one that a folder of weights holds for it.
FILES = {"augment": "augment", "weights": "weights", "model": "weights"}
PROBE_SIZE = 64  # px, to try augmentations at


def load_space(name_or_path: str, base: TrainSettings, images: int) -> Space:
    """Read a named space or a YAML file, checked against the settings under the search of so many labelled images.

    Raises:
        UserError: everything that is wrong with its lines, in one message that names the file; where nothing is, the
            settings of trial 0 that it does not hold.
    """
    path = find_space(name_or_path)
    raw = read_space(path)
    problems = Problems()
    fixed = _read_fixed(raw.get("fixed", {}), raw, base, problems)
    lines = [read_line(str(name), value, problems) for name, value in raw.items() if name not in BLOCKS]
    dimensions = [line for line in lines if line is not None]
    start = _read_start(raw.get("start", {}), {item.name for item in dimensions}, problems)
    given = {**base.plain(), **{name: value for name, value in fixed.items() if not is_option(name)}}
    kept, left_out = _settle_conditions(dimensions, given, problems)
    kept = _in_order(kept, problems)
    if not (kept or problems):
        problems.append("nothing is searched: add a line such as learning_rate: {low: 0.001, high: 0.02, log: true}")
    space = Space(path.stem, tuple(kept), fixed, start, tuple(left_out), base, images)
    problems += [*_refused_settings(space), *_refused_names(space)]
    if "model" not in raw or any(item.name == "model" for item in dimensions):  # else options would be another's
        problems += _refused_options(space)
    problems.refuse(path)
    problems += first_point(space)[1]  # last: a line that is wrong may leave trial 0 outside, too
    problems.refuse(path)
    return space


def named_files(space: Space) -> dict[str, str]:
    """Return what stands for the files that a space names, by setting and value: their contents.

    Raises:
        UserError: weights that are not there.
    """
    given = [(name, space.fixed) for name in space.fixed]
    given += [(item.name, drawn) for item, _, drawn in _values_beside_others(space)]
    files = {}
    for name, drawn in given:
        if name in FILES:
            contents = starting_contents(space.base.replace(**space.changes(drawn)))
            if FILES[name] in contents:
                files[f"{name} {drawn[name]}"] = contents[FILES[name]]
    return files


def _read_fixed(given: Any, raw: Mapping[str, Any], base: TrainSettings, problems: Problems) -> dict[str, Any]:
    """Return the fixed settings; one that was given otherwise is a problem."""
    if not isinstance(given, dict):
        problems.append(f"fixed: expected {{SETTING: VALUE}}, not {given!r}")
        return {}
    fixed = {}
    for name, value in given.items():
        reason = why_not(str(name))
        if reason is not None:
            problems.append(f"fixed: {name}: {reason}")
            continue
        if name in raw:
            problems.append(f"fixed: {name}: it is searched too; leave one out")
        before = len(problems)
        wanted = problems.taken(name, value)
        if len(problems) > before:
            continue
        fixed[name] = wanted
        has = base.model_options.get(option_of(name), wanted) if is_option(name) else getattr(base, name)
        if has != wanted and is_given(name, base):
            problems.append(
                f"fixed: {name} is {wanted!r} here and {has!r} in the settings given: leave "
                f"{flag(OPTIONS if is_option(name) else name)} out, or change a copy of this file"
            )
    return fixed


def _read_start(given: Any, searched: set[str], problems: Problems) -> dict[str, Any]:
    if not isinstance(given, dict):
        problems.append(f"start: expected {{SETTING: VALUE}}, not {given!r}")
        return {}
    for name in given:
        if name not in searched:
            problems.append(f"start: {name} is not searched{did_you_mean(str(name), searched)}")
    return {name: problems.taken(name, value) for name, value in given.items() if name in searched}


# -- conditions ------------------------------------------------------------------------------------------------


def _settle_conditions(
    dimensions: list[Dimension], given: Mapping[str, Any], problems: Problems
) -> tuple[list[Dimension], list[str]]:
    """Return the dimensions whose conditions on settings hold, those conditions removed, and the names left out."""
    searched = {item.name: item for item in dimensions}
    kept, left_out = [], []
    for item in dimensions:
        when, holds, before = {}, True, len(problems)
        for name, allowed in item.when.items():
            if name in searched:
                when[name] = _possible(item.name, searched[name], allowed, problems)
            elif name in given and name != OPTIONS:
                holds &= given[name] in [problems.taken(name, value) for value in allowed]
            else:
                known = [*searched, *given]
                problems.append(f"{item.name}: when: there is no {name!r} to depend on{did_you_mean(name, known)}")
        if holds and len(problems) == before:
            kept.append(replace(item, when=when))
        else:
            left_out.append(item.name)
    while gone := [item for item in kept if set(item.when) & set(left_out)]:
        left_out += [item.name for item in gone]
        kept = [item for item in kept if item not in gone]
    return kept, left_out


def _possible(name: str, parent: Dimension, allowed: tuple[Any, ...], problems: Problems) -> tuple[Any, ...]:
    """Return the values of a condition as its dimension's own; those it never takes are problems."""
    if isinstance(parent.values, Range):
        problems.append(f"{name}: when: {parent.name} is a range; only choices can be a condition")
        return allowed
    values = tuple(problems.taken(parent.name, value) for value in allowed)
    for value in values:
        if value not in parent.values.values:
            close = did_you_mean(str(value), map(str, parent.values.values))
            problems.append(f"{name}: when: {parent.name} is never {value!r}{close}; it is one of {parent.values}")
    return values


def _in_order(dimensions: Iterable[Dimension], problems: Problems) -> list[Dimension]:
    """Return each dimension after those it depends on."""
    waiting = list(dimensions)
    ordered: list[Dimension] = []
    while waiting:
        names = {item.name for item in waiting}
        ready = [item for item in waiting if not names & set(item.when)]
        if not ready:
            problems.append(f"when: {', '.join(sorted(names))} depend on each other in a circle")
            return ordered
        ordered += ready
        waiting = [item for item in waiting if item not in ready]
    return ordered


# -- what the settings and the networks say to it --------------------------------------------------------------


def _refused_settings(space: Space) -> Iterator[str]:
    """Yield the values that the settings refuse beside the others, each tried under its own conditions."""
    for item, value, drawn in _values_beside_others(space):
        try:
            space.base.replace(**space.changes(drawn))
        except UserError as error:
            yield f"{item.name}: {key(value)}: {error}"


def _values_beside_others(space: Space) -> Iterator[tuple[Dimension, Any, dict[str, Any]]]:
    """Yield each value of each dimension, of a range its ends, with the settings under which it is searched."""
    for item in space.dimensions:
        ends = (item.values.low, item.values.high) if isinstance(item.values, Range) else item.values.values
        for value in ends:
            yield item, value, {**space.fixed, **_conditions_of(item, space), item.name: value}


def _conditions_of(item: Dimension, space: Space) -> dict[str, Any]:
    """Return one assignment under which a dimension is searched."""
    by_name = {other.name: other for other in space.dimensions}
    met: dict[str, Any] = {}
    for name, allowed in item.when.items():
        met |= {**_conditions_of(by_name[name], space), name: allowed[0]}
    return met


def _refused_options(space: Space) -> Iterator[str]:
    """Yield networks that are unknown, and options that a network of the space does not have."""
    by_name = {item.name: item for item in space.dimensions}
    searched = by_name.get("model")
    models = searched.values.grid() if searched else [space.fixed.get("model", space.base.model)]
    fixed = [name for name in space.fixed if is_option(name)]
    for model in models or []:
        options = {option_of(name): None for name in fixed} | dict(space.base.model_options)
        for item in space.dimensions:
            if is_option(item.name) and (searched is None or _may_have(item, by_name, model)):
                options[option_of(item.name)] = None
        try:
            check_network(str(model), options)
        except UserError as error:
            yield f"{error}" + (" (use `when: {model: [...]}`)" if searched else "")


def refuse_networks(space: Space, classes: int, image_size: int) -> None:
    """Raise UserError for networks that cannot be built; where but one is, for one over ``--max-parameters``, too.

    Args:
        space: its values are tried one by one beside the settings under the search.
        classes: of the data.
        image_size: px, where it is not searched.
    """
    limit, problems = space.base.max_parameters, Problems()
    tried = [
        (f"{item.name}: {key(value)}: ", drawn)
        for item, value, drawn in _values_beside_others(space)
        if _decides_network(item)
    ]
    for told, drawn in tried or [("", dict(space.fixed))]:
        settings = space.base.replace(**space.changes(drawn), max_parameters=None if tried else limit)
        try:
            untrained_network(settings, classes, settings.image_size or image_size)
        except UserError as error:
            problems.append(f"{told}{error}")
    if problems:
        raise UserError("\n".join(f"space {space.name}: {problem}" for problem in problems))


def _decides_network(item: Dimension) -> bool:
    """Return whether a dimension decides which network is built."""
    return is_option(item.name) or item.name in ("model", "image_size")


def _may_have(item: Dimension, by_name: Mapping[str, Dimension], model: Any) -> bool:
    """Return whether a dimension can be searched while the network is this one."""
    if model not in item.when.get("model", (model,)):
        return False
    return all(_may_have(by_name[name], by_name, model) for name in item.when)


def _refused_names(space: Space) -> Iterator[str]:
    """Yield augmentations and optimisers that do not exist."""
    for name in _values_of("augment", space):
        try:
            create_policy(name, space.base.image_size or PROBE_SIZE)
        except UserError as error:
            yield f"augment: {error}"
    momentum = space.fixed.get("momentum", space.base.momentum)
    for name in _values_of("optimizer", space):
        try:
            create_optimizer(nn.Linear(2, 2), name, 0.1, 0.0, momentum, layer_decay=1.0)
        except UserError as error:
            yield f"optimizer: {name}: {error}"


def _values_of(setting: str, space: Space) -> list[Any]:
    """Return the values of a setting that is searched among choices, or fixed."""
    values = [value for item in space.dimensions if item.name == setting for value in item.values.grid() or []]
    return values + ([space.fixed[setting]] if setting in space.fixed else [])
