"""What a fold tells the world while it trains: history, TensorBoard and the live display."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

from competition.errors import UserError
from competition.runs import append_history, read_history, write_history
from competition.training.display import FoldDisplay


def refuse_missing_tensorboard(is_wanted: bool) -> None:
    """Raise UserError when ``--tensorboard`` is given and the package is not installed."""
    if is_wanted and find_spec("tensorboard") is None:
        raise UserError("--tensorboard needs a package that is not installed: pip install tensorboard")


class Recorder:
    """The history of one fold; ``history.jsonl`` is the truth, TensorBoard shows the same numbers.

    Args:
        fold: number of the fold.
        folder: the fold's own folder.
        display: shown to the person at the terminal.
        tensorboard: write TensorBoard's files to ``folder/tensorboard`` too.
    """

    def __init__(self, fold: int, folder: Path, display: FoldDisplay, tensorboard: bool) -> None:
        self.fold, self.display = fold, display
        self._path = folder / "history.jsonl"
        self._writer: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def add(self, record: dict[str, Any]) -> None:
        """Append one record; it has ``epoch``, ``step`` and numbers."""
        append_history(self._path, record)
        if self._writer is not None:
            for name, value in record.items():
                self._writer.add_scalar(name, value, record["step"])
            self._writer.flush()

    def go_back_to(self, epoch: int) -> None:
        """Drop the records of later epochs: training goes on from a state saved before them."""
        if self._path.exists():
            write_history(self._path, [record for record in read_history(self._path) if record["epoch"] <= epoch])

    def note(self, text: str) -> None:
        """Say something that is not a number."""
        self.display.note(f"fold {self.fold}: {text}")

    def close(self) -> None:
        """Close TensorBoard's file."""
        if self._writer is not None:
            self._writer.close()
