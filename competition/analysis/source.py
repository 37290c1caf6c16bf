"""A finished run opened for reading: predictions, pictures and networks, joined by image id."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from competition.checkpoint import Checkpoint, open_checkpoint
from competition.config import DataSettings
from competition.data.cache import ImageStore
from competition.data.catalog import Catalog
from competition.data.prepare import decode, find_data
from competition.errors import UserError, counted, first_few
from competition.prediction.members import Member, data_of, open_members
from competition.predictions import Predictions


@dataclass(frozen=True)
class Source:
    """A run, its data and its pooled out-of-fold predictions; nothing of it is written.

    Attributes:
        member: the run folder, its settings and its finished folds.
        predictions: N out-of-fold predictions with labels and folds.
        catalog: the data it was trained on.
        store: every decoded picture of the catalog, at the size the networks see.
        rows: (N,) row in the store of each prediction.
        device: where networks run.
        _networks: those that were opened, by fold, since every part of the page asks for them again.
    """

    member: Member
    predictions: Predictions
    catalog: Catalog
    store: ImageStore
    rows: NDArray[np.int64]
    device: torch.device
    _networks: dict[int, tuple[nn.Module, Checkpoint]] = field(default_factory=dict, init=False)

    @property
    def folder(self) -> Path:
        """``runs/NAME``."""
        return self.member.folder

    @property
    def class_names(self) -> tuple[str, ...]:
        """K names, in the order of the probabilities."""
        return self.predictions.class_names

    @property
    def labels(self) -> NDArray[np.int64]:
        """(N,) class numbers."""
        assert self.predictions.labels is not None
        return self.predictions.labels

    @property
    def folds(self) -> NDArray[np.int64]:
        """(N,) the fold that held each image out; with repeats, that of the first."""
        assert self.predictions.folds is not None
        return self.predictions.folds

    @cached_property
    def fold_folders(self) -> dict[int, Path]:
        """Finished folds by number."""
        return {int(path.name.removeprefix("fold_")): path for path in self.member.fold_folders}

    def folds_with_weights(self) -> list[int]:
        """Return the folds whose network can be opened."""
        return [fold for fold, path in self.fold_folders.items() if (path / "model.safetensors").exists()]

    def open_network(self, fold: int) -> tuple[nn.Module, Checkpoint]:
        """Return the network of a fold, float32 in eval mode; raises UserError where its weights are gone."""
        if fold not in self.fold_folders:
            raise UserError(f"{self.folder} has no finished fold {fold}; finished: {first_few(self.fold_folders, 10)}")
        if fold not in self.folds_with_weights():
            raise UserError(
                f"{self.fold_folders[fold]} has no weights (model.safetensors): they were deleted, or "
                "it is a trial tuned without --keep-weights"
            )
        if fold not in self._networks:
            network, checkpoint = open_checkpoint(self.fold_folders[fold])
            self._networks[fold] = network.requires_grad_(False).to(self.device), checkpoint
        return self._networks[fold]

    def pictures(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return decoded pictures by store row. -> (B, S, S, 3) RGB."""
        return self.store.gather(rows)


def open_source(settings: DataSettings, folder: str, device: torch.device) -> Source:
    """Open a run; its data is found where it was, or where ``--data`` says.

    Raises:
        UserError: no run, no finished fold, no data there, or images that are missing from it.
    """
    (member, *others) = open_members([folder], allow_partial=True)
    if others:
        raise UserError(f"{folder} is a study of {len(others) + 1} trials: name one, such as {member.folder}")
    settings = data_of(settings, member)
    catalog = find_data(settings)
    predictions = member.out_of_fold()
    store = decode(settings, catalog, member.image_size, member.resize)
    rows = _rows_of(predictions.image_ids.tolist(), catalog)
    return Source(member, predictions, catalog, store, rows, device)


def _rows_of(image_ids: Sequence[str], catalog: Catalog) -> NDArray[np.int64]:
    """Return the row in the catalog's table of each labelled image."""
    table = catalog.table
    labelled = np.flatnonzero((table["split"] != "test").to_numpy())
    place = pd.Series(labelled, index=table["image_id"].to_numpy()[labelled])
    missing = sorted(set(image_ids) - set(place.index))
    if missing:
        raise UserError(
            f"{catalog.source} lacks {counted(len(missing), 'image')} that the run was trained on: "
            f"{first_few(missing)}; name the right place with --data"
        )
    return place.loc[list(image_ids)].to_numpy(np.int64)
