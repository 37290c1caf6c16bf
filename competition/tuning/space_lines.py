"""One line of a search space: which names may be searched, and what each of them may be."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from competition.config import DATA, MACHINE, OUTPUT, TrainSettings
from competition.errors import UserError, did_you_mean
from competition.settings import choices_of, convert, hint_of
from competition.tuning.dimensions import Choices, Dimension, Range, is_multiple
from competition.tuning.proposals import OPTIONS, is_option, option_of
from competition.tuning.settings import NOT_FOR_TUNING

RANGE_KEYS = ("low", "high", "log", "step", "choices", "when")
NOT_SEARCHED = {
    "seed": "a seed that scores well is luck",
    "views": "it changes how a trial is measured",
    "validate_every": "trials are compared at their validations",
    "stop_after": "the kept epoch would be picked on the fold it is scored on",
    "max_parameters": "it is a limit of the competition",
    "pseudo_labels": "a trial labels nothing",
    "quota": "a trial labels nothing",
    OPTIONS: "name one option of it, such as model_options.width",
}
SECTIONS = {
    DATA: "every trial of a study has the same images and folds",
    MACHINE: "it says how this machine works",
    OUTPUT: "it says where files go",
}
SEARCHED_DATA = ("image_size", "resize")


class Problems(list[str]):
    """What is wrong with a space, collected."""

    def taken(self, name: str, value: Any) -> Any:
        """Return the value converted to its setting's type, or note why it cannot be."""
        try:
            return value if is_option(name) else convert(TrainSettings, name, value)
        except UserError as error:
            self.append(f"{name}: {error}")
            return None

    def refuse(self, path: Path) -> None:
        """Raise UserError with all that is wrong so far, where anything is."""
        if self:
            raise UserError("\n".join(f"{path}: {problem}" for problem in self))


def why_not(name: str) -> str | None:
    """Return why a name cannot be searched or fixed, or None."""
    known = TrainSettings.__dataclass_fields__
    if is_option(name):
        return None if option_of(name) else "name the option: model_options.width"
    if name not in known:
        return f"unknown setting{did_you_mean(name, known)}"
    if name in NOT_SEARCHED:
        return f"cannot be searched: {NOT_SEARCHED[name]}"
    section = known[name].metadata["spec"].section
    if section in SECTIONS and name not in SEARCHED_DATA:
        return f"cannot be searched: {SECTIONS[section]}"
    return "cannot be searched: it says where a single run begins" if name in NOT_FOR_TUNING else None


def read_line(name: str, value: Any, problems: Problems) -> Dimension | None:
    """Return the dimension of a line, or None where it is wrong."""
    reason = why_not(name)
    if reason is not None:
        problems.append(f"{name}: {reason}")
        return None
    before = len(problems)
    given = value if isinstance(value, dict) else {"choices": value}
    for word in given:
        if word not in RANGE_KEYS:
            problems.append(f"{name}: unknown word {word!r}{did_you_mean(str(word), RANGE_KEYS)}")
    if "choices" in given and ("low" in given or "high" in given):
        problems.append(f"{name}: either choices, or low and high")
    if len(problems) > before:
        return None
    values = _choices(name, given["choices"], problems) if "choices" in given else _range(name, given, problems)
    when = _when(name, given.get("when", {}), problems)
    return Dimension(name, values, when) if len(problems) == before and values is not None else None


def _choices(name: str, given: Any, problems: Problems) -> Choices | None:
    if not isinstance(given, list):
        problems.append(
            f"{name}: expected choices such as [a, b] or a range such as {{low: 0, high: 1}}, not {given!r}"
        )
        return None
    values = [problems.taken(name, value) for value in given]
    if not values:
        problems.append(f"{name}: there are no choices")
    if any(value in values[:position] for position, value in enumerate(values)):
        problems.append(f"{name}: a choice is listed twice")
    return Choices(tuple(values))


def _range(name: str, given: Mapping[str, Any], problems: Problems) -> Range | None:
    missing = [word for word in ("low", "high") if word not in given]
    if missing:
        problems.append(f"{name}: {' and '.join(missing)} missing")
        return None
    hint = None if is_option(name) else hint_of(TrainSettings, name)[0]
    if hint not in (None, int, float):
        words = ", ".join(choices_of(hint)) or "true, false"
        problems.append(f"{name}: it is no number; list its choices" + (f": [{words}]" if hint is not str else ""))
        return None
    before = len(problems)
    low, high = (problems.taken(name, _number(given[word])) for word in ("low", "high"))
    step = _number(given.get("step"))
    log = given.get("log", False)
    if len(problems) == before:
        problems += [f"{name}: {text}" for text in _wrong_range(low, high, step, log)]
    if len(problems) > before:
        return None
    numbers = [number for number in (low, high, step) if number is not None]
    is_whole = hint is int or (hint is None and all(isinstance(number, int) for number in numbers))
    if is_whole and step is not None and step != int(step):
        problems.append(f"{name}: step {step:g} is no whole number")
        return None
    return Range(low, high, is_whole, log, step)


def _wrong_range(low: Any, high: Any, step: Any, log: Any) -> Iterator[str]:
    """Yield what is wrong with a range."""
    if not all(isinstance(number, int | float) for number in (low, high, 0 if step is None else step)):
        yield f"low, high and step must be numbers, not {low!r}, {high!r}" + (f", {step!r}" if step is not None else "")
    elif not isinstance(log, bool):
        yield f"log is true or false, not {log!r}"
    elif low >= high:
        yield f"low {low:g} must be below high {high:g}"
    elif log and low <= 0:
        yield f"log needs a low above 0, not {low:g}"
    elif log and step is not None:
        yield "log and step exclude each other"
    elif step is not None and (step <= 0 or not is_multiple(high - low, step)):
        yield f"from {low:g} to {high:g} is not a whole number of steps of {step:g}"


def _number(value: Any) -> Any:
    """Return a number; YAML reads 1e-4 as text, for want of a dot."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _when(name: str, given: Any, problems: Problems) -> dict[str, tuple[Any, ...]]:
    if not isinstance(given, dict):
        problems.append(f"{name}: when: expected {{SETTING: [VALUE, ...]}}, not {given!r}")
        return {}
    return {str(other): tuple(value) if isinstance(value, list) else (value,) for other, value in given.items()}
