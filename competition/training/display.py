"""What a person sees while folds train: a live table, or plain lines when there is no terminal."""

import time
from typing import Any, Protocol

from rich.table import Table

from competition.errors import clock
from competition.progress import LiveTable


class FoldDisplay(Protocol):
    """What a fold tells about itself while it trains."""

    def note(self, text: str) -> None:
        """Say something that is not a number."""

    def start_fold(self, fold: int, epochs: float) -> None:
        """A fold of so many epochs begins or goes on."""

    def update(self, fold: int, *, done: float, loss: float, images_per_second: float, seconds_left: float) -> None:
        """Some batches are done. ``done`` counts epochs, with fractions."""

    def validated(self, fold: int, macro_f1: float) -> None:
        """A validation is done."""

    def finish_fold(self, fold: int, macro_f1: float) -> None:
        """A fold is trained and its held-out images are predicted."""


class Display(LiveTable):
    """A `FoldDisplay` of one row per fold: epoch, loss, macro F1, images/s, time left.

    Used as a context manager around the training of all folds.
    """

    def __init__(self, folds: list[int]) -> None:
        self._rows: dict[int, dict[str, Any]] = {fold: {} for fold in folds}
        super().__init__(self._table)
        self._fold_seconds: list[float] = []
        self._fold_start = time.perf_counter()

    def note(self, text: str) -> None:
        print(text, flush=True)

    def start_fold(self, fold: int, epochs: float) -> None:
        self._fold_start = time.perf_counter()
        self._rows[fold].update(state="training", epochs=epochs)

    def update(self, fold: int, *, done: float, loss: float, images_per_second: float, seconds_left: float) -> None:
        row = self._rows[fold]
        row.update(epoch=done, loss=loss, rate=images_per_second, left=self._all_left(seconds_left))
        self.line(lambda: self._line(fold), is_news=False)

    def validated(self, fold: int, macro_f1: float) -> None:
        self._rows[fold]["macro_f1"] = macro_f1
        self.line(lambda: self._line(fold))

    def finish_fold(self, fold: int, macro_f1: float) -> None:
        self._fold_seconds.append(time.perf_counter() - self._fold_start)
        self._rows[fold].update(state="done", macro_f1=macro_f1, left=0.0)
        self.line(lambda: f"fold {fold}: done, macro F1 {macro_f1:.3f}")

    def _all_left(self, seconds_left: float) -> float:
        """Return the seconds to the end of all folds, taking the later ones to last as long as this one."""
        elapsed = time.perf_counter() - self._fold_start
        waiting = sum(1 for row in self._rows.values() if not row)
        return seconds_left + waiting * (self._fold_seconds[-1] if self._fold_seconds else elapsed + seconds_left)

    def _line(self, fold: int) -> str:
        return f"fold {fold}: " + ", ".join(f"{name} {text}" for name, text in self._cells(fold).items() if text)

    def _cells(self, fold: int) -> dict[str, str]:
        row = self._rows[fold]
        return {
            "epoch": f"{row['epoch']:.1f}/{round(row['epochs'], 1):g}" if "epoch" in row else "",
            "loss": f"{row['loss']:.3f}" if "loss" in row else "",
            "macro F1": f"{row['macro_f1']:.3f}" if "macro_f1" in row else "",
            "images/s": f"{row['rate']:,.0f}" if "rate" in row else "",
            "time left": clock(row["left"]) if "left" in row else row.get("state", "waiting"),
        }

    def _table(self) -> Table:
        table = Table("fold", *self._cells(next(iter(self._rows))))
        for fold in self._rows:
            table.add_row(str(fold), *self._cells(fold).values())
        return table
