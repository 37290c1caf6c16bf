"""What a fold is a pure function of: the decoded labelled images, the settings, and how the network runs."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from competition.config import TrainSettings
from competition.data.augment import create_policy
from competition.data.loader import Images, Loader
from competition.inference import Preprocessing
from competition.precision import Precision
from competition.runs import counted_seed
from competition.training.rates import automatic_batch_size


@dataclass(frozen=True)
class TrainingData:
    """The labelled images of a run, decoded.

    Attributes:
        image_ids: (N,) names.
        labels: (N,) class numbers.
        class_names: K names.
        keys: (N,) 64-bit numbers that depend on the ids alone.
        rows: (N,) row of each image in the store.
        images: the store.
    """

    image_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    keys: NDArray[np.uint64]
    rows: NDArray[np.int64]
    images: Images

    def loader(self, which: NDArray[np.intp], batch_size: int) -> Loader:
        """Return batches of some of the images as they are, in this order."""
        return Loader(self.images, self.rows[which], self.keys[which], batch_size)


@dataclass(frozen=True)
class SoftLabelled:
    """Images with a teacher's probabilities in place of a label.

    Attributes:
        rows: (M,) row of each image in the store of the labelled ones.
        keys: (M,) as in `TrainingData`.
        probabilities: (M, K) float32, rows sum to 1.
    """

    rows: NDArray[np.int64]
    keys: NDArray[np.uint64]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class Machine:
    """Where and how the network runs: the same for every fold of a run."""

    device: torch.device
    precision: Precision
    workers: int


@dataclass(frozen=True)
class FoldJob:
    """One fold to train.

    Attributes:
        settings: what to train.
        data: all labelled images of the run, N of them.
        held_out: (N,) which of them this fold predicts.
        fold: number of the fold.
        folder: the fold's own folder; nothing outside it is written.
        preprocessing: stored with the checkpoint.
        machine: device, precision, workers.
        soft: further images to train on, with soft labels.
    """

    settings: TrainSettings
    data: TrainingData
    held_out: NDArray[np.bool_]
    fold: int
    folder: Path
    preprocessing: Preprocessing
    machine: Machine
    soft: SoftLabelled | None = None

    @property
    def batch_size(self) -> int:
        """Images per optimisation step."""
        images = len(self.train_rows) + (len(self.soft.rows) if self.soft else 0)
        return self.settings.batch_size or automatic_batch_size(images * (1 + self.settings.copies))

    def training_loader(self) -> Loader:
        """Return batches of what is trained on, shuffled and augmented; positions count as in `targets`."""
        rows, keys = self.data.rows[self.train_rows], self.data.keys[self.train_rows]
        if self.soft is not None:
            rows, keys = np.concatenate([rows, self.soft.rows]), np.concatenate([keys, self.soft.keys])
        return Loader(
            self.data.images,
            rows,
            keys,
            self.batch_size,
            policy=create_policy(self.settings.augment, self.preprocessing.image_size),
            shuffle=True,
            copies=self.settings.copies,
            seed=self.seed,
            workers=self.machine.workers,
            pin=self.machine.device.type == "cuda",
        )

    def targets(self) -> NDArray[np.int64] | NDArray[np.float32]:
        """Return what is learnt: (T,) class numbers or, with soft labels among them, (T, K) probabilities."""
        labels = self.data.labels[self.train_rows]
        if self.soft is None:
            return labels
        one_hot = np.eye(len(self.data.class_names), dtype=np.float32)[labels]
        return np.concatenate([one_hot, self.soft.probabilities])

    @cached_property
    def seed(self) -> int:
        """All that the fold's randomness depends on, with epoch, step and image."""
        return counted_seed(self.settings.seed, "fold", self.fold)

    @cached_property
    def train_rows(self) -> NDArray[np.intp]:
        """Positions in ``data`` to train on."""
        rows, share = np.flatnonzero(~self.held_out), self.settings.train_share
        if share is None:
            return rows
        return stratified_share(rows, self.data.labels[rows], self.data.keys[rows], share, self.settings.seed)

    @cached_property
    def valid_rows(self) -> NDArray[np.intp]:
        """Positions in ``data`` to predict."""
        return np.flatnonzero(self.held_out)


def stratified_share(
    rows: NDArray[np.intp], labels: NDArray[np.int64], keys: NDArray[np.uint64], share: float, seed: int
) -> NDArray[np.intp]:
    """Return a share of the rows of each class, at least one, in their order.

    Which ones depends on seed and keys alone, so folds and a smaller share choose among the same images.
    """
    drawn = np.array([counted_seed(seed, "share", int(key)) for key in keys], dtype=np.uint64)
    kept = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        kept.append(members[np.argsort(drawn[members])][: max(1, round(share * len(members)))])
    return rows[np.sort(np.concatenate(kept))]
