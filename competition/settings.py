"""How a setting is declared, converted, checked and written: the machinery under `competition.config`.

A settings object is frozen and cannot be wrong: construction converts and checks every value and raises one
`UserError` naming all that is wrong. This module is read by ``--help``, so it imports nothing heavy.
"""

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from competition.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Spec:
    """What is known about one setting beyond its type and default."""

    help: str
    section: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    none: float | str | None = None  # what the word none says, where it is not auto
    # An identity setting changes what a run computes; the others only change how or how far it gets there.
    identity: bool = True


def setting(default: Any, section: str, help: str, **limits: Any) -> Any:
    """Declare one dataclass field with its `Spec`."""
    metadata = {"spec": Spec(help=help, section=section, **limits)}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def parse_duration(text: str | float) -> float:
    """Return seconds: ``90``, ``"90s"``, ``"15m"``, ``"1.5h"``."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
    text = str(text).strip().lower()
    number, unit = (text[:-1], units[text[-1]]) if text and text[-1] in units else (text, 1.0)
    return float(number) * unit


class Duration(float):
    """Seconds, written in settings as ``90``, ``15m`` or ``1.5h``."""


def flag(name: str) -> str:
    """Return the command-line spelling of a setting: ``learning_rate`` -> ``--learning-rate``."""
    return "--" + name.replace("_", "-")


@functools.cache
def _hints_of(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)  # slow: it reads every annotation again


def hint_of(cls: type, name: str) -> tuple[Any, bool]:
    """Return (type without ``| None``, whether None is allowed) of one setting."""
    hint = _hints_of(cls)[name]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [part for part in typing.get_args(hint) if part is not type(None)]
        return inner[0], len(inner) < len(typing.get_args(hint))
    return hint, False


def choices_of(hint: Any) -> tuple[str, ...]:
    """Return the allowed words of a ``Literal`` setting, or nothing."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def _to_bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError


def _to_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError
    return int(value)


def _to_float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _to_text(value: Any) -> str:
    if isinstance(value, bool | list | dict):
        raise ValueError  # YAML reads yes, no, on and off as true and false
    return str(value)


def _to_numbers(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = [part for part in value.split(",") if part.strip()]
    if isinstance(value, int):
        value = [value]
    return tuple(_to_int(part) for part in value)


def _to_options(value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise ValueError
        return dict(value)
    import yaml  # late: only a run with options on the command line needs it here

    pairs = [part.split("=", 1) for part in _split_outside_brackets(str(value)) if part.strip()]
    if any(len(pair) != 2 for pair in pairs):
        raise ValueError
    try:
        return {key.strip(): yaml.safe_load(text) for key, text in pairs}
    except yaml.YAMLError:
        raise ValueError from None


def _split_outside_brackets(text: str) -> list[str]:
    """Return the parts between commas, those inside of brackets kept: ``a=[1,2],b=3`` -> ``a=[1,2]``, ``b=3``."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _to_path(value: Any) -> Path:
    if not isinstance(value, str | Path) or not str(value):
        raise ValueError
    return Path(value).expanduser()


CONVERTERS: dict[Any, tuple[Any, str]] = {
    bool: (_to_bool, "true or false"),
    int: (_to_int, "a whole number"),
    float: (_to_float, "a number"),
    str: (_to_text, "text, in YAML between quotes"),
    Path: (_to_path, "a path"),
    Duration: (lambda value: Duration(parse_duration(value)), "a time such as 90s, 15m or 2h"),
    tuple[int, ...]: (_to_numbers, "whole numbers separated by commas, such as 0,2"),
    dict[str, Any]: (_to_options, "pairs such as activation=gelu,widths=[48,96,192]"),
}


def convert(cls: type, name: str, value: Any) -> Any:
    """Convert one value to its setting's type and check its limits; raises UserError naming the flag."""
    hint, optional = hint_of(cls, name)
    spec: Spec = cls.__dataclass_fields__[name].metadata["spec"]  # type: ignore[attr-defined]
    choices = choices_of(hint)
    if choices and value in choices:
        return value  # "none" may be one of them
    if value == "none" and spec.none is not None:
        return spec.none
    if value is None or (optional and isinstance(value, str) and value in ("", "none", "auto")):
        if optional:
            return None
        raise UserError(f"{flag(name)} needs a value")
    if choices:
        close = did_you_mean(str(value), choices)
        raise UserError(f"{flag(name)} {value!r}: choose from {', '.join(choices)}{close}")
    converter, meaning = CONVERTERS[hint]
    try:
        value = converter(value)
    except (TypeError, ValueError, OverflowError):
        raise UserError(f"{flag(name)} {value!r}: expected {meaning}") from None
    if isinstance(value, int | float):
        _check_limits(name, value, spec)
    return value


def _check_limits(name: str, value: float, spec: Spec) -> None:
    unit = f" {spec.unit}" if spec.unit else ""
    if value != value:
        raise UserError(f"{flag(name)} is not a number")
    if value in (math.inf, -math.inf):
        raise UserError(f"{flag(name)} {value}: must be finite")
    if spec.low is not None and value < spec.low:
        raise UserError(f"{flag(name)} {value}: must be at least {spec.low:g}{unit}")
    if spec.high is not None and value > spec.high:
        raise UserError(f"{flag(name)} {value}: must be at most {spec.high:g}{unit}")


class Settings:
    """Base of the settings classes: conversion, checks, and plain-data views."""

    def __post_init__(self) -> None:
        problems = []
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            try:
                object.__setattr__(self, item.name, convert(type(self), item.name, getattr(self, item.name)))
            except UserError as error:
                problems.append(str(error))
        if not problems:
            problems = list(self.contradictions())
        if problems:
            raise UserError("\n".join(problems))

    def contradictions(self) -> typing.Iterator[str]:
        """Yield a message for each pair of settings that cannot stand together."""
        return iter(())

    def plain(self, identity_only: bool = False) -> dict[str, Any]:
        """Return YAML-ready values, all of them or only those that define what is computed."""
        values = {}
        for item in dataclasses.fields(self):  # type: ignore[arg-type]
            if identity_only and not item.metadata["spec"].identity:
                continue
            values[item.name] = _plain(getattr(self, item.name))
        return values

    def replace(self, **changes: Any) -> typing.Self:
        """Return a checked copy with some settings changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str) -> typing.Self:
        """Build from a mapping; unknown keys are refused with the nearest known name."""
        known = [item.name for item in dataclasses.fields(cls)]  # type: ignore[arg-type]
        unknown = [
            f"{where}: unknown setting {key!r}{did_you_mean(str(key), known)}" for key in values if key not in known
        ]
        if unknown:
            raise UserError("\n".join(unknown))
        return cls(**values)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple):
        return list(value)
    return float(value) if isinstance(value, Duration) else value
