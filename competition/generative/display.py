"""What a person sees while a model trains: one line, rewritten on a terminal, repeated now and then elsewhere."""

import sys
import time

from competition.errors import clock

PLAIN_SECONDS = 20.0  # between two lines where there is no terminal


class ProgressLine:
    """Steps done, losses, images/s and time left."""

    def __init__(self, total_steps: int) -> None:
        self._total, self._is_live = total_steps, sys.stdout.isatty()
        self._last = 0.0

    def update(self, step: int, losses: dict[str, float], images_per_second: float, seconds_left: float) -> None:
        """Show where the training is."""
        now = time.perf_counter()
        if now - self._last < (0.5 if self._is_live else PLAIN_SECONDS):
            return
        self._last = now
        shown = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        line = f"step {step:,}/{self._total:,}, {shown}, {images_per_second:,.0f} images/s, {clock(seconds_left)} left"
        print(f"\r\033[K{line}" if self._is_live else line, end="" if self._is_live else "\n", flush=True)

    def note(self, text: str) -> None:
        """Say something that is not a number."""
        print(f"\r\033[K{text}" if self._is_live else text, flush=True)
