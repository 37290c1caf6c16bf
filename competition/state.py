"""The state of something under way, from which a restart goes on: one file, never unpickled."""

import io
from pathlib import Path
from typing import Any

import torch

from competition.errors import UserError
from competition.runs import write_atomically


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``state.pt``, whole or not at all."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(folder / "state.pt", buffer.getvalue())


def load_state(folder: Path, what: str) -> dict[str, Any] | None:
    """Read ``state.pt`` onto the CPU without unpickling code; None when there is none. ``what`` it is of is named.

    Who loads it moves what belongs on a GPU: an optimiser's step counters do not, they would be waited for.

    Raises:
        UserError: the file is damaged or not a state of this toolkit.
    """
    path = folder / "state.pt"
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is no state
        raise UserError(f"{path} cannot be read ({type(error).__name__}): delete it to begin the {what} anew") from None
