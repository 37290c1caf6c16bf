"""The real pictures a model learns from: catalog and cache -> classes, labels, rows, batches."""

import dataclasses
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from competition.data.catalog import Catalog
from competition.data.checks import duplicate_groups
from competition.data.loader import Images, Loader, image_keys
from competition.data.prepare import decode, find_data, fingerprint, natural_size, report_problems
from competition.errors import UserError, counted, did_you_mean, first_few
from competition.generative.settings import GenerateSettings
from competition.predictions import class_numbers
from competition.runs import counted_seed

FEWEST_IMAGES = 16  # in all; fewer teach a model nothing but themselves
FEWEST_PER_CLASS = 2
SIZES = (32, 64)  # of ``--image-size auto``


@dataclass(frozen=True)
class Pictures:
    """Labelled images, decoded.

    Attributes:
        image_ids: (N,) names.
        labels: (N,) class numbers.
        class_names: K names.
        rows: (N,) row of each image in the store.
        images: the store.
        image_size: side, in pixels.
        held_out: names of the images that were kept out.
        unlearned: how many images of the classes the validation split has, where it is not learned from.
        places: where they are found again, see `Catalog.places`.
        fingerprint: changes with any name, label or content.
    """

    image_ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    class_names: tuple[str, ...]
    rows: NDArray[np.int64]
    images: Images
    image_size: int
    held_out: list[str]
    unlearned: int
    places: dict[str, str]
    fingerprint: str

    def loader(self, batch_size: int, seed: int) -> Loader:
        """Return shuffled batches of all pictures."""
        keys = image_keys(self.image_ids.tolist())
        return Loader(self.images, self.rows, keys, batch_size, shuffle=True, seed=seed)

    def some(self, count: int) -> NDArray[np.intp]:
        """Return positions of up to ``count`` pictures, spread evenly."""
        return np.unique(np.linspace(0, len(self.labels) - 1, min(count, len(self.labels))).astype(np.intp))

    def of_class(self, label: int, most: int | None = None) -> NDArray[np.intp]:
        """Return the positions of a class's pictures, or of at most so many of them, spread evenly."""
        own = np.flatnonzero(self.labels == label)
        return own if most is None else own[np.linspace(0, len(own) - 1, min(most, len(own))).astype(np.intp)]

    def gather(self, positions: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Return pictures. (B,) positions -> (B, S, S, 3) uint8."""
        return self.images.gather(self.rows[positions])


def to_input(pictures: Tensor, device: torch.device, memory_format: torch.memory_format) -> Tensor:
    """Scale to [-1, 1]. (B, S, S, 3) uint8 -> (B, 3, S, S) float32 on the device."""
    # The bytes travel, not the floats; the permuted view is already channels_last.
    images = pictures.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32)
    return images.div_(127.5).sub_(1.0).contiguous(memory_format=memory_format)


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Return bytes. (B, 3, S, S) in [-1, 1], clipped -> (B, S, S, 3) uint8."""
    pixels = images.float().clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()


def load_pictures(settings: GenerateSettings, image_size: int | None = None) -> Pictures:
    """Find, decode and select the pictures that the settings name.

    Raises:
        UserError: a class that does not exist, unreadable images, or too few pictures.
    """
    catalog = find_data(settings, fewest_classes=1)
    bad = report_problems(settings, catalog, catalog.problems)
    names = chosen_classes(settings.classes, catalog, settings.splits)
    if settings.classes != "all":  # all classes share the cache of `train.py`; a few are decoded by themselves
        catalog = dataclasses.replace(catalog, table=catalog.table[catalog.table["label"].isin(names)])
    size = image_size or settings.image_size or min(SIZES, key=lambda side: abs(side - natural_size(catalog)))
    store = decode(settings, catalog, size, settings.resize)
    table = catalog.table.assign(row=np.arange(len(catalog.table)))
    is_learned = table["split"].isin(settings.splits)
    unlearned = int(((table["split"] == "val") & table["label"].isin(names) & ~is_learned).sum())
    table = table[is_learned & table["label"].isin(names) & ~table["image_id"].isin(bad)]
    table = _readable(table, store.facts, settings)
    is_held_out = _held_out(table, store.facts, settings.hold_out)
    held_out, table = table.loc[is_held_out, "image_id"].tolist(), table[~is_held_out].reset_index(drop=True)
    _refuse_too_few(table["label"].tolist(), names)
    _say_sizes(store.facts.iloc[table["row"]], size, settings.resize)
    return Pictures(
        image_ids=np.asarray(table["image_id"].tolist(), dtype=np.str_),
        labels=class_numbers(table["label"], names),
        class_names=tuple(names),
        rows=table["row"].to_numpy(np.int64),
        images=store,
        image_size=size,
        held_out=held_out,
        unlearned=unlearned,
        places=catalog.places,
        fingerprint=fingerprint(table, store.facts),
    )


def chosen_classes(text: str, catalog: Catalog, splits: Sequence[str]) -> list[str]:
    """Return the sorted classes that ``--classes`` names; raises UserError for those that do not exist."""
    known = sorted({label for split in splits for label in catalog.of(split)["label"]})
    if text == "all":
        return known
    wanted = named_classes(text, known)
    unknown = [f"{name!r}{did_you_mean(name, known)}" for name in wanted if name not in known]
    if unknown or not wanted:
        raise UserError(
            f"--classes {text}: {catalog.source} has no class {', '.join(unknown) or 'of that name'}; "
            f"it has {first_few(known, 20)}"
        )
    return sorted(set(wanted))


def named_classes(text: str, known: Collection[str]) -> list[str]:
    """Return the names between commas; a known name may hold some itself: ``"red, hot,blue"``."""
    parts, names = text.split(","), []
    while parts:
        lengths = (length for length in range(len(parts), 0, -1) if ",".join(parts[:length]).strip() in known)
        length = next(lengths, 1)
        names.append(",".join(parts[:length]).strip())
        parts = parts[length:]
    return [name for name in names if name]


def _readable(table: pd.DataFrame, facts: pd.DataFrame, settings: GenerateSettings) -> pd.DataFrame:
    errors = facts["error"].to_numpy()[table["row"]]
    bad = [f"{name} ({error})" for name, error in zip(table["image_id"], errors, strict=True) if error]
    if bad and settings.is_strict:
        raise UserError(
            f"{counted(len(bad), 'image')} cannot be read: {first_few(bad)}: mend them, or leave them out with "
            "--on-bad skip"
        )
    if bad:
        print(f"left out, unreadable: {first_few(bad)}", flush=True)
    return table[errors == ""]


def _held_out(table: pd.DataFrame, facts: pd.DataFrame, share: float) -> NDArray[np.bool_]:
    """Return which images are kept out: a matter of their names alone, so every run keeps out the same ones.

    Duplicates and images of one ``group`` stay together, as in the folds: the smallest of their names decides.
    """
    if not share:
        return np.zeros(len(table), dtype=bool)
    groups = duplicate_groups(facts.iloc[table["row"]].reset_index(drop=True), table)
    first = table["image_id"].groupby(groups).transform("min")
    return np.array([counted_seed("hold-out", name) < share * 2**64 for name in first], dtype=bool)


def _refuse_too_few(labels: Sequence[str], names: list[str]) -> None:
    counts = Counter(labels)
    small = [f"{name!r} ({counts[name]})" for name in names if counts[name] < FEWEST_PER_CLASS]
    if small:
        raise UserError(f"classes with fewer than {FEWEST_PER_CLASS} images to learn from: {first_few(small)}")
    if len(labels) < FEWEST_IMAGES:
        raise UserError(
            f"{counted(len(labels), 'image')} to learn from; a generative model needs at least {FEWEST_IMAGES}, "
            "and hundreds to be of use"
        )


def _say_sizes(facts: pd.DataFrame, size: int, resize: str) -> None:
    sizes = Counter(zip(facts["width"].tolist(), facts["height"].tolist(), strict=True))
    if set(sizes) != {(size, size)}:
        shown = [f"{width}x{height} ({count})" for (width, height), count in sizes.most_common()]
        print(f"images of {first_few(shown, 3)} become {size}x{size} ({resize})", flush=True)
