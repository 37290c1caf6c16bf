"""The fold table: which training image is held out in which fold. Made once, then only read.

``folds/NAME.csv`` has one row per training image: ``image_id, label, fold`` and, with repeats, ``fold_1``,
``fold_2``... Fold numbers run on over the repeats: with 5 folds, number 7 is fold 2 of the first repeat.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.csvfile import CsvFile, read_csv
from competition.data.duplicates import equal_rows
from competition.errors import UserError, counted, first_few
from competition.runs import counted_seed, write_atomically

FOLDER = Path("folds")
ANOTHER = "delete it to have it made anew, or name another --fold-file"  # table, where one does not fit


def make_folds(
    image_ids: list[str], labels: list[str], groups: NDArray[np.int64], folds: int, repeats: int = 1, seed: int = 0
) -> pd.DataFrame:
    """Deal images into folds, stratified by label, groups whole.

    Args:
        image_ids: N names; the result depends on the names and not on their order.
        labels: N class names.
        groups: (N,) group numbers; equal numbers (duplicates, frames of one sequence) share a fold.
        folds: number of folds per repeat.
        repeats: how many times to deal.
        seed: another seed deals otherwise.

    Raises:
        UserError: a class with fewer separate images than folds.
    """
    names, codes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    _refuse_small_classes(names, codes, groups, folds)
    table = pd.DataFrame({"image_id": image_ids, "label": labels})
    for repeat in range(repeats):
        # One hash per image orders everything, so the order of the rows cannot matter.
        order = np.array([counted_seed(seed, repeat, name) for name in image_ids], dtype=np.uint64)
        table["fold" if repeat == 0 else f"fold_{repeat}"] = _deal(codes, groups, order, folds)
    return table.sort_values("image_id", ignore_index=True)


def _refuse_small_classes(
    names: NDArray[np.str_], codes: NDArray[np.intp], groups: NDArray[np.int64], folds: int
) -> None:
    separate = pd.Series(groups).groupby(codes).nunique()
    small = [f"{name!r} ({count})" for name, count in zip(names.tolist(), separate, strict=True) if count < folds]
    if small:
        fewer = "lower --folds, or " if separate.min() > 1 else ""  # two folds are the fewest
        raise UserError(
            f"classes with fewer separate images than the {folds} folds: {first_few(small)}: "
            f"{fewer}give these classes more images (duplicates and images of one group count once)"
        )


def _deal(
    codes: NDArray[np.intp], groups: NDArray[np.int64], order: NDArray[np.uint64], folds: int
) -> NDArray[np.int64]:
    """Return (N,) fold numbers: larger groups first and one by one, then the single images class by class."""
    fold_of = np.empty(len(codes), dtype=np.int64)
    counts = np.zeros((folds, int(codes.max()) + 1), dtype=np.int64)  # images per fold and class
    several = sorted(equal_rows(pd.Series(groups)), key=lambda rows: (-len(rows), int(order[rows].min())))
    single = np.flatnonzero(~pd.Series(groups).duplicated(keep=False))
    single = single[np.lexsort((order[single], codes[single]))]
    for rows in (*several, *single[:, None]):
        classes = codes[rows]
        # Where its classes are rarest; then where fewest images lie.
        fold = np.lexsort((counts.sum(axis=1), counts[:, classes].sum(axis=1)))[0]
        fold_of[rows] = fold
        counts[fold] += np.bincount(classes, minlength=counts.shape[1])
    return fold_of


def fold_columns(table: pd.DataFrame) -> list[str]:
    """Return the fold columns in the order of the repeats."""
    return ["fold", *(f"fold_{n}" for n in range(1, table.shape[1]) if f"fold_{n}" in table)]


def held_out(table: pd.DataFrame, number: int, folds: int) -> NDArray[np.bool_]:
    """Return which rows fold ``number`` (counted over the repeats) holds out. -> (N,) bool."""
    return table[fold_columns(table)[number // folds]].to_numpy() == number % folds


def straddling(table: pd.DataFrame, keys: pd.Series, repeats: int) -> NDArray[np.bool_]:
    """Return which rows share their key with a row of another fold, in any repeat. -> (N,) bool.

    ``keys`` has a value per row of ``table``; rows without one (None, NaN) stand alone.
    """
    codes = pd.factorize(keys)[0]
    codes = np.where(codes < 0, -1 - np.arange(len(codes)), codes)
    columns = table[fold_columns(table)[:repeats]]
    return (columns.groupby(codes).transform("nunique") > 1).any(axis=1).to_numpy()


def save_folds(path: Path, table: pd.DataFrame) -> None:
    """Write the fold table."""
    write_atomically(path, table.to_csv(index=False))


def load_folds(path: Path, image_ids: list[str], labels: list[str], folds: int, repeats: int) -> pd.DataFrame:
    """Read a fold table, check it against the images, and return it in the order of ``image_ids``.

    Raises:
        UserError: an id that is missing, unknown or in two folds; a fold that is missing; a label that differs.
    """
    if not path.exists():
        raise UserError(
            f"--fold-file {path} does not exist: leave the flag out, or name a table under {FOLDER}/, which is made "
            "where there is none"
        )
    read = read_csv(str(path))
    table = pd.DataFrame(read.rows, columns=read.columns, dtype=object)
    wanted = ["fold", *(f"fold_{n}" for n in range(1, repeats))]
    absent = [name for name in ("image_id", *wanted) if name not in table]
    if absent:
        raise UserError(
            f"{path} has no column {', '.join(absent)}: a fold table has image_id, label, {', '.join(wanted)}"
        )
    _check_ids(path, table["image_id"], image_ids)
    for column in wanted:
        table[column] = _fold_numbers(read, table[column], folds)
    table = table.set_index("image_id").loc[image_ids].reset_index()
    if "label" in table:
        differ = table.loc[table["label"] != np.asarray(labels, dtype=object), "image_id"]
        if len(differ):
            raise UserError(
                f"{path}: labels differ from the data for {first_few(differ)}: the folds belong to other data"
            )
    return table


def _check_ids(path: Path, found: pd.Series, image_ids: list[str]) -> None:
    twice = found[found.duplicated()].unique()
    missing, extra = set(image_ids) - set(found), set(found) - set(image_ids)
    lines = []
    if len(twice):
        lines.append(f"named twice, though an image is held out once: {counted(len(twice), 'id')}: {first_few(twice)}")
    if missing:
        lines.append(f"in no fold: {counted(len(missing), 'training image')}: {first_few(sorted(missing))}")
    if extra:
        lines.append(f"not among the training images: {counted(len(extra), 'id')}: {first_few(sorted(extra))}")
    if lines:
        raise UserError(f"{path} does not fit the data:\n  " + "\n  ".join(lines) + f"\n{ANOTHER}")


def _fold_numbers(read: CsvFile, cells: pd.Series, folds: int) -> NDArray[np.int64]:
    numbers = pd.to_numeric(cells, errors="coerce")
    allowed = numbers.isin(range(folds))
    if not allowed.all():
        row = int(np.flatnonzero(~allowed)[0])
        raise UserError(
            f"{read.path} line {read.lines[row]}: {cells.name} is {cells.iloc[row]!r}; "
            f"with --folds {folds} it runs from 0 to {folds - 1}"
        )
    missing = sorted(set(range(folds)) - set(numbers.astype(int)))
    if missing:
        raise UserError(
            f"{read.path}: {cells.name} {first_few(missing)} is missing; "
            f"--folds {folds} needs every one of 0 to {folds - 1}"
        )
    return numbers.to_numpy(np.int64)
