"""Make a competition of labelled images: what is shared in public/, the answers in private/.

DIR/public/train.csv, test.csv, sample_submission.csv    columns Image and Class, as in `Image,Class`
DIR/public/train_images/ID.png, test_images/ID.png       re-encoded, under names that say nothing
DIR/private/solution.csv                                 Image, Class, Usage (Public or Private), for ``score --truth``
DIR/private/origin.csv                                   which file each image came from
DIR/private/seed.txt                                     makes the same competition again, with --seed
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.config import HostSettings
from competition.data.catalog import open_catalog
from competition.data.checks import check, duplicate_groups
from competition.data.csvfile import write_csv
from competition.data.decode import full_pixels, resize_image, to_png
from competition.data.draft import Problem
from competition.data.prepare import decode, find_data, natural_size
from competition.errors import UserError, counted, first_few
from competition.process import usable_cores
from competition.runs import counted_seed, write_atomically

ID, LABEL, USAGE = "Image", "Class", "Usage"
STAMP = 946684800  # the time of every file that is shared: 2000-01-01; the order of writing says nothing


@dataclass(frozen=True)
class Hosted:
    """What was made. ``table`` has the columns image_id, path, label, group and part, sorted by image_id."""

    out: Path
    table: pd.DataFrame
    left_out: list[str]  # images that cannot be read
    problems: list[Problem]  # what ``check`` finds in what is shared


def host(settings: HostSettings) -> Hosted:
    """Deal labelled images into train and test, write them, and look for leaks in what was written.

    Duplicates, near duplicates and images of one ``group`` stay on one side, and in one part of the leaderboard. The
    same images and seed give the same bytes. The seed is a secret: names and parts are worked out from it and from the
    images' own names, which may be guessed and hold the class. The folder appears whole or not at all.

    Raises:
        UserError: a folder that is not empty or lies among the images, bad images without ``--on-bad skip``, a class
            that cannot lie on both sides, or a label that could be read without looking at the picture.
    """
    out = _refuse_taken(settings)
    table, left_out = _labelled_images(settings)
    seed = secrets.randbits(63) if settings.seed is None else settings.seed
    table["part"] = deal(table, settings.test, settings.public, seed)
    table["image_id"] = [f"{counted_seed('host names', seed, name):016x}.png" for name in table["image_id"]]
    table = table.sort_values("image_id", ignore_index=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        _write_images(making / "public", table, settings.image_size)
        _write_tables(making, table)
        write_atomically(making / "private" / "seed.txt", f"{seed}\n")
        problems = _refuse_leaks(making, settings)
        making.chmod(0o755)  # mkdtemp makes it private
        os.replace(making, out)  # an empty folder gives way
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return Hosted(out, table, left_out, problems)


def _refuse_taken(settings: HostSettings) -> Path:
    """Return the folder to make, which is neither filled nor a part of the images it is made of."""
    out = settings.out
    if out is None:
        raise UserError("where to? Name a folder to make with --out DIR")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"--out {out} is there already and not empty: name a new folder")
    for source in filter(None, (settings.data, settings.images)):
        if out.resolve().is_relative_to(source.resolve()):
            raise UserError(f"--out {out} lies in {source}, whose images would change with it: name a folder elsewhere")
    return out


def _labelled_images(settings: HostSettings) -> tuple[pd.DataFrame, list[str]]:
    """The labelled, readable images with their group numbers, and the names of those that cannot be read."""
    catalog = find_data(settings)
    rows = np.flatnonzero((catalog.table["split"] != "test").to_numpy())
    if not len(rows):
        raise UserError(f"{catalog.source} holds no labelled images: a competition needs their classes")
    store = decode(settings.replace(cache_limit=0.0), catalog, natural_size(catalog), "squash")  # the facts alone
    facts = store.facts.iloc[rows].reset_index(drop=True)
    table = catalog.table.iloc[rows].reset_index(drop=True)
    bad = {name for problem in catalog.problems if problem.severity == "error" for name in problem.image_ids}
    good = (facts["error"] == "").to_numpy() & ~table["image_id"].isin(bad).to_numpy()
    left_out = sorted(bad | set(table["image_id"][~good]))
    if left_out and settings.is_strict:
        raise UserError(
            f"{counted(len(left_out), 'image')} cannot be used: {first_few(left_out)}: python -m competition check "
            "says why; mend them, or leave them out with --on-bad skip"
        )
    table, facts = table[good].reset_index(drop=True), facts[good].reset_index(drop=True)
    table["stated_group"] = table["group"]
    return table.assign(group=duplicate_groups(facts, table)), left_out


def deal(table: pd.DataFrame, test: float, public: float, seed: int) -> NDArray[np.object_]:
    """Return (N,) "train", "Public" or "Private", stratified by label, groups whole.

    ``table`` has the columns image_id, label and group; the result depends on the names, not on their order.

    Raises:
        UserError: classes all of whose images belong together.
    """
    codes = pd.factorize(table["label"], sort=True)[0]
    groups = table["group"].to_numpy()
    separate = table.groupby("label")["group"].nunique()
    if (separate < 2).any():
        names = separate.index[separate < 2].tolist()
        raise UserError(
            f"classes with fewer than 2 separate images cannot lie in train and test: {first_few(names)}: give them "
            "more images, or leave them out (duplicates and images of one group count once)"
        )
    part = np.full(len(table), "train", dtype=object)
    is_test = take_share(codes, groups, _keys(table, "host test", seed), test)
    rows = np.flatnonzero(is_test)
    # Keys of its own, as the names have: nothing that is shared tells public from private rows.
    is_public = take_share(codes[rows], groups[rows], _keys(table, "host public", seed)[rows], public)
    part[rows] = np.where(is_public, "Public", "Private")
    return part


def _keys(table: pd.DataFrame, purpose: str, seed: int) -> NDArray[np.uint64]:
    """One random key per image."""
    return np.array([counted_seed(purpose, seed, name) for name in table["image_id"]], dtype=np.uint64)


def take_share(
    codes: NDArray[np.int64], groups: NDArray[np.int64], order: NDArray[np.uint64], share: float
) -> NDArray[np.bool_]:
    """Choose whole groups until each class has given its share of images.

    Groups come in random order, so that large ones are chosen as often as single images; one that does not fit by half
    waits for the other side. A class with two groups or more ends up on both sides.

    Args:
        codes: (N,) class numbers.
        groups: (N,) group numbers.
        order: (N,) random keys.
        share: of each class, above 0 and below 1.
    """
    total = np.bincount(codes)
    wanted = np.clip(np.rint(share * total), np.minimum(1, total - 1), total - 1).astype(np.int64)
    left = total.copy()  # images of each class that nobody took
    taken = np.zeros(len(codes), dtype=bool)
    # Exclusive or, not the smallest: that would bring large groups forward.
    rows_of_groups = pd.Series(groups).groupby(groups).indices.values()
    members = sorted(rows_of_groups, key=lambda rows: int(np.bitwise_xor.reduce(order[rows])))
    counts = [np.bincount(codes[rows], minlength=len(total)) for rows in members]
    for rows, count in zip(members, counts, strict=True):
        fits = np.minimum(count, np.maximum(wanted - (total - left), 0)).sum()
        if 2 * fits >= len(rows) and _leaves_some(left, count):
            taken[rows] = True
            left -= count
    for rows, count in sorted(zip(members, counts, strict=True), key=lambda pair: len(pair[0])):
        lacking = (count > 0) & (left == total)  # classes of large groups only, none of which fitted
        if lacking.any() and _leaves_some(left, count):
            taken[rows] = True
            left -= count
    return taken


def _leaves_some(left: NDArray[np.int64], count: NDArray[np.int64]) -> bool:
    """Whether every class of a group has images beside it."""
    return bool((left > count)[count > 0].all())


def _write_images(public: Path, table: pd.DataFrame, image_size: int | None) -> None:
    """Write every image as an 8-bit RGB PNG without metadata: format, mode and file name are those of all others."""
    folders = np.where(table["part"] == "train", "train_images", "test_images")
    for folder in ("train_images", "test_images"):
        (public / folder).mkdir(parents=True)

    def write(row: int) -> None:
        path = public / str(folders[row]) / table["image_id"].iloc[row]
        path.write_bytes(_png(table["path"].iloc[row], image_size))
        os.utime(path, (STAMP, STAMP))

    with ThreadPoolExecutor(usable_cores()) as threads:
        for _ in threads.map(write, range(len(table))):
            pass


def _png(path: str, image_size: int | None) -> bytes:
    pixels = full_pixels(path)
    return to_png(pixels if image_size is None else resize_image(pixels, image_size, "squash"))


def _write_tables(making: Path, table: pd.DataFrame) -> None:
    train, test = table[table["part"] == "train"], table[table["part"] != "train"]
    first = min(table["label"])
    labelled: dict[str, Any] = {ID: train["image_id"], LABEL: train["label"]}
    if train["stated_group"].notna().any():  # what belongs together helps everybody to honest folds
        numbers = pd.factorize(train["stated_group"].fillna(train["image_id"]))[0]
        labelled["group"] = pd.Series([f"g{number}" for number in numbers], index=train.index)
    tables: dict[str, dict[str, Any]] = {
        "public/train.csv": labelled,
        "public/test.csv": {ID: test["image_id"]},
        "public/sample_submission.csv": {ID: test["image_id"], LABEL: [first] * len(test)},
        "private/solution.csv": {ID: test["image_id"], LABEL: test["label"], USAGE: test["part"]},
        "private/origin.csv": {ID: table["image_id"], "path": table["path"], "part": table["part"]},
    }
    for name, columns in tables.items():
        write_csv(making / name, columns, zip(*columns.values(), strict=True))
        os.utime(making / name, (STAMP, STAMP))


def _refuse_leaks(making: Path, settings: HostSettings) -> list[Problem]:
    """Open what would be shared as a participant does, and run every check on it."""
    shared = open_catalog(making / "public")
    with tempfile.TemporaryDirectory() as cache:
        own = settings.replace(cache_dir=Path(cache), cache_limit=0.0)  # the facts alone
        facts = decode(own, shared, settings.image_size or natural_size(shared), "squash").facts
        problems = check(shared, facts, folds=2)
    leaks = [problem for problem in problems if problem.kind.startswith("label readable")]
    if any(leak.severity == "error" for leak in leaks):
        raise UserError(
            "the labels could be read without looking at the pictures, so nothing was made:\n"
            + "\n".join(f"  {leak.kind}: {first_few(leak.rows)}" for leak in leaks)
            + "\nGive all images one size with --image-size N"
        )
    return [problem for problem in problems if problem in leaks or "train and test" in problem.kind]


def describe(hosted: Hosted) -> str:
    """Return what was made, in words."""
    return "\n".join(_lines(hosted))


def _lines(hosted: Hosted) -> Iterator[str]:
    counts = hosted.table["part"].value_counts()
    yield (
        f"{hosted.out}/public: {counts['train']:,} training and {counts.get('Public', 0) + counts.get('Private', 0):,} "
        f"test images of {hosted.table['label'].nunique()} classes"
    )
    yield (
        f"{hosted.out}/private: solution.csv, {counts.get('Public', 0):,} public and "
        f"{counts.get('Private', 0):,} private rows; keep it to yourself"
    )
    if hosted.left_out:
        yield f"left out, cannot be read: {counted(len(hosted.left_out), 'image')}: {first_few(hosted.left_out)}"
    for part in ("train", "Public", "Private"):
        absent = sorted(set(hosted.table["label"]) - set(hosted.table["label"][hosted.table["part"] == part]))
        if absent:
            yield f"warning: {part} has no row of {first_few(absent)}"
    for problem in hosted.problems:
        yield f"warning: {problem.kind}: {problem.message}"
    yield f"train: python train.py --data {quote(f'{hosted.out}/public')}"
    yield f"score: python -m competition score CSV --truth {quote(f'{hosted.out}/private/solution.csv')}"
