"""Make the folder of a cache: decode in parallel, write pixels and facts, rename when whole.

    CACHE_DIR/KEY.lock           held while somebody decodes; the kernel drops it when that process dies
    CACHE_DIR/KEY.tmp-PID-TIME   what is being made; another host or an earlier process may have had the PID

What a killed process left in ``KEY.tmp-PID-TIME`` is swept by the next decode, where the file system has locks.
"""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from competition.data.facts import FACT_BYTES, save_facts
from competition.errors import UserError
from competition.process import usable_cores
from competition.progress import Bar
from competition.runs import take_lock, write_atomically

if TYPE_CHECKING:
    from competition.data.decode import Decoded, Resize

DECODE_CHUNK = 64  # images per task: long enough to hide the hand-over, short enough for a live bar
PROCESSES_FROM = 1000  # images; fewer are decoded by threads before processes have started


@dataclass(frozen=True)
class CachePlan:
    """What a cache shall hold."""

    paths: list[str]  # files or ``ARCHIVE.zip::MEMBER``, one per image
    image_size: int  # pixels on a side
    resize: "Resize"
    is_stored: bool  # whether the pixels are kept, or only the facts

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, S, S, 3)."""
        return (len(self.paths), self.image_size, self.image_size, 3)

    def bytes_needed(self) -> int:
        """Return the disk space it takes, a little more than less."""
        pixels = len(self.paths) * self.image_size * self.image_size * 3 if self.is_stored else 0
        return pixels + len(self.paths) * FACT_BYTES + 4096


def is_whole(folder: Path) -> bool:
    """Whether the folder is a finished cache."""
    return (folder / "meta.json").is_file()


def make_cache(folder: Path, plan: CachePlan) -> None:
    """Decode everything into ``folder``, unless another process has just done so.

    Raises UserError when the disk is full, the folder cannot be written, or an image cannot be read this time.
    """
    cache_dir = folder.parent
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with _locked(folder) as has_locks:
            if not is_whole(folder):
                if has_locks:  # else nobody knows who still decodes
                    _sweep(cache_dir, folder)
                _build(folder, plan)
    except OSError as error:
        raise _as_user_error(error, cache_dir, plan) from None


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold ``FOLDER.lock``; wait while another process decodes the same images.

    Yields False where the file system has no locks: the rename still keeps caches whole.
    """
    with open(folder.with_name(folder.name + ".lock"), "w") as file:
        try:
            has_locks = take_lock(file)
        except BlockingIOError:
            print(f"Another process is decoding these images; waiting for {folder}", file=sys.stderr)
            has_locks = take_lock(file, wait=True)
        yield has_locks


def _sweep(cache_dir: Path, mine: Path) -> None:
    """Remove what killed decodes left; whoever still decodes holds the lock, even on another host."""
    for left in cache_dir.glob("*.tmp-*"):
        key = left.name.partition(".tmp-")[0]
        if key == mine.name:
            shutil.rmtree(left, ignore_errors=True)
            continue
        with open(cache_dir / f"{key}.lock", "a") as file, suppress(BlockingIOError):
            if take_lock(file):
                shutil.rmtree(left, ignore_errors=True)


def _build(folder: Path, plan: CachePlan) -> None:
    _require_space(folder.parent, plan.bytes_needed())
    beside = folder.with_name(f"{folder.name}.tmp-{os.getpid()}-{time.time_ns()}")
    beside.mkdir()
    try:
        decoded = _decode_all(plan)
        facts, offset = _write_images(beside / "images.npy", plan, decoded)
        save_facts(beside / "facts.npz", facts)
        meta = {
            "shape": plan.shape,
            "resize": plan.resize,
            "is_stored": plan.is_stored,
            "offset": offset,
            "errors": {str(row): fact.error for row, fact in enumerate(facts) if fact.error},
        }
        write_atomically(beside / "meta.json", json.dumps(meta))
        shutil.rmtree(folder, ignore_errors=True)  # a folder without meta.json is nobody's cache
        os.replace(beside, folder)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _require_space(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _as_user_error(error: OSError, cache_dir: Path, plan: CachePlan) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        needed = plan.bytes_needed()
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


def _decode_all(plan: CachePlan) -> Iterator["Decoded"]:
    """Yield every image in order."""
    starts = range(0, len(plan.paths), DECODE_CHUNK)
    count = max(1, min(usable_cores(), len(starts)))
    chunks = ((plan.paths[start : start + DECODE_CHUNK], plan.image_size, plan.resize) for start in starts)
    pool = _open_pool(len(plan.paths), count)
    try:
        with _without_interrupts():
            pool.submit(int)  # starts them
        with Bar("decoding", len(plan.paths)) as bar:
            for chunk in _map_in_order(pool, _decode_chunk, chunks, ahead=2 * count):
                yield from chunk
                bar.advance(len(chunk))
    except BrokenProcessPool:
        raise UserError(
            "a process that decodes images was killed, most likely for want of memory: end other programs, or shrink "
            "the largest images, and run the same command again"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _open_pool(images: int, count: int) -> Executor:
    """Return processes for many images: most of a small one is Python's part, at which threads take turns."""
    if images < PROCESSES_FROM:
        return ThreadPoolExecutor(count)
    return ProcessPoolExecutor(count, initializer=_start_process, initargs=(multiprocessing.Lock(),))


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Let Ctrl+C wait: a pool that it stops half-started cannot be ended, and its processes would all speak of it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _decode_chunk(task: tuple[list[str], int, "Resize"]) -> list["Decoded"]:
    from competition.data.decode import decode_file

    paths, image_size, resize = task
    return [decode_file(path, image_size, resize) for path in paths]


def _start_process(lock: AbstractContextManager[Any]) -> None:
    """Begin a process that decodes: one of them at a time has a big image, none outlives the one that began it."""
    import cv2

    from competition.data import decode

    decode.big_image = lock
    cv2.setNumThreads(0)  # its threads do not survive a fork, and the cores are taken
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all of them; the one that began them ends them
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _map_in_order(
    pool: Executor, function: Callable[[Any], list["Decoded"]], items: Iterable[Any], ahead: int
) -> Iterator[list["Decoded"]]:
    """Like ``pool.map`` with at most ``ahead`` results in memory."""
    waiting: deque[Any] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _write_images(path: Path, plan: CachePlan, decoded: Iterable["Decoded"]) -> tuple[list["Decoded"], int]:
    """Write the pixels as a .npy file; return the facts without pixels, and the header's size.

    Written, not mapped: on a full disk a write fails with an error, a mapped page kills the process.
    """
    nothing = np.empty(0, np.uint8)
    facts = []
    if not plan.is_stored:
        return [replace(one, pixels=nothing) for one in decoded], 0
    with open(path, "wb", buffering=1 << 20) as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": plan.shape}
        np.lib.format.write_array_header_1_0(file, header)
        offset = file.tell()
        for one in decoded:
            file.write(one.pixels.data)
            facts.append(replace(one, pixels=nothing))
        file.flush()
        os.fsync(file.fileno())
    return facts, offset
