"""Three trainings on the same folds: on real images, on generated ones, and on both; all predict real images alone."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config import TrainSettings
from competition.data.catalog import Catalog
from competition.data.loader import Images, image_keys
from competition.data.prepare import decode, fingerprint
from competition.errors import UserError, counted, did_you_mean, first_few
from competition.folds import held_out
from competition.inference import Preprocessing
from competition.predictions import class_numbers
from competition.runs import counted_seed
from competition.training.inputs import FoldJob, Machine, SoftLabelled, TrainingData
from competition.training.material import Material
from competition.training.rates import automatic_batch_size

ARMS = ("real", "generated", "both")


@dataclass(frozen=True)
class JoinedImages:
    """Two stores as one: the rows of the second follow those of the first.

    Attributes:
        first, second: the stores, of one image size.
        boundary: how many rows the first has.
    """

    first: Images
    second: Images
    boundary: int

    def gather(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return pictures. (B,) row numbers -> (B, H, W, 3) uint8."""
        is_first = rows < self.boundary
        if is_first.all():
            return self.first.gather(rows)
        if not is_first.any():
            return self.second.gather(rows - self.boundary)
        ours, theirs = self.first.gather(rows[is_first]), self.second.gather(rows[~is_first] - self.boundary)
        pictures = np.empty((len(rows), *ours.shape[1:]), np.uint8)
        pictures[is_first], pictures[~is_first] = ours, theirs
        return pictures


@dataclass(frozen=True)
class Generated:
    """Generated images, decoded.

    Attributes:
        labels: (M,) class numbers of the real data.
        keys: (M,) 64-bit numbers that depend on the ids alone.
        rows: (M,) row of each in the store.
        store: the pixels.
        fingerprint: changes with any name, label or content.
        copies: how many are, pixel for pixel, images of the real data.
    """

    labels: NDArray[np.int64]
    keys: NDArray[np.uint64]
    rows: NDArray[np.int64]
    store: Images
    fingerprint: str
    copies: int


@dataclass(frozen=True)
class Contest:
    """What the trainings share.

    Attributes:
        folder: what is written lies below it, a folder per training.
        settings: of every classifier: with the same steps and batch size, whatever it is trained on.
        data: the real images, in a store that the generated ones follow.
        folds: the fold table in their order.
        generated: the generated images.
        preprocessing: what every checkpoint stores.
        machine: how they are trained.
    """

    folder: Path
    settings: TrainSettings
    data: TrainingData
    folds: pd.DataFrame
    generated: SoftLabelled
    preprocessing: Preprocessing
    machine: Machine

    def job(self, arm: str, fold: int) -> FoldJob:
        """Return one fold of ``real``, ``generated`` or ``both``; all three hold out the same real images."""
        rows, data = held_out(self.folds, fold, self.settings.folds), self.data
        if arm == "generated":
            data, rows = _some(data, np.flatnonzero(rows)), np.ones(int(rows.sum()), dtype=bool)
        soft = None if arm == "real" else self.generated
        folder = self.folder / arm / f"fold_{fold}"
        return FoldJob(self.settings, data, rows, fold, folder, self.preprocessing, self.machine, soft)


def _some(data: TrainingData, rows: NDArray[np.intp]) -> TrainingData:
    return dataclasses.replace(
        data, image_ids=data.image_ids[rows], labels=data.labels[rows], keys=data.keys[rows], rows=data.rows[rows]
    )


def open_generated(
    path: Path, catalog: Catalog, settings: TrainSettings, per_class: int | None, material: Material
) -> Generated:
    """Decode the generated images of a catalog as the real ones are; ``path`` is its name in messages.

    Raises:
        UserError: classes that the real data does not have, or images that cannot be read.
    """
    names = material.data.class_names
    _refuse_unknown_classes(path, catalog, names)
    store = decode(settings, catalog, material.images.image_size, settings.resize)
    table = catalog.table.assign(row=np.arange(len(catalog.table)))
    table = table[table["split"] != "test"]
    errors = store.facts["error"].to_numpy()[table["row"]]
    bad = [f"{name} ({error})" for name, error in zip(table["image_id"], errors, strict=True) if error]
    if bad and settings.on_bad == "fail":
        raise UserError(f"{path}: {counted(len(bad), 'image')} cannot be read: {first_few(bad)}")
    table = table[errors == ""]
    if per_class is not None:
        order = np.argsort([counted_seed(settings.seed, "judge", name) for name in table["image_id"]])
        table = table.iloc[order].groupby("label", sort=False).head(per_class)
    return Generated(
        labels=class_numbers(table["label"], names),
        # A generated image may be named like a real one, and is another image.
        keys=image_keys([f"generated/{name}" for name in table["image_id"]]),
        rows=table["row"].to_numpy(np.int64),
        store=store,
        fingerprint=fingerprint(table, store.facts),
        copies=int(store.facts["pixel_hash"].iloc[table["row"]].isin(material.images.store.facts["pixel_hash"]).sum()),
    )


def _refuse_unknown_classes(path: Path, catalog: Catalog, names: tuple[str, ...]) -> None:
    unknown = [f"{name!r}{did_you_mean(name, names)}" for name in catalog.class_names if name not in names]
    if unknown:
        raise UserError(
            f"{path} has classes that the real images do not have: {first_few(unknown)}; those have {first_few(names)}"
        )


def join(
    folder: Path,
    settings: TrainSettings,
    material: Material,
    generated: Generated,
    preprocessing: Preprocessing,
    machine: Machine,
) -> Contest:
    """Put both kinds of images behind one store, and settle one budget for all trainings."""
    data, boundary = material.data, len(material.images.store)
    one_hot = np.eye(len(data.class_names), dtype=np.float32)[generated.labels]
    joined = JoinedImages(data.images, generated.store, boundary)
    trained = int((~held_out(material.folds, 0, settings.folds)).sum())
    batch_size = automatic_batch_size(trained)
    settings = settings.replace(
        batch_size=batch_size,
        steps=settings.epochs * -(-trained // batch_size),
        validate_every=settings.epochs * 1000,  # the last epoch's validation is the only one that is looked at
    )
    soft = SoftLabelled(generated.rows + boundary, generated.keys, one_hot)
    return Contest(
        folder, settings, dataclasses.replace(data, images=joined), material.folds, soft, preprocessing, machine
    )
