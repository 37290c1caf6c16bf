"""From ``--data`` to decoded, checked images: what `train.py`, `predict.py` and ``check`` begin with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config import DataSettings, DecodeSettings
from competition.data.cache import ImageStore, open_images
from competition.data.catalog import Catalog, open_catalog
from competition.data.checks import check, duplicate_groups, format_groups, format_report
from competition.data.decode import size_of
from competition.data.draft import Problem
from competition.data.sample import render_sample
from competition.errors import UserError
from competition.runs import counted_seed

LARGEST_AUTOMATIC_SIZE = 128  # px; larger pictures are shrunk unless --image-size says otherwise


@dataclass(frozen=True)
class PreparedImages:
    """A catalog whose images are decoded and checked.

    ``table`` has the catalog's columns and ``row``, the picture's place in the store; images left out by
    ``--on-bad skip`` are not in it.
    """

    catalog: Catalog
    table: pd.DataFrame
    store: ImageStore
    image_size: int

    def labelled(self) -> pd.DataFrame:
        """Return the rows of train and val."""
        return self.table[self.table["split"] != "test"].reset_index(drop=True)

    def of(self, split: str) -> pd.DataFrame:
        """Return the rows of one split."""
        return self.table[self.table["split"] == split].reset_index(drop=True)

    def groups(self, table: pd.DataFrame) -> NDArray[np.int64]:
        """Return group numbers of some rows: equal for duplicates and for equal values of ``group``."""
        return duplicate_groups(self.store.facts.iloc[table["row"]].reset_index(drop=True), table)


def sample_folder(settings: DataSettings) -> Path:
    """Return where the embedded sample is kept."""
    return settings.cache_dir / "sample"


def data_name(settings: DataSettings) -> str:
    """Return the short name of the data for file names."""
    if not settings.data:
        return "sample"
    path = settings.data.resolve()
    # `host` calls what it shares public, whatever it is about.
    if path.name == "public" and path.parent.name:
        return f"{path.parent.name}-public"
    return path.name if path.is_dir() else path.stem


def run_name(settings: DataSettings, model: str, identity: dict[str, Any]) -> str:
    """Return a name made from data, model and identity: the same command finds its own run again."""
    return f"{data_name(settings)}-{model}-{counted_seed(repr(identity)):016x}"[:-8]


def find_data(settings: DataSettings, fewest_classes: int = 2) -> Catalog:
    """Return the catalog of ``--data``, or of the embedded sample, rendered on first use."""
    data = settings.data or render_sample(sample_folder(settings))
    return open_catalog(
        data,
        train_csv=settings.train_csv,
        val_csv=settings.val_csv,
        test_csv=settings.test_csv,
        images=settings.images,
        id_column=settings.id_column,
        label_column=settings.label_column,
        group_column=settings.group_column,
        fewest_classes=fewest_classes,
    )


def decode(settings: DecodeSettings, catalog: Catalog, image_size: int, resize: str) -> ImageStore:
    """Return the decoded images of a whole catalog, from the cache where it has them."""
    return open_images(
        catalog.table,
        image_size=image_size,
        resize=resize,  # type: ignore[arg-type]
        cache_dir=settings.cache_dir,
        limit_bytes=int(settings.cache_limit * 1e9),
    )


def prepare_images(
    settings: DataSettings, catalog: Catalog, image_size: int, resize: str, folds: int, are_dealt: bool = False
) -> PreparedImages:
    """Decode and check everything before any training.

    Raises:
        UserError: problems that would spoil a result, unless ``--on-bad skip`` can leave their images out.
    """
    store = decode(settings, catalog, image_size, resize)
    problems = check(catalog, store.facts, folds=folds, are_dealt=are_dealt)
    bad = report_problems(settings, catalog, problems)
    table = catalog.table.assign(row=np.arange(len(catalog.table)))
    table = table[~(table["image_id"].isin(bad) & (table["split"] != "test"))].reset_index(drop=True)
    return PreparedImages(catalog, table, store, image_size)


def report_problems(settings: DataSettings, catalog: Catalog, problems: list[Problem]) -> set[str]:
    """Print what is wrong with the data, and its groups, and return the names of the images to leave out.

    Raises:
        UserError: errors, unless ``--on-bad skip`` can leave their images out.
    """
    if problems:
        print(format_report(problems, catalog, settings.is_strict), flush=True)
    elif catalog.grouped_by:
        print(format_groups(catalog), flush=True)
    fatal = fatal_problems(settings, problems)
    if fatal:
        hint = " (or leave those images out with --on-bad skip)" if all(problem.image_ids for problem in fatal) else ""
        raise UserError(f"{catalog.source}: the errors above stop the training: mend them{hint}")
    return {name for problem in problems if problem.severity == "error" for name in problem.image_ids}


def fatal_problems(settings: DataSettings, problems: list[Problem]) -> list[Problem]:
    """Return the problems that stop a training: errors whose images are not left out, or that no image makes."""
    errors = [problem for problem in problems if problem.severity == "error"]
    return [problem for problem in errors if settings.is_strict or not problem.image_ids]


def fingerprint(table: pd.DataFrame, facts: pd.DataFrame) -> str:
    """Return 16 hex digits of ids, labels and contents, in whatever order and place; ``row`` leads to the facts."""
    contents = facts["content_hash"].to_numpy()[table["row"]]
    rows = sorted(zip(table["image_id"], table["label"], contents.tolist(), strict=True))
    return f"{counted_seed(repr(rows)):016x}"


def natural_size(catalog: Catalog, largest: int = LARGEST_AUTOMATIC_SIZE) -> int:
    """Return the side that suits the images: the median of some of their shorter sides, at most ``largest`` px."""
    paths = catalog.table["path"]
    sizes = [size_of(path) for path in paths.iloc[:: max(1, len(paths) // 64)]]
    sides = [min(size) for size in sizes if size]
    return int(min(max(np.median(sides), 8), largest)) if sides else 32
