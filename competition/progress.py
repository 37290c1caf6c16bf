"""How far long work is: a bar or a live table on a terminal, a plain line now and then elsewhere.

What is printed while either is alive appears above it, so everything else may simply print. Nothing shown is taken for
markup: names of folders hold brackets and braces.
"""

import sys
import time
from collections.abc import Callable
from typing import Self, TextIO

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn

from competition.errors import clock

PLAIN_SECONDS = 20.0  # between two lines where there is no terminal


def is_terminal(file: TextIO | None) -> bool:
    """Return whether a person watches; FORCE_COLOR makes no terminal of a file, and None is a closed output."""
    return file is not None and file.isatty() and Console(file=file).is_terminal


class Pace:
    """When another plain line is due: at once, then every `PLAIN_SECONDS`."""

    def __init__(self) -> None:
        self._last: float | None = None

    def is_due(self) -> bool:
        """Return whether a line is due; where it is, the next one is due later."""
        if self._last is not None and time.perf_counter() - self._last < PLAIN_SECONDS:
            return False
        self.restart()
        return True

    def restart(self) -> None:
        """Count from now: something has just been said."""
        self._last = time.perf_counter()


class Bar:
    """A count of things done; used as a context manager around the work.

    On a terminal a bar, elsewhere ``TITLE: 1,200/5,000 images, 310/s, 0:12 left`` now and then and one line at the end.

    Args:
        title: what is being done.
        total: things to do.
        unit: what is counted.
        file: where it is shown, standard error unless given.
    """

    def __init__(self, title: str, total: int, unit: str = "images", file: TextIO | None = None) -> None:
        self._title, self._total, self._unit = title, total, unit
        self._file = file or sys.stderr
        self.done = self._skipped = 0
        self._pace, self._start = Pace(), time.perf_counter()
        self._pace.restart()  # work of less than that says only that it is done
        self._bar: Progress | None = None
        if is_terminal(self._file):
            # The text is a field: neither rich's markup nor str.format sees what is in it.
            name, text = (TextColumn(field, markup=False) for field in ("{task.description}", "{task.fields[text]}"))
            self._bar = Progress(name, BarColumn(), text, console=Console(file=self._file))
            self._task = self._bar.add_task(title, total=total, text="")

    def __enter__(self) -> Self:
        self._start = time.perf_counter()
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def skip(self, count: int) -> None:
        """Count things that were done before and say nothing about the speed."""
        self._skipped += count
        self.advance(count)

    def advance(self, count: int = 1, detail: str = "") -> None:
        """Some more things are done; ``detail`` is shown with the count."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, text=self._text(detail))
        elif count and self.done >= self._total:
            seconds = time.perf_counter() - self._start
            parts = [f"{self.done:,}/{self._total:,} {self._unit} in {seconds:.1f} s", detail]
            self._say(", ".join(filter(None, parts)))
        elif self._pace.is_due():
            self._say(self._text(detail))

    def _say(self, text: str) -> None:
        print(f"{self._title}: {text}", file=self._file, flush=True)

    def _text(self, detail: str) -> str:
        """Return the count, the detail or else the speed, and the time left."""
        parts = [f"{self.done:,}/{self._total:,} {self._unit}"]
        done, seconds = self.done - self._skipped, time.perf_counter() - self._start
        rate = done / seconds if seconds > 0 else 0.0
        parts.append(detail or f"{rate:,.0f}/s")
        if rate > 0:
            parts.append(f"{clock((self._total - self.done) / rate)} left")
        return ", ".join(parts)


class LiveTable:
    """A table that is drawn again and again on a terminal; elsewhere lines take its place.

    Used as a context manager around the work.

    Args:
        draw: returns what to show at this moment.
        per_second: drawings.
    """

    def __init__(self, draw: Callable[[], RenderableType], per_second: float = 4) -> None:
        self._live: Live | None = None
        if is_terminal(sys.stdout):
            self._live = Live(console=Console(), refresh_per_second=per_second, get_renderable=draw)
        self._pace = Pace()

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def line(self, text: Callable[[], str], is_news: bool = True) -> None:
        """Print a line where there is no table; one that is no news waits until it is due."""
        if self._live is None and (is_news or self._pace.is_due()):
            self._pace.restart()
            print(text(), flush=True)
