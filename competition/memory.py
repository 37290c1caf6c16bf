"""Memory that runs out: half as much at once, and again."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch

Result = TypeVar("Result")


def in_halves(run: Callable[[int], Result], size: int, note: Callable[[str], None]) -> tuple[Result, int]:
    """Run something with so many images at once; where memory runs out, begin again with half of them.

    Args:
        run: what to do, given the number of images at once.
        size: images at once to begin with.
        note: told of every halving.

    Returns:
        The result, and the number of images at once that fitted.
    """
    while True:
        try:
            return run(size), size
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or size <= 1:
                raise
        # Outside of the handler, whose traceback keeps what filled the memory.
        smaller = math.ceil(size / 2)
        note(f"memory ran out with {size} images at once; going on with {smaller}")
        size = smaller
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that a GPU's or the computer's memory is full."""
    text = str(error).lower()
    is_named = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return is_named or "out of memory" in text or "can't allocate memory" in text
