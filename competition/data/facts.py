"""What is known about every image beside its pixels, on disk: ``facts.npz`` with one entry per image.

Numbers are arrays, repeated names are codes: small, and read back without unpickling.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from competition.data.decode import Decoded

FACT_BYTES = 320  # disk space of one image's facts, generously
_NUMBERS = {
    "width": np.int32,
    "height": np.int32,
    "content_hash": np.uint64,
    "pixel_hash": np.uint64,
    "perceptual_hash": np.uint64,
    "brightness": np.float32,
    "contrast": np.float32,
    "sharpness": np.float32,
}
_NAMES = ("mode", "format")


def save_facts(path: Path, facts: list["Decoded"]) -> None:
    """Write the facts of all images, in order; raises OSError when the disk is full."""
    arrays: dict[str, np.ndarray] = {}
    for name, kind in _NUMBERS.items():
        arrays[name] = np.array([getattr(fact, name) for fact in facts], dtype=kind)
    for name in _NAMES:
        values, codes = np.unique(np.array([getattr(fact, name) for fact in facts], "U"), return_inverse=True)
        arrays[name], arrays[f"{name}_codes"] = values, codes.astype(np.int16)
    arrays["thumbnail"] = np.frombuffer(b"".join(fact.thumbnail for fact in facts), np.uint8).reshape(len(facts), -1)
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())


def load_facts(path: Path, errors: dict[str, str]) -> pd.DataFrame:
    """Read the facts as a table of one row per image; ``errors`` maps row numbers to what is wrong with them."""
    with np.load(path, allow_pickle=False) as arrays:
        error = np.full(len(arrays["width"]), "", dtype=object)
        for row, text in errors.items():
            error[int(row)] = text
        columns: dict[str, Any] = {"error": pd.Series(error, dtype=object)}
        for name in _NUMBERS:
            columns[name] = arrays[name]
        for name in _NAMES:  # every row points at one of a few strings
            columns[name] = pd.Series(arrays[name].astype(object)[arrays[f"{name}_codes"]], dtype=object)
        columns["thumbnail"] = pd.Series(_as_bytes(arrays["thumbnail"]), dtype=object)
    return pd.DataFrame(columns)


def _as_bytes(rows: np.ndarray) -> list[bytes]:
    """(N, B) uint8 -> N times B bytes, without a Python step for each row."""
    return rows.view(f"V{rows.shape[1]}").ravel().tolist()
