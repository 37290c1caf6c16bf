"""Table rows + image store + policy -> batches of uint8 pictures.

What happens to image i in epoch e depends on (seed, e, i) alone: the order of an epoch and every augmentation
are computed from counted numbers, so workers, restarts and machines cannot change them.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from competition.data.augment import Policy
from competition.runs import counted_seed

Task = tuple[int, NDArray[np.int64]]  # epoch, positions of one batch


class Images(Protocol):
    """Anything that hands out decoded pictures by row."""

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return pictures. (B,) row numbers -> (B, H, W, 3) uint8."""
        ...


def image_keys(image_ids: list[str]) -> NDArray[np.uint64]:
    """Return a 64-bit number per image that depends on its id alone."""
    return np.array([counted_seed(name) for name in image_ids], dtype=np.uint64)


def mix_bits(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit numbers (splitmix64's finaliser, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class _Batches(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One item is one whole batch, so a worker needs nothing but the task's numbers."""

    images: Images
    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    policy: Policy | None
    seed: int
    plain: int  # positions before this one are never augmented

    def __getitem__(self, task: Task) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, positions = task
        pictures = self.images.gather(self.rows[positions % len(self.rows)])
        if self.policy is not None:
            self._augment(pictures, epoch, positions)
        return torch.from_numpy(pictures), torch.from_numpy(positions)

    def _augment(self, pictures: NDArray[np.uint8], epoch: int, positions: NDArray[np.int64]) -> None:
        assert self.policy is not None
        copy, position = positions // len(self.rows), positions % len(self.rows)
        # Appended copies are the same in every epoch; without copies every epoch sees new pictures.
        base = counted_seed(self.seed, "augment", "copy" if self.plain else epoch)
        seeds = mix_bits(self.keys[position] ^ mix_bits(np.uint64(base) + copy.astype(np.uint64)))
        for index in np.flatnonzero(positions >= self.plain):
            pictures[index] = self.policy(pictures[index], int(seeds[index]))


def _end_for_parent_alone() -> None:
    """Let SIGTERM from the process that started this one end it, and no other.

    Slurm, systemd and timeout send it to all processes: a worker that ends before the first process has saved would
    stop that in the middle of a step. Where no thread can wait for a signal, any SIGTERM ends a worker.
    """
    if sys.platform != "linux":
        return

    def wait() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
            pass
        os._exit(0)

    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=wait, daemon=True).start()


def _start_worker(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches all processes of a terminal: the first one decides
    _end_for_parent_alone()
    cv2.setNumThreads(0)  # OpenCV's threads fight with one another across workers
    torch.set_num_threads(1)


class Loader:
    """Batches of some rows of an image store.

    Args:
        images: the store.
        rows: (N,) row numbers in the store.
        keys: (N,) 64-bit numbers of the images, see `image_keys`.
        batch_size: most images in a batch; the batches of an epoch differ by at most one image. Shuffled ones have
            at least two, so that of an odd number of images in twos, one has three.
        policy: augmentation, or None.
        shuffle: a new order each epoch, or the order of the rows.
        copies: augmented copies appended to the rows; the originals then stay as they are.
        seed: with the epoch and the image's key, all that the randomness depends on.
        workers: processes; 0 works in this one. The batches are the same.
        pin: page-locked memory, for copies to a GPU that do not block.
    """

    def __init__(
        self,
        images: Images,
        rows: NDArray[np.int64],
        keys: NDArray[np.uint64],
        batch_size: int,
        *,
        policy: Policy | None = None,
        shuffle: bool = False,
        copies: int = 0,
        seed: int = 0,
        workers: int = 0,
        pin: bool = False,
    ) -> None:
        self.size = len(rows) * (1 + copies)
        most = self.size // 2 if shuffle else self.size  # batch norm learns nothing from a picture alone
        self.batches_per_epoch = max(1, min(-(-self.size // batch_size), most))
        self._shuffle, self._seed, self._workers = shuffle, seed, workers
        self._tasks: list[Task] = []  # what the workers walk through, exchanged before each epoch
        plain = len(rows) if copies else 0
        self._batches = _Batches(images, rows, keys, policy, seed, plain)
        if not workers:
            cv2.setNumThreads(0)  # the network needs the cores
            return
        self._loader = DataLoader(
            self._batches,
            batch_size=None,
            sampler=self._tasks,
            num_workers=workers,
            worker_init_fn=_start_worker,
            persistent_workers=True,
            pin_memory=pin,
        )

    def epoch(self, epoch: int = 0, first_batch: int = 0) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield (pictures, positions): (B, H, W, 3) uint8 and (B,) int64; position p is row ``p % N``."""
        order = np.arange(self.size)
        if self._shuffle:
            order = np.random.default_rng(counted_seed(self._seed, "order", epoch)).permutation(self.size)
        batches = np.array_split(order, self.batches_per_epoch)[first_batch:]
        if self._workers:
            self._tasks[:] = [(epoch, batch) for batch in batches]
            yield from self._loader
        else:
            for batch in batches:
                yield self._batches[epoch, batch]
