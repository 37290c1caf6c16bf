"""Find labelled images in any accepted layout and put them into one table.

Layouts, found by looking: a CSV beside its images (``train.csv``), class folders (``train/CLASS/*``), and a
single labelled folder (``CLASS/*``); each of them in a folder or in a zip that is read in place.
"""

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from competition.data.archive import IMAGE_SUFFIXES, images_and_tables, is_image, is_table, list_all, list_files
from competition.data.csv_layout import CsvReader
from competition.data.draft import Draft, Problem
from competition.data.folder_layout import read_folders
from competition.data.naming import splits_of_folders, without_extension
from competition.data.unread import unread_files
from competition.errors import UserError, counted, did_you_mean, first_few

_TABLE_NAMES = {  # the first of them counts, among those in one folder or equally deep
    "train": ("train", "training", "train_labels", "trainlabels", "train_set", "labels"),
    "val": ("val", "valid", "validation", "val_labels", "val_set"),
    "test": ("test", "testing", "test_set", "test_ids"),
    "sample": ("sample_submission", "samplesubmission", "sample_sub", "submission_sample", "sample"),
    "manifest": ("manifest",),
}
_TABLES_OF_TEST = {"test", "sample"}


@dataclass(frozen=True)
class Catalog:
    """Every image that was found. ``table`` has the columns image_id, path, label, split and group.

    ``image_id`` is unique within train and val together and within test; ``path`` is a file or
    ``ARCHIVE.zip::MEMBER``; label and group are str or None; split is "train", "val" or "test".
    """

    table: pd.DataFrame
    source: Path
    layout: str  # "csv" | "class folders" | "labelled folder"
    id_column: str  # column names of a submission
    label_column: str
    submission_ids: list[str] | None  # the rows a submission needs, in order, as spelled there
    problems: list[Problem]
    sample_columns: tuple[str, ...] = ()  # of the sample submission, as it has them
    grouped_by: str = ""  # "column 'group' of train.csv", if there are groups
    from_here: dict[str, str] = field(default_factory=dict)  # setting -> absolute path of what it names from here

    @property
    def places(self) -> dict[str, str]:
        """Where its data is found again, whatever the working directory: setting -> absolute path."""
        return {"data": str(self.source), **self.from_here}

    @property
    def class_names(self) -> list[str]:
        """The sorted labels of the training and validation images."""
        return sorted(set(self.labelled()["label"]))

    def labelled(self) -> pd.DataFrame:
        """The rows of train and val, indexed from 0."""
        return self.table[self.table["split"] != "test"].reset_index(drop=True)

    def of(self, split: str) -> pd.DataFrame:
        """The rows of one split, indexed from 0."""
        return self.table[self.table["split"] == split].reset_index(drop=True)


def open_catalog(
    data: Path,
    *,
    train_csv: str | Path | None = None,
    val_csv: str | Path | None = None,
    test_csv: str | Path | None = None,
    images: str | Path | None = None,
    id_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    fewest_classes: int = 2,
) -> Catalog:
    """Look at a folder or zip and list its images; the keywords override what looking finds.

    Raises UserError when nothing can be trained or predicted from it; smaller faults become ``problems``.
    """
    source = data.absolute()
    draft = _draft_of(source)
    given = {"train": train_csv, "val": val_csv, "test": test_csv}
    from_here = _from_here({**{f"{role}_csv": path for role, path in given.items()}, "images": images}, draft)
    tables = _find_tables(draft, given, source)
    pool = _image_pool(images, source) if images is not None else None
    if not draft.images and not pool:
        endings = first_few(sorted(IMAGE_SUFFIXES), len(IMAGE_SUFFIXES))
        raise UserError(f"{source}: holds no images ({endings}). Name the folder with them.")
    _refuse_unspellable([*draft.images, *(pool or {})], source)
    reader = CsvReader(draft, tables, pool, {"id": id_column, "label": label_column, "group": group_column})
    if train_csv is None and images is None:
        _leave_out_class_list(draft, tables, reader)
    if "train" in tables or (_TABLES_OF_TEST & tables.keys() and not draft.labelled_tops()):
        layout = "csv"
        reader.read()
    else:
        layout = read_folders(draft, tables, source, group_column)
        draft.id_column, draft.label_column = id_column or draft.id_column, label_column or draft.label_column
    draft.report_unnamed()
    table = draft.as_table()
    _refuse_unlabelled(table, source, fewest_classes)
    return _finished(draft, table, source, layout, from_here)


def _finished(draft: Draft, table: pd.DataFrame, source: Path, layout: str, from_here: dict[str, str]) -> Catalog:
    draft.report_unknown_labels()
    draft.report_sample_columns()
    return Catalog(
        table=table,
        source=source,
        layout=layout,
        id_column=draft.id_column,
        label_column=draft.label_column,
        submission_ids=draft.submission_ids,
        problems=draft.problems,
        sample_columns=draft.sample_columns,
        grouped_by=draft.grouped_by,
        from_here=from_here,
    )


def _draft_of(source: Path) -> Draft:
    """Return a draft of the images and tables of a folder or zip, and what it says of the other files."""
    files = list_all(source)
    return Draft(_without_wrapper(images_and_tables(files)), problems=unread_files(files))


def _leave_out_class_list(draft: Draft, tables: dict[str, str], reader: CsvReader) -> None:
    """Take a ``labels.csv`` that names no image from the tables: beside ``train/CLASS/`` it lists the classes."""
    is_labels = Path(tables.get("train", "")).stem.lower() == "labels"
    if is_labels and draft.has_train_folders() and not reader.names_images():
        message = f"{tables.pop('train')} names no image; the class folders are read instead."
        draft.problems.append(Problem("table not used", message, severity="warning"))


def _without_wrapper(files: dict[str, str]) -> dict[str, str]:
    """Drop a single top folder around everything, as in ``competition.zip/competition/train/...``."""
    tops = {name.partition("/")[0] for name in files}
    if len(tops) != 1 or any("/" not in name for name in files):
        return files
    (top,) = tops
    inner = {name.partition("/")[2]: path for name, path in files.items()}
    folders = {name.partition("/")[0] for name in inner if "/" in name}
    root_tables = [name for name in inner if "/" not in name and is_table(name)]
    in_zip = any(".zip::" in path.lower() for path in files.values())
    has_train = "train" in splits_of_folders(folders).values()
    if root_tables or has_train or (in_zip and len(folders) > 1 and not splits_of_folders([top])):
        return inner
    deeper = len(folders) == 1 and not any("/" not in name for name in inner)
    unwrapped = _without_wrapper(inner) if deeper else inner
    return unwrapped if deeper and unwrapped is not inner else files


def _find_tables(draft: Draft, flags: dict[str, str | Path | None], source: Path) -> dict[str, str]:
    """Return {role: path} of the tables named by flags or recognised by their names."""
    tables: dict[str, str] = {}
    stems = {name: without_extension(name.rpartition("/")[2]).lower() for name in draft.files if is_table(name)}
    for role, known in _TABLE_NAMES.items():
        places = [(name.count("/"), known.index(stem), name) for name, stem in stems.items() if stem in known]
        if places:
            tables[role] = draft.files[min(places)[2]]
    for role, given in flags.items():
        if given is not None:
            tables[role] = _given_file(str(given), draft, source, f"--{role}-csv")
    return tables


def _given_file(given: str, draft: Draft, source: Path, flag: str) -> str:
    if given in draft.files:
        return draft.files[given]
    for candidate in (Path(given), source / given):
        if candidate.is_file():
            return str(candidate.absolute())
    tables = [name for name in draft.files if is_table(name)]
    raise UserError(
        f"{flag} {given}: no such file here or in {source}{did_you_mean(given, tables)}. "
        f"Tables there: {first_few(tables) or 'none'}."
    )


def _from_here(given: dict[str, str | Path | None], draft: Draft) -> dict[str, str]:
    """Return {setting: absolute path} of what is named from the working directory, not by a name in the source."""
    paths = {name: Path(path) for name, path in given.items() if path is not None and str(path) not in draft.files}
    return {name: str(path.absolute()) for name, path in paths.items() if path.exists()}


def _image_pool(images: str | Path, source: Path) -> dict[str, str]:
    for candidate in (Path(images), source / images):
        if candidate.exists():
            files = list_files(candidate.absolute())
            pool = {name: path for name, path in files.items() if is_image(name)}
            if not pool:
                raise UserError(f"--images {images}: holds no images.")
            return pool
    raise UserError(f"--images {images}: no such folder or zip here or in {source}.")


def _refuse_unspellable(names: list[str], source: Path) -> None:
    """A name from an old archive may hold bytes that are no UTF-8; no table could spell it."""
    bad = [ascii(name) for name in names if any("\ud800" <= letter <= "\udfff" for letter in name)]
    if bad:
        raise UserError(
            f"{source}: {counted(len(bad), 'image')} with a name that is not UTF-8: {first_few(bad)}. Rename them "
            "(convmv -r -f latin1 -t utf8 --notest FOLDER)."
        )


def _refuse_unlabelled(table: pd.DataFrame, source: Path, fewest_classes: int) -> None:
    """One class cannot train a classifier; no labelled image at all is enough to predict."""
    if table.empty:
        raise UserError(
            f"{source}: no image has a label or a place in a test list. Accepted: train.csv with its images, "
            "train/CLASS/IMAGE, or CLASS/IMAGE; to predict, test/IMAGE."
        )
    classes = set(table.loc[table["split"] != "test", "label"])
    if 1 == len(classes) < fewest_classes:
        raise UserError(
            f"{source}: only one class, {classes.pop()!r}; a classifier needs two. If the classes lie elsewhere, "
            "name the folder above them, or the label column with --label-column; to predict, test/IMAGE."
        )
    if classes and classes == splits_of_folders(classes).keys():
        raise UserError(
            f"{source}: the classes {first_few(sorted(classes))} are names of splits. Put the images into one folder "
            "per class (train/CLASS/IMAGE), or name the label column with --label-column."
        )
