"""The two sides of a measurement: where images come from, which of them are looked at, and their decoded pixels."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config import DATA_FLAGS, DataSettings
from competition.data.archive import is_image, is_table, list_files
from competition.data.cache import ImageStore
from competition.data.catalog import Catalog, open_catalog
from competition.data.decode import Resize
from competition.data.prepare import decode, find_data, natural_size
from competition.errors import UserError, counted, first_few
from competition.generative.checkpoint import DESCRIPTION, read_generator
from competition.generative.measure_settings import MeasureSettings
from competition.generative.run import HELD_OUT, find_settings
from competition.runs import counted_seed, read_json


@dataclass(frozen=True)
class ImageSet:
    """Images that can be measured.

    Attributes:
        name: what they are, for messages.
        catalog: its table has at least image_id, path and label (None where there is none).
        rows: (N,) which rows of the table are meant; the others are decoded with them, as a training does.
        is_strict: whether unreadable images are refused; a run's own are not where its training left them out.
    """

    name: str
    catalog: Catalog
    rows: NDArray[np.intp]
    is_strict: bool = True


@dataclass(frozen=True)
class Decoded:
    """Images with their pixels.

    Attributes:
        name: as in `ImageSet`.
        image_ids: (N,) names.
        labels: (N,) class names; empty where there is none.
        rows: (N,) row of each in the store.
        store: the pixels.
        contents: N hashes of the files.
    """

    name: str
    image_ids: NDArray[np.str_]
    labels: NDArray[np.str_]
    rows: NDArray[np.int64]
    store: ImageStore
    contents: list[int]

    def of_class(self, name: str) -> NDArray[np.intp]:
        """Return the positions of a class."""
        return np.flatnonzero(self.labels == name)

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, positions: NDArray[np.intp]) -> "Decoded":
        """Return some of the images."""
        contents = [self.contents[position] for position in positions]
        return Decoded(
            self.name, self.image_ids[positions], self.labels[positions], self.rows[positions], self.store, contents
        )

    def gather(self, positions: Iterable[int]) -> NDArray[np.uint8]:
        """Return pictures. -> (B, S, S, 3) uint8."""
        return self.store.gather(self.rows[np.fromiter(positions, dtype=np.int64)])


def is_run(path: Path) -> bool:
    """Return whether a folder is a run of ``generate train``."""
    return (path / DESCRIPTION).exists() and (path / "run.json").exists()


def resize_of(*places: Path | None) -> Resize:
    """Return how pictures became squares for the first of these that is a run; squash where none is."""
    run = next((place for place in places if place and is_run(place)), None)
    return read_generator(run).resize if run else "squash"


def beside(path: Path, word: str) -> Path:
    """Return where results about images go by themselves: FOLDER-word, beside the folder or zip."""
    whole = path.resolve()
    return whole.with_name(f"{whole.name.removesuffix('.zip')}-{word}")


def open_set(path: Path, splits: Collection[str] = ("train", "val")) -> ImageSet:
    """Return the labelled images of a folder or zip in some splits, or all of its images where these have none.

    Raises:
        UserError: nothing there, or no images.
    """
    try:
        catalog = open_catalog(path)
    except UserError:
        catalog = _unlabelled(path)  # one class or none is no data for a classifier, but can be measured
    is_labelled = catalog.table["split"].isin(splits).to_numpy()
    rows = np.flatnonzero(is_labelled) if is_labelled.any() else np.arange(len(catalog.table))
    return ImageSet(str(path), catalog, rows)


def _unlabelled(path: Path) -> Catalog:
    """Return every image below a folder; the class is the folder it lies in, where it lies in one."""
    files = list_files(path.absolute())
    tables = [name for name in files if is_table(name) and Path(name).name != "manifest.csv"]
    images = {name: place for name, place in files.items() if is_image(name)}
    if tables or not images:
        return open_catalog(path)  # says what is wrong
    labels = [Path(name).parent.name or None for name in images]
    columns = {"image_id": list(images), "path": list(images.values()), "label": labels, "split": "train"}
    table = pd.DataFrame(columns, dtype=object)
    return Catalog(table, path.absolute(), "images", "image_id", "label", None, [])


def run_images(folder: Path, held_out: bool, data: Path | None = None) -> ImageSet:
    """Return the images that a run kept out of its training, or those it was trained on; ``data`` is where they are.

    Raises:
        UserError: it kept none out, or its data is gone.
    """
    settings, run = find_settings(folder, data), read_json(folder / "run.json")
    catalog = find_data(settings, fewest_classes=1)
    table = catalog.table
    kept_out = held_out_ids(folder)
    if held_out and not kept_out:
        raise UserError(
            f"{folder} kept no images out of its training (--hold-out 0): name real images with --against FOLDER"
        )
    is_own = table["label"].isin(run["identity"]["class_names"]) & table["split"].isin(settings.splits)
    rows = np.flatnonzero(is_own & (table["image_id"].isin(kept_out) == held_out))
    name = f"images {'held out of' if held_out else 'that trained'} {folder}"
    return ImageSet(name, catalog, rows, settings.is_strict)


def data_of(run: Path, settings: DataSettings) -> dict[str, Any]:
    """Return where the images of a run lay in its training and how they were read, where the settings do not say."""
    own = find_settings(run, settings.data)
    return {name: getattr(settings, name) or getattr(own, name) for name in DATA_FLAGS}


def held_out_ids(folder: Path) -> list[str]:
    """Return the ids of the images that a run kept out of its training."""
    lines = (folder / HELD_OUT).read_text(encoding="utf-8").split("\n")
    return [line for line in lines[1:] if line]


def chosen(images: Decoded, most: int, per_class: int | None, seed: int) -> Decoded:
    """Return at most so many images, and of each class; which ones is a matter of their names alone."""
    order = _drawn_order(images, seed, "measure")
    if per_class is not None:
        order = order[_rank_in_class(images.labels[order]) < per_class]
    return images.take(np.sort(order[:most]))


def drawn_of_class(images: Decoded, name: str, count: int, seed: int) -> NDArray[np.intp]:
    """Return the positions of so many images of a class; which ones is a matter of their names alone."""
    order = _drawn_order(images, seed, "classes")
    return np.sort(order[images.labels[order] == name][:count])


def halves(images: Decoded, seed: int) -> tuple[Decoded, Decoded]:
    """Deal images into two halves, class by class: a set measured against itself, the floor of the metric."""
    order = _drawn_order(images, seed, "halves")
    is_first = _rank_in_class(images.labels[order]) % 2 == 0
    return images.take(np.sort(order[is_first])), images.take(np.sort(order[~is_first]))


def same_classes(one: Decoded, other: Decoded) -> tuple[Decoded, Decoded, list[str]]:
    """Return what two labelled sets have of the classes they share, and a note where one has more; else both whole."""
    kept, notes = of_classes(one, set(other.labels))
    return kept, of_classes(other, set(one.labels))[0], notes


def of_classes(images: Decoded, names: Collection[str]) -> tuple[Decoded, list[str]]:
    """Return what a set has of some classes, and a note where either has more; the whole set where they share none."""
    first, second = set(images.labels), set(names)
    shared = first & second
    if first == second or "" in first | second:
        return images, []
    if not shared:
        return images, ["no class is in common: the whole sets are compared, whatever they show"]
    kept = images.take(np.flatnonzero(np.isin(images.labels, sorted(shared))))
    return kept, [f"classes that only one side has are left out: {first_few(sorted(first ^ second))}"]


def _drawn_order(images: Decoded, seed: int, purpose: str) -> NDArray[np.intp]:
    keys = np.array([counted_seed(seed, purpose, name) for name in images.image_ids], dtype=np.uint64)
    return np.argsort(keys, kind="stable")


def _rank_in_class(labels: NDArray[np.str_]) -> NDArray[np.int64]:
    """Number the images within their class, in their order. (N,) -> (N,)."""
    return pd.Series(labels).groupby(labels, sort=False).cumcount().to_numpy().astype(np.int64)


def common_side(sets: list[ImageSet], largest: int) -> int:
    """Return the side at which sets are compared: the smallest of their own sides, at most ``largest`` px."""
    return min(natural_size(one.catalog, largest) for one in sets)


def decode_set(images: ImageSet, side: int, settings: MeasureSettings) -> Decoded:
    """Decode a set, from the cache where it has it.

    Raises:
        UserError: images that cannot be read, unless ``--on-bad skip`` was given here or in the set's own training.
    """
    table = images.catalog.table
    store = decode(settings, images.catalog, side, settings.resize or "squash")
    names, errors = table["image_id"].to_numpy(), store.facts["error"].to_numpy()
    bad = [f"{names[row]} ({errors[row]})" for row in images.rows if errors[row]]
    if bad and images.is_strict and settings.on_bad == "fail":
        raise UserError(
            f"{images.name}: {counted(len(bad), 'image')} cannot be read: {first_few(bad)}: mend them, or leave them "
            "out with --on-bad skip"
        )
    rows = images.rows[errors[images.rows] == ""]
    return Decoded(
        name=images.name,
        image_ids=names[rows].astype(np.str_),
        labels=np.array([label or "" for label in table["label"].to_numpy()[rows]], dtype=np.str_),
        rows=rows.astype(np.int64),
        store=store,
        contents=store.facts["content_hash"].to_numpy()[rows].tolist(),
    )


def size_notes(images: Decoded) -> list[str]:
    """Return a note where the images are not all squares of the compared side."""
    side = images.store.shape[1]
    facts = images.store.facts.iloc[images.rows]
    sizes = Counter(zip(facts["width"].tolist(), facts["height"].tolist(), strict=True))
    if set(sizes) == {(side, side)}:
        return []
    shown = [f"{width}x{height} ({count:,})" for (width, height), count in sizes.most_common()]
    return [f"{images.name}: images of {first_few(shown, 3)} px are compared at {side}x{side}"]
