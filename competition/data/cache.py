"""Decode every image once into a memory map of uint8 that folds, workers, processes and later runs share.

    CACHE_DIR/KEY/images.npy   (N, S, S, 3) uint8; absent when it would pass the size limit
    CACHE_DIR/KEY/facts.npz    one entry per image: sizes, hashes, brightness ...
    CACHE_DIR/KEY/meta.json    shape, size policy, and what is wrong with which image

KEY changes with any path, size, modification time (CRC in a zip), size policy or decoder version. A cache is
made in ``KEY.tmp-PID-TIME`` and renamed when whole, so a killed decode leaves nothing that could be mistaken for one.
"""

import hashlib
import json
import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from competition.data.archive import signature
from competition.data.cache_build import CachePlan, is_whole, make_cache
from competition.data.facts import load_facts
from competition.process import usable_cores

if TYPE_CHECKING:
    from competition.data.decode import Resize

KEEP_MAPPED_BYTES = 512 << 20  # a file up to this size stays mapped whole: nothing faults in twice
DROP_AFTER_BYTES = 128 << 20  # mapped bytes after which a larger file gives its pages back: bounds resident memory
FAULT_AROUND_BYTES = 64 << 10  # what Linux maps around a page that is touched, asked for or not
_FACTS_ONLY = "-facts"  # ends the folder name of a cache without pixels


class ImageStore:
    """An opened cache; may be pickled and forked, each process maps the file on its first ``gather``.

    Attributes:
        shape: (N, S, S, 3).
    """

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.shape: tuple[int, int, int, int] = tuple(meta["shape"])
        self.is_stored: bool = meta["is_stored"]
        self._resize: Resize = meta["resize"]
        self._offset: int = meta["offset"]
        self._errors: dict[str, str] = meta["errors"]
        self._paths = [] if self.is_stored else list(paths)  # needed only to decode again
        self._mapped_bytes = 0
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        opened = ("facts", "_map", "_pixels")  # on first use, by each process for itself
        return {name: value for name, value in vars(self).items() if name not in opened} | {"_pool": None}

    def __len__(self) -> int:
        return self.shape[0]

    @cached_property
    def facts(self) -> pd.DataFrame:
        """One row per image in table order, read from disk on first use.

        Columns: error, width, height, mode, format, content_hash, pixel_hash, perceptual_hash (all
        uint64), brightness, contrast, sharpness, thumbnail (8 x 8 x 3 bytes); see ``decode.Decoded``.
        """
        return load_facts(self.folder / "facts.npz", self._errors)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """Copy images: (B,) row numbers -> (B, S, S, 3) uint8.

        Damaged images are black. Raises IndexError for a row outside 0..N-1, and UserError when an image that is
        decoded as needed cannot be read this time.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"row outside 0..{len(self) - 1}")
        if not self.is_stored:
            return self._decoded(rows)
        pictures = self._pixels[rows]
        self._drop_pages(pictures.nbytes + len(rows) * FAULT_AROUND_BYTES)
        return pictures

    @cached_property
    def _map(self) -> mmap.mmap:
        with open(self.folder / "images.npy", "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapped) > KEEP_MAPPED_BYTES:
            mapped.madvise(mmap.MADV_RANDOM)  # reading ahead would fill memory with images nobody asked for
        return mapped

    @cached_property
    def _pixels(self) -> np.ndarray:
        """(N, S, S, 3), a view of the map."""
        return np.ndarray(self.shape, np.uint8, self._map, self._offset)

    def _drop_pages(self, mapped: int) -> None:
        """Give mapped pages back now and then; they stay in the system's own cache, which it may reclaim."""
        if len(self._map) <= KEEP_MAPPED_BYTES:
            return
        self._mapped_bytes += mapped
        if self._mapped_bytes >= DROP_AFTER_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._mapped_bytes = 0

    def _decoded(self, rows: np.ndarray) -> np.ndarray:
        from competition.data.decode import decode_pixels

        pictures = np.zeros((len(rows), *self.shape[1:]), np.uint8)

        def decode(place: int) -> None:
            row = int(rows[place])
            if str(row) not in self._errors:
                pictures[place] = decode_pixels(self._paths[row], self.shape[1], self._resize)

        for _ in self._threads().map(decode, range(len(rows))):
            pass
        return pictures

    def _threads(self) -> ThreadPoolExecutor:
        """Threads do not survive a fork, so each process has its own."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(usable_cores()))
        return self._pool[1]


def open_images(
    table: pd.DataFrame, *, image_size: int, resize: "Resize", cache_dir: Path, limit_bytes: int
) -> ImageStore:
    """Open the cache of these images, decoding them first when there is none.

    ``limit_bytes`` caps the pixels kept on disk: above it only the facts are stored, and ``gather`` decodes
    as needed, bit for bit the same. Raises UserError when the disk is full, the folder cannot be written, or an
    image cannot be read this time.
    """
    paths = [str(path) for path in table["path"]]
    key = cache_key(paths, image_size, resize)
    plan = CachePlan(paths, image_size, resize, len(paths) * image_size * image_size * 3 <= limit_bytes)
    folder = cache_dir / (key if plan.is_stored else key + _FACTS_ONLY)
    if not is_whole(folder):
        make_cache(folder, plan)
    return ImageStore(folder, paths)


def cache_key(paths: Sequence[str], image_size: int, resize: str) -> str:
    """Return 32 hex digits that change with any file's path, size or time; reads no file contents."""
    from competition.data.decode import DECODER_VERSION

    digest = hashlib.blake2b(f"{DECODER_VERSION} {image_size} {resize}\n".encode(), digest_size=16)
    for path in paths:
        size, stamp = signature(path)
        digest.update(f"{path}\0{size}\0{stamp}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
