"""The one exception whose message is meant for the person at the keyboard."""

import difflib
import re
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can mend: the message says what is wrong, where, and what to do.

    Every command prints the message without a traceback and exits with code 2.
    """


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `` (did you mean 'x'?)`` for the nearest known name, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {matches[0]!r}?)" if matches else ""


def counted(count: int, noun: str) -> str:
    """Return ``1 image``, ``1,234 images``."""
    return f"{count:,} {noun}" + ("" if count == 1 else "s")


def first_few(names: Iterable[object], limit: int = 5) -> str:
    """Join up to ``limit`` names for a message and count the rest: ``a, b, c and 7 more``."""
    listed = [str(name) for name in names]
    rest = len(listed) - limit
    return ", ".join(listed[:limit]) + (f" and {rest:,} more" if rest > 0 else "")


def without_passwords(text: str) -> str:
    """Return the text with the passwords of its URLs replaced by ``***``."""
    text = re.sub(r"(://[^:/@\s]*):\S*@", r"\1:***@", text)
    return re.sub(r"([?&]password=)[^&\s]*", r"\1***", text)


def clock(seconds: float) -> str:
    """Return ``1:02:03`` or ``2:03``."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def respelled(given: Iterable[str], asked: Iterable[str], advice: str) -> str:
    """Say so when a name that is asked for came with blanks around it, or a number lost its spelling; else nothing.

    A number did where ``7.0`` or ``7`` is given and ``7`` or ``007`` asked for; the ``advice`` is for that.
    """
    known = dict.fromkeys(asked)  # in their order: of two names of one number the same is told every time
    by_value = {_as_number(name): name for name in known}
    for name in given:
        if (bare := name.strip()) != name and bare in known:
            return f"; {name!r} is {bare!r} with blanks around it: take them off"
        if (value := _as_number(name)) is not None and value in by_value:
            return f"; {name!r} is {by_value[value]!r} read as a number: {advice}"
    return ""


def _as_number(text: str) -> float | None:
    try:
        return None if "_" in text else float(text)  # 1_2 is a number to Python alone
    except ValueError:
        return None
