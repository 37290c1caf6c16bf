"""When to save and stop: a signal, a time limit, or the end of the process that started this one."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ONCE_MORE = b"\nstopping as soon as all is saved; once more stops at once\n"


class Stopped(Exception):
    """Somebody wanted to stop; the state is saved."""


class Stop:
    """Whether to save and stop.

    Args:
        deadline: `time.perf_counter` value.
        parent: process that must live, or None.
    """

    def __init__(self, deadline: float = math.inf, parent: int | None = None) -> None:
        self.deadline, self._parent, self.is_signalled = deadline, parent, False

    @classmethod
    def after(cls, seconds: float | None, start: float) -> "Stop":
        """Stop so many seconds after a `time.perf_counter` value; None: not for the time."""
        return cls(start + seconds if seconds else math.inf)

    def __call__(self) -> bool:
        """Return whether to stop."""
        is_orphan = self._parent is not None and os.getppid() != self._parent
        return self.is_signalled or time.perf_counter() > self.deadline or is_orphan

    def wish(self, number: int, frame: FrameType | None) -> None:
        """Take a signal as a wish to stop: a signal handler."""
        self.is_signalled = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first interrupt or termination signal as a wish; a second one acts at once.

        A signal that is ignored, as Ctrl+C is for a job in the background, stays so. Python lets the main thread alone
        take signals: in another, of an app that calls this, nothing changes.
        """
        signals = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        handlers = {number: signal.getsignal(number) for number in signals}
        before = {number: handler for number, handler in handlers.items() if handler != signal.SIG_IGN}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def first_wish(number: int, frame: FrameType | None) -> None:
            self.wish(number, frame)
            restore()
            os.write(2, ONCE_MORE)  # print may be what was interrupted

        for number in before:
            signal.signal(number, first_wish)
        try:
            yield
        finally:
            restore()

    def raise_if_signalled(self) -> None:
        """Raise KeyboardInterrupt where a signal came: what is said then, is said in one place."""
        if self.is_signalled:
            raise KeyboardInterrupt


NEVER = Stop()  # never listens: a signal would stay in it for every later call
