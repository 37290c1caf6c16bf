"""What is trained on: the labelled images, decoded, and the fold table that deals them.

Opened once per image size: one run needs it once, the trials of a study share it.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from competition.config import TrainSettings
from competition.data.catalog import Catalog
from competition.data.loader import image_keys
from competition.data.prepare import PreparedImages, data_name, fingerprint, prepare_images
from competition.errors import UserError, counted, first_few
from competition.folds import ANOTHER, FOLDER, fold_columns, load_folds, make_folds, save_folds, straddling
from competition.predictions import class_numbers
from competition.runs import hash_file, read_run
from competition.training.inputs import TrainingData


@dataclass(frozen=True)
class Material:
    """Labelled images, decoded, and their folds.

    Attributes:
        images: everything that was decoded, for the validation split that ``--holdout`` keeps out.
        data: the labelled images as arrays, N of them.
        folds: the fold table in the order of the images.
        fold_file: where the fold table is.
        images_hash: 16 hex digits of ids, labels and contents.
        fold_hash: 16 hex digits of the fold table.
    """

    images: PreparedImages
    data: TrainingData
    folds: pd.DataFrame
    fold_file: Path
    images_hash: str
    fold_hash: str

    @property
    def places(self) -> dict[str, str]:
        """Where all this is found again, whatever the working directory; the fold table's place is as it was given."""
        return {**self.images.catalog.places, "fold_file": str(self.fold_file)}


def open_material(settings: TrainSettings, catalog: Catalog, image_size: int) -> Material:
    """Decode and check the images, and open the fold table or make it; raises UserError for what does not fit."""
    are_dealt = fold_path(settings).exists()
    images = prepare_images(settings, catalog, image_size, settings.resize, settings.folds, are_dealt)
    table = images.of("train") if settings.holdout else images.labelled()
    if settings.holdout:
        refuse_unusable_holdout(set(images.of("val")["label"]), set(table["label"]))
    path, folds = open_folds(settings, images, table)
    images_hash = fingerprint(table, images.store.facts)
    return Material(images, training_data(images, table), folds, path, images_hash, hash_file(path))


def unlike_folds(run: Path, material: Material) -> list[str]:
    """Return what is wrong with an earlier run whose fold k must not have seen what fold k is scored on."""
    identity = read_run(run)["identity"]
    if identity.get("fold_hash") == material.fold_hash and identity.get("images_hash") == material.images_hash:
        return []
    return [
        "it was trained on other folds or images, so its fold k has seen what fold k is scored on: "
        f"train it with --fold-file {material.fold_file}"
    ]


def refuse_unusable_holdout(held_out: set[str], trained: set[str]) -> None:
    """Raise UserError where ``--holdout`` has nothing to keep out, or classes that the folds would never see."""
    if not held_out:
        raise UserError("--holdout: the data has no validation split to keep out")
    unknown = sorted(held_out - trained)
    if unknown:
        raise UserError(f"--holdout: classes only the validation split has cannot be scored: {first_few(unknown)}")


def open_folds(settings: TrainSettings, images: PreparedImages, table: pd.DataFrame) -> tuple[Path, pd.DataFrame]:
    """Return the fold table of ``--fold-file``; it is made on first use and from then on only read.

    Raises:
        UserError: a table that does not fit the images, or that parts a group.
    """
    path = fold_path(settings)
    ids, labels = table["image_id"].tolist(), table["label"].tolist()
    is_new = not path.exists() and (settings.fold_file is None or path.parent == FOLDER)
    if is_new:
        save_folds(path, make_folds(ids, labels, images.groups(table), settings.folds, settings.repeats, settings.seed))
        print(f"folds: {path} made; every later run on these images reads it")
    folds = load_folds(path, ids, labels, settings.folds, settings.repeats)
    if not is_new:
        _check_groups(path, folds, settings, images, table)
    _warn_of_unseen(path, folds, settings.repeats, table["label"])
    return path, folds


def _warn_of_unseen(path: Path, folds: pd.DataFrame, repeats: int, labels: pd.Series) -> None:
    """Say so where a fold holds out the whole of a class: its network cannot know that class."""
    spread = folds[fold_columns(folds)[:repeats]].groupby(labels.to_numpy()).nunique()
    unseen = spread.index[(spread == 1).any(axis=1)]
    if len(unseen):
        print(
            f"warning: {path} puts all images of a class into one fold, whose network learns from none of them, so its "
            f"F1 will {'be 0' if repeats == 1 else 'suffer'}: {first_few(unseen)}",
            flush=True,
        )


def _check_groups(
    path: Path, folds: pd.DataFrame, settings: TrainSettings, images: PreparedImages, table: pd.DataFrame
) -> None:
    """A table may be older than ``--group-column``, or made by hand: it must keep groups whole as a new one does."""
    parted = table["group"][straddling(folds, table["group"], settings.repeats)].unique()
    if len(parted):
        raise UserError(
            f"{path} puts images of one group into different folds, so the score would be flattered: "
            f"{counted(len(parted), 'group')} of {images.catalog.grouped_by}: {first_few(parted)}\n"
            f"{ANOTHER}; --group-column none takes no groups"
        )
    twins = table["image_id"][straddling(folds, pd.Series(images.groups(table)), settings.repeats)]
    if len(twins):
        print(
            f"warning: {path} puts duplicates or near duplicates into different folds, so the score is flattered: "
            f"{counted(len(twins), 'image')}: {first_few(twins)}",
            flush=True,
        )


def fold_path(settings: TrainSettings) -> Path:
    """Return where the fold table is: a path, a name under folds/, or a name made from data and folds."""
    if (given := settings.fold_file) is not None:
        is_path = "/" in given or given.lower().endswith(".csv") or Path(given).is_file()
        return Path(given) if is_path else FOLDER / f"{given}.csv"
    extras = ("-holdout" if settings.holdout else "") + (f"-x{settings.repeats}" if settings.repeats > 1 else "")
    return FOLDER / f"{data_name(settings)}-{settings.folds}{extras}-seed{settings.seed}.csv"


def training_data(images: PreparedImages, table: pd.DataFrame) -> TrainingData:
    """Return the labelled rows as arrays."""
    names = sorted(set(table["label"]))
    ids = table["image_id"].tolist()
    return TrainingData(
        image_ids=np.asarray(ids, dtype=np.str_),
        labels=class_numbers(table["label"], names),
        class_names=tuple(names),
        keys=image_keys(ids),
        rows=table["row"].to_numpy(np.int64),
        images=images.store,
    )
