"""Decode every image once into a memory map of uint8 that folds, workers, processes and later runs share.

    CACHE_DIR/KEY/images.npy   (N, S, S, 3) uint8; absent when it would pass the size limit
    CACHE_DIR/KEY/facts.npz    one entry per image: error, sizes, hashes, brightness ...
    CACHE_DIR/KEY/meta.json    shape and policy
    CACHE_DIR/KEY.lock         held while somebody decodes; the kernel drops it when that process dies

KEY changes with any path, size, modification time (CRC in a zip), size policy or decoder version. A cache
is made in ``KEY.tmp-PID`` and renamed when whole, so a killed decode leaves nothing that could be mistaken for one.
"""

import errno
import hashlib
import json
import mmap
import os
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from competition.data.archive import signature
from competition.errors import UserError

if TYPE_CHECKING:
    from competition.data.decode import Decoded, Resize

DECODE_CHUNK = 64  # images per task: long enough to hide the hand-over, short enough for a live bar
DROP_AFTER_BYTES = 128 << 20  # mapped bytes after which pages are given back: bounds resident memory
FAULT_AROUND_BYTES = 64 << 10  # what Linux maps around a page that is touched, asked for or not
FACT_BYTES = 320  # disk space of one image's facts, generously
_NUMBERS = {
    "bytes": np.int64,
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
_FACTS_ONLY = "-facts"  # ends the folder name of a cache without pixels


class ImageStore:
    """An opened cache; may be pickled and forked, each process maps the file on its first ``gather``.

    Attributes:
        fingerprint: the key of the cache: equal exactly when files, size policy and decoder are.
        shape: (N, S, S, 3).
    """

    def __init__(self, folder: Path, paths: Sequence[str], workers: int | None = None) -> None:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.fingerprint: str = folder.name.removesuffix(_FACTS_ONLY)
        self.shape: tuple[int, int, int, int] = tuple(meta["shape"])
        self.is_stored: bool = meta["is_stored"]
        self._resize: Resize = meta["resize"]
        self._offset: int = meta["offset"]
        self._errors: dict[str, str] = meta["errors"]
        self._paths = None if self.is_stored else list(paths)  # needed only to decode again
        self._workers = workers
        self._forget()

    def _forget(self) -> None:
        self._facts: pd.DataFrame | None = None
        self._pixels: np.ndarray | None = None  # (N, S, S, 3), a view of the map
        self._map: mmap.mmap | None = None
        self._mapped_bytes = 0
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.update(_facts=None, _pixels=None, _map=None, _mapped_bytes=0, _pool=None)
        return state

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def facts(self) -> pd.DataFrame:
        """One row per image in table order, read from disk on first use.

        Columns: error, bytes, width, height, mode, format, content_hash, pixel_hash, perceptual_hash (all
        uint64), brightness, contrast, sharpness, thumbnail (8 x 8 x 3 bytes); see ``decode.Decoded``.
        """
        if self._facts is None:
            self._facts = _load_facts(self.folder / "facts.npz", self._errors)
        return self._facts

    def gather(self, rows: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Copy images: (B,) row numbers -> (B, S, S, 3) uint8, into ``out`` when given.

        Unreadable images are black. Raises IndexError for a row outside 0..N-1.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if rows.size and (rows.min() < 0 or rows.max() >= len(self)):
            raise IndexError(f"row outside 0..{len(self) - 1}")
        if out is None:
            out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        if not self.is_stored:
            self._decode_into(rows, out)
            return out
        pixels = self._mapped()
        # "clip" writes straight into `out`, "raise" goes through a buffer; the bounds are checked above
        np.take(pixels, rows, axis=0, out=out, mode="clip")
        self._drop_pages(out.nbytes + len(rows) * FAULT_AROUND_BYTES)
        return out

    def _mapped(self) -> np.ndarray:
        if self._pixels is None:
            with open(self.folder / "images.npy", "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if hasattr(mmap, "MADV_RANDOM"):
                self._map.madvise(mmap.MADV_RANDOM)  # reading ahead would fill memory with images nobody asked for
            count = int(np.prod(self.shape, dtype=np.int64))
            flat = np.frombuffer(self._map, np.uint8, count=count, offset=self._offset)
            self._pixels = flat.reshape(self.shape)
        return self._pixels

    def _drop_pages(self, mapped: int) -> None:
        """Give mapped pages back now and then; they stay in the system's own cache, which it may reclaim."""
        self._mapped_bytes += mapped
        if self._map is None or len(self._map) <= DROP_AFTER_BYTES or not hasattr(mmap, "MADV_DONTNEED"):
            return
        if self._mapped_bytes >= DROP_AFTER_BYTES:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._mapped_bytes = 0

    def _decode_into(self, rows: np.ndarray, out: np.ndarray) -> None:
        from competition.data.decode import decode_pixels

        assert self._paths is not None
        paths = self._paths

        def decode(place: int) -> None:
            row = int(rows[place])
            if str(row) not in self._errors:
                out[place] = decode_pixels(paths[row], self.shape[1], self._resize)
            else:
                out[place] = 0

        for _ in self._threads().map(decode, range(len(rows))):
            pass

    def _threads(self) -> ThreadPoolExecutor:
        """Threads do not survive a fork, so each process has its own."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self._workers or _cores()))
        return self._pool[1]


def open_images(
    table: pd.DataFrame,
    *,
    image_size: int,
    resize: "Resize",
    cache_dir: Path,
    limit_bytes: int,
    workers: int | None = None,
    progress: bool = True,
) -> ImageStore:
    """Open the cache of these images, decoding them first when there is none.

    ``limit_bytes`` caps the pixels kept on disk: above it only the facts are stored, and ``gather`` decodes
    as needed, bit for bit the same. Raises UserError when the disk is full or the folder cannot be written.
    """
    paths = [str(path) for path in table["path"]]
    key = cache_key(paths, image_size, resize)
    cache_dir = Path(cache_dir).expanduser()
    is_stored = len(paths) * image_size * image_size * 3 <= limit_bytes
    folder = cache_dir / (key if is_stored else key + _FACTS_ONLY)
    if not _is_whole(folder):
        try:
            cache_dir.mkdir(parents=True, exist_ok=True)
            with _locked(folder, progress):
                if not _is_whole(folder):  # another process may just have made it
                    _sweep(cache_dir, folder)
                    _build(folder, paths, image_size, resize, is_stored, workers, progress)
        except OSError as error:
            raise _as_user_error(error, cache_dir, len(paths), image_size, is_stored) from None
    return ImageStore(folder, paths, workers)


def cache_key(paths: Sequence[str], image_size: int, resize: str) -> str:
    """Return 32 hex digits that change with any file's path, size or time; reads no file contents."""
    from competition.data.decode import DECODER_VERSION

    digest = hashlib.blake2b(f"{DECODER_VERSION} {image_size} {resize}\n".encode(), digest_size=16)
    for path in paths:
        size, stamp = signature(path)
        digest.update(f"{path}\0{size}\0{stamp}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_whole(folder: Path) -> bool:
    return (folder / "meta.json").is_file()


# ---- making a cache ----


@contextmanager
def _locked(folder: Path, progress: bool) -> Iterator[None]:
    """Hold ``FOLDER.lock``; wait while another process decodes the same images."""
    with open(folder.with_name(folder.name + ".lock"), "w") as file:
        if not _try_lock(file.fileno()):
            if progress:
                print(f"Another process is decoding these images; waiting for {folder}", file=sys.stderr)
            _lock(file.fileno())
        yield


def _try_lock(descriptor: int) -> bool:
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: go on; the rename still keeps caches whole.
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def _lock(descriptor: int) -> None:
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)


def _sweep(cache_dir: Path, mine: Path) -> None:
    """Remove what killed decodes left; whoever still decodes holds the lock, even on another host."""
    for left in cache_dir.glob("*.tmp-*"):
        key = left.name.partition(".tmp-")[0]
        if key == mine.name:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with open(cache_dir / f"{key}.lock", "a") as file:
            if _try_lock(file.fileno()):
                shutil.rmtree(left, ignore_errors=True)


def _build(
    folder: Path,
    paths: list[str],
    image_size: int,
    resize: "Resize",
    is_stored: bool,
    workers: int | None,
    progress: bool,
) -> None:
    shape = (len(paths), image_size, image_size, 3)
    _require_space(folder.parent, _bytes_needed(len(paths), image_size, is_stored))
    beside = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
    beside.mkdir()
    try:
        decoded = _decode_all(paths, image_size, resize, workers, progress)
        facts, offset = _write_images(beside / "images.npy", shape, decoded, is_stored)
        _save_facts(beside / "facts.npz", facts)
        meta = {
            "shape": shape,
            "resize": resize,
            "is_stored": is_stored,
            "offset": offset,
            "errors": {str(row): fact.error for row, fact in enumerate(facts) if fact.error},
        }
        _write_synced(beside / "meta.json", json.dumps(meta).encode())
        shutil.rmtree(folder, ignore_errors=True)  # a folder without meta.json is nobody's cache
        os.replace(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _bytes_needed(count: int, image_size: int, is_stored: bool) -> int:
    pixels = count * image_size * image_size * 3 if is_stored else 0
    return pixels + count * FACT_BYTES + 4096


def _require_space(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _as_user_error(error: OSError, cache_dir: Path, count: int, image_size: int, is_stored: bool) -> UserError:
    needed = _bytes_needed(count, image_size, is_stored)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        try:
            free = f"{shutil.disk_usage(cache_dir).free / 1e6:,.1f} MB are free"
        except OSError:
            free = "less is free"
        return UserError(
            f"{cache_dir}: no space for the decoded images: {needed / 1e6:,.1f} MB ({needed:,} bytes) are "
            f"needed, {free}. Free some, name another folder with --cache-dir, or lower --cache-limit to "
            "decode as needed."
        )
    return UserError(f"{cache_dir}: cannot be written ({error}). Name another folder with --cache-dir.")


def _decode_all(
    paths: list[str], image_size: int, resize: "Resize", workers: int | None, progress: bool
) -> Iterator["Decoded"]:
    """Yield every image in order. Threads: decoders release the interpreter lock, nothing is pickled."""
    from competition.data.decode import decode_file

    def decode(start: int) -> list["Decoded"]:
        return [decode_file(path, image_size, resize) for path in paths[start : start + DECODE_CHUNK]]

    count = max(1, workers or _cores())
    pool = ThreadPoolExecutor(count)
    try:
        with _progress(len(paths), progress) as advance:
            for chunk in _map_in_order(pool, decode, range(0, len(paths), DECODE_CHUNK), ahead=2 * count):
                yield from chunk
                advance(len(chunk))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _map_in_order(
    pool: ThreadPoolExecutor, function: Callable[[int], list["Decoded"]], items: Iterable[int], ahead: int
) -> Iterator[list["Decoded"]]:
    """Like ``pool.map`` with at most ``ahead`` results in memory."""
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


@contextmanager
def _progress(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A bar on a terminal; elsewhere one line when done, and one every ten seconds until then."""
    if wanted and sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("Decoding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("", total=total)
            yield lambda count: bar.advance(task, count)
        return
    start = last = time.monotonic()
    done = 0

    def advance(count: int) -> None:
        nonlocal done, last
        done += count
        now = time.monotonic()
        if wanted and (done >= total or now - last > 10):
            last = now
            print(f"Decoded {done:,} of {total:,} images in {now - start:.1f} s", file=sys.stderr, flush=True)

    yield advance


def _write_images(
    path: Path, shape: tuple[int, ...], decoded: Iterable["Decoded"], is_stored: bool
) -> tuple[list["Decoded"], int]:
    """Write the pixels as a .npy file; return the facts without pixels, and the header's size.

    Written, not mapped: on a full disk a write fails with an error, a mapped page kills the process.
    """
    from dataclasses import replace

    nothing = np.empty(0, np.uint8)
    facts = []
    if not is_stored:
        return [replace(one, pixels=nothing) for one in decoded], 0
    with open(path, "wb", buffering=1 << 20) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        for one in decoded:
            file.write(one.pixels.data)
            facts.append(replace(one, pixels=nothing))
        file.flush()
        os.fsync(file.fileno())
    return facts, offset


def _write_synced(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# ---- facts on disk ----


def _save_facts(path: Path, facts: list["Decoded"]) -> None:
    """Numbers as arrays, repeated names as codes: small, and read back without unpickling."""
    arrays: dict[str, np.ndarray] = {}
    for name, kind in _NUMBERS.items():
        attribute = "byte_count" if name == "bytes" else name
        arrays[name] = np.array([getattr(fact, attribute) for fact in facts], dtype=kind)
    for name in _NAMES:
        values, codes = np.unique(np.array([getattr(fact, name) for fact in facts], "U"), return_inverse=True)
        arrays[name], arrays[f"{name}_codes"] = values, codes.astype(np.int16)
    arrays["thumbnail"] = np.frombuffer(b"".join(fact.thumbnail for fact in facts), np.uint8).reshape(len(facts), -1)
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())


def _load_facts(path: Path, errors: dict[str, str]) -> pd.DataFrame:
    with np.load(path, allow_pickle=False) as arrays:
        error = np.full(len(arrays["bytes"]), "", dtype=object)
        for row, text in errors.items():
            error[int(row)] = text
        columns: dict[str, Any] = {"error": pd.Series(error, dtype=object)}
        columns["bytes"] = arrays["bytes"]
        for name in ("width", "height"):
            columns[name] = arrays[name]
        for name in _NAMES:  # every row points at one of a few strings
            columns[name] = pd.Series(arrays[name].astype(object)[arrays[f"{name}_codes"]], dtype=object)
        for name in _NUMBERS:
            columns.setdefault(name, arrays[name])
        columns["thumbnail"] = pd.Series([row.tobytes() for row in arrays["thumbnail"]], dtype=object)
    return pd.DataFrame(columns)
