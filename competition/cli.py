"""Command lines from settings classes: parse, explain, refuse with a sentence and exit code 2.

Nothing heavy is imported here, so ``--help`` and every refused flag answer at once.
"""

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from competition.errors import UserError, did_you_mean, without_passwords
from competition.process import settle
from competition.settings import Settings, choices_of, flag, hint_of

SettingsType = TypeVar("SettingsType", bound=Settings)
FULL = (errno.ENOSPC, errno.EDQUOT)


class Parser(argparse.ArgumentParser):
    """An argument parser that answers a wrong flag with the nearest right one."""

    def __init__(self, description: str, prog: str) -> None:
        super().__init__(
            prog=prog,
            description=description,
            allow_abbrev=False,
            formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, max_help_position=34, width=110),
        )

    def error(self, message: str) -> NoReturn:
        """Raise the message as a `UserError` in place of argparse's usage dump."""
        raise UserError(f"{message}\n(see {self.prog} --help)")

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """Parse everything; unknown flags are refused with a suggestion each."""
        values, unknown = self.parse_known_args(argv)
        if unknown:
            known = [option for action in self._actions for option in action.option_strings]
            lines = [
                f"unknown flag {word}{did_you_mean(word.split('=')[0], known)}"
                if word.startswith("-")
                else f"unexpected {word!r}"
                for word in unknown
            ]
            self.error("\n".join(lines))
        return values


def add_settings(parser: argparse.ArgumentParser, cls: type[Settings], leave_out: Collection[str] = ()) -> None:
    """Add one flag per setting, grouped by section, each with its unit and default."""
    groups: dict[str, Any] = {}
    for item in fields(cls):  # type: ignore[arg-type]
        if item.name in leave_out:
            continue
        spec = item.metadata["spec"]
        group = groups.setdefault(spec.section, parser.add_argument_group(spec.section))
        hint, optional = hint_of(cls, item.name)
        options: dict[str, Any] = {"dest": item.name, "default": argparse.SUPPRESS}
        if hint is bool:
            group.add_argument(flag(item.name), action=argparse.BooleanOptionalAction, help=spec.help, **options)
            continue
        default = None if item.default is MISSING else item.default
        shown = spec.help + (f" [{spec.unit}]" if spec.unit else "")
        if default is not None:
            shown += f" (default {default})"
        elif optional and "auto" not in spec.help:
            shown += " (default none)"
        choices = choices_of(hint)
        metavar = "|".join(choices) if choices else _placeholder(hint)
        group.add_argument(flag(item.name), metavar=metavar, help=shown.replace("%", "%%"), **options)


def _placeholder(hint: Any) -> str:
    names = {int: "N", float: "X", Path: "PATH", str: "NAME", dict[str, Any]: "K=V,...", tuple[int, ...]: "N,N"}
    return names.get(hint, "TIME")


def read_settings(cls: type[SettingsType], values: dict[str, Any]) -> SettingsType:
    """Build settings from ``--config FILE.yaml`` overridden by flags."""
    config = values.pop("config", None)
    merged = read_yaml(Path(config)) if config else {}
    return cls.from_mapping({**merged, **values}, where=str(config) if config else "command line")


def parse_settings(
    parser: Parser, cls: type[SettingsType], argv: Sequence[str] | None, leave_out: Collection[str] = ()
) -> tuple[SettingsType, argparse.Namespace]:
    """Add one flag per setting and parse; returns the settings, and the values of what the parser had before."""
    add_settings(parser, cls, leave_out)
    values = vars(parser.parse(argv))
    own = {"config", *(item.name for item in fields(cls))}  # type: ignore[arg-type]
    others = {name: values.pop(name) for name in set(values) - own}
    return read_settings(cls, values), argparse.Namespace(**others)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; raises UserError with the file and line of a mistake."""
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not valid YAML: {error}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected lines 'setting: value', found {type(values).__name__}")
    return values


def read_run_settings(cls: type[SettingsType], folder: Path) -> SettingsType:
    """Return the settings that a run was begun with; raises UserError naming its settings.yaml."""
    path = folder / "settings.yaml"
    return cls.from_mapping(read_yaml(path), str(path))


def run_command(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command's main function; user errors become one message on stderr and exit code 2."""
    settle()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal cannot spell stops no command
    try:
        code = main(argv) or 0
    except UserError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("stopped; the same command goes on from what is saved", 130)
    except BrokenPipeError:
        os._exit(141)
    except OSError as error:
        name, is_full = error.filename2 or error.filename, error.errno in FULL
        if error.errno is None or not (name or is_full):
            raise  # not of the file system, or no place that the user could mend
        where = f" ({name})" if name else ""
        advice = "free some space or name another place" if is_full else "mend that or name another place"
        _fail(f"{error.strerror}{where}: {advice}; what was finished is kept", 2)
    sys.exit(code)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {without_passwords(message)}", file=sys.stderr)
    sys.exit(code)
