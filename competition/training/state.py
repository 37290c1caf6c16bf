"""The state of a fold under way, on disk: all that a kill must not lose."""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from competition.errors import UserError
from competition.runs import write_atomically


@dataclass
class Progress:
    """Everything about a training that changes, apart from the weights."""

    epoch: int = 0
    batch: int = 0  # next batch of the epoch
    step: int = 0
    loss_sum: float = 0.0
    hits: float = 0.0
    images: int = 0
    plateau_factor: float = 1.0
    best: float = -math.inf
    validations_without_gain: int = 0

    def begin_epoch(self, epoch: int) -> None:
        """Reset what is summed over an epoch."""
        self.epoch, self.batch, self.images = epoch, 0, 0
        self.loss_sum = self.hits = 0.0


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state.pt``, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / "state.pt", buffer.getvalue())


def load_state(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Read ``state.pt`` without unpickling code; None when there is none.

    Raises:
        UserError: the file is damaged or not a state of this toolkit.
    """
    path = folder / "state.pt"
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is no state
        raise UserError(f"{path} cannot be read ({type(error).__name__}): delete it to begin the fold anew") from None
