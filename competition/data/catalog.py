"""Find labelled images in any accepted layout and put them into one table.

Layouts, found by looking: a CSV beside its images (``train.csv``), class folders (``train/CLASS/*``), and a
single labelled folder (``CLASS/*``); each of them in a folder or in a zip that is read in place.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from competition.data.archive import IMAGE_SUFFIXES, is_image, is_table, list_files, natural_key
from competition.data.csvfile import CsvFile, read_csv
from competition.data.naming import match_images, split_of_folder, without_extension
from competition.errors import UserError, did_you_mean, first_few

COLUMNS = ("image_id", "path", "label", "split", "group")
_TABLE_NAMES = {
    "train": ("train", "training", "train_labels", "trainlabels", "train_set", "labels"),
    "val": ("val", "valid", "validation", "val_labels", "val_set"),
    "test": ("test", "testing", "test_set", "test_ids"),
    "sample": ("sample_submission", "samplesubmission", "sample_sub", "submission_sample", "sample"),
    "manifest": ("manifest",),
}
_FOLDER_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
_ID_NAMES = ("image_id", "id", "image", "file", "filename", "file_name", "name", "path", "img", "uuid")
_LABEL_NAMES = ("label", "class", "target", "category", "labels", "y", "class_name", "class_id")
_EMPTY_LABELS = frozenset({"", "nan", "NaN", "<NA>"})  # what pandas writes for a missing value
_LOOK_AT = 300  # values of a column that are looked up to see whether it names images


@dataclass(frozen=True)
class Problem:
    """Something found wrong with the data; an error stops training unless its images can be skipped."""

    kind: str  # a few words, the headline of the report
    message: str  # what, where, what to do
    rows: list[str] = field(default_factory=list)  # the names concerned
    severity: str = "error"  # "error" | "warning"
    image_ids: tuple[str, ...] = ()  # what `--on-bad skip` leaves out; empty on an error: skipping does not help


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


@dataclass
class _Draft:
    """What a layout reader has gathered so far."""

    files: dict[str, str]  # name relative to the root -> path
    rows: list[tuple[str, str, str | None, str, str | None]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # file names that some row or table named
    id_column: str = "image_id"
    label_column: str = "label"
    submission_ids: list[str] | None = None

    @property
    def images(self) -> list[str]:
        return [name for name in self.files if is_image(name)]


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
) -> Catalog:
    """Look at a folder or zip and list its images; the keywords override what looking finds.

    Raises UserError when nothing can be trained or predicted from it; smaller faults become ``problems``.
    """
    source = Path(data).absolute()
    draft = _Draft(_without_wrapper(list_files(source)))
    tables = _find_tables(draft, {"train": train_csv, "val": val_csv, "test": test_csv}, source)
    pool = _image_pool(images, source) if images is not None else None
    if not draft.images and not pool:
        raise UserError(
            f"{source}: holds no images ({first_few(sorted(IMAGE_SUFFIXES), 12)}). Name the folder with them."
        )
    wanted = {"id": id_column, "label": label_column, "group": group_column}
    if "train" in tables or (_TABLES_OF_TEST & tables.keys() and not _labelled_tops(draft)):
        layout = "csv"
        _CsvReader(draft, tables, pool, wanted).read()
    else:
        layout = _read_folders(draft, tables, source)
        if id_column or label_column:
            draft.id_column, draft.label_column = (
                id_column or draft.id_column,
                label_column or draft.label_column,
            )
    _report_unnamed(draft)
    table = _as_table(draft.rows)
    _refuse_unlabelled(table, source)
    return Catalog(table, source, layout, draft.id_column, draft.label_column, draft.submission_ids, draft.problems)


_TABLES_OF_TEST = {"test", "sample"}


def _as_table(rows: list[tuple[str, str, str | None, str, str | None]]) -> pd.DataFrame:
    # object, not pandas' string type: None stays None and equal strings are stored once
    columns = list(zip(*rows, strict=True)) or [()] * len(COLUMNS)
    return pd.DataFrame(
        {name: pd.Series(list(values), dtype=object) for name, values in zip(COLUMNS, columns, strict=True)}
    )


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
    is_split = top.lower() in _FOLDER_NAMES["train"] + _FOLDER_NAMES["test"]
    has_train = any(folder.lower() in _FOLDER_NAMES["train"] for folder in folders)
    if root_tables or has_train or (in_zip and len(folders) > 1 and not is_split):
        return inner
    deeper = len(folders) == 1 and not any("/" not in name for name in inner)
    unwrapped = _without_wrapper(inner) if deeper else inner
    return unwrapped if deeper and unwrapped is not inner else files


def _find_tables(draft: _Draft, flags: dict[str, str | Path | None], source: Path) -> dict[str, str]:
    """Return {role: path} of the tables named by flags or recognised by their names."""
    tables: dict[str, str] = {}
    names = sorted((name for name in draft.files if is_table(name)), key=lambda name: name.count("/"))
    for role, known in _TABLE_NAMES.items():
        for name in names:
            if without_extension(name.rpartition("/")[2]).lower() in known:
                tables.setdefault(role, draft.files[name])
    for role, given in flags.items():
        if given is not None:
            tables[role] = _given_file(str(given), draft, source, f"--{role}-csv")
    return tables


def _given_file(given: str, draft: _Draft, source: Path, flag: str) -> str:
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


def _image_pool(images: str | Path, source: Path) -> dict[str, str]:
    for candidate in (Path(images), source / images):
        if candidate.exists():
            files = list_files(candidate.absolute())
            pool = {name: path for name, path in files.items() if is_image(name)}
            if not pool:
                raise UserError(f"--images {images}: holds no images.")
            return pool
    raise UserError(f"--images {images}: no such folder or zip here or in {source}.")


# ---- a CSV beside its images ----


@dataclass
class _CsvReader:
    """Reads ``train.csv``, ``val.csv``, ``test.csv`` and ``sample_submission.csv`` into a draft."""

    draft: _Draft
    tables: dict[str, str]
    pool: dict[str, str] | None  # images named by --images; None: those of the source
    wanted: dict[str, str | None]  # column names given by flags

    def read(self) -> None:
        self.files = self.pool if self.pool is not None else self.draft.files
        self.names = [name for name in self.files if is_image(name)]
        self.sample = read_csv(self.tables["sample"]) if "sample" in self.tables else None
        seen: dict[str, str] = {}
        for split in ("train", "val"):
            if split in self.tables:
                self._read_labelled(read_csv(self.tables[split]), split, seen)
        self._read_test({label for _, _, label, _, _ in self.draft.rows if label is not None})

    def _match(self, ids: Iterable[str], split: str) -> tuple[dict[str, str], dict[str, list[str]]]:
        return match_images(ids, self.names, None if self.pool is not None else split)

    def _id_column(self, table: CsvFile, split: str) -> str:
        """The column whose values name images, most of them at least; UserError when there is none."""
        if self.wanted["id"] and (split != "test" or self.wanted["id"] in table.columns):
            table.column(self.wanted["id"], "--id-column")
            return self.wanted["id"]
        hits = {}
        for name in table.columns:
            values = set(table.column(name, "--id-column")[:_LOOK_AT]) - {""}
            hits[name] = len(self._match(values, split)[0]) / max(1, len(values))
        # Equal hits: the usual names first, then the order in the file.
        best = max(table.columns, key=lambda name: (hits[name], name.lower() in _ID_NAMES))
        if hits[best] == 0 and table.rows:
            looked = [f"{name} ({table.column(name, '')[0]!r})" for name in table.columns]
            raise UserError(
                f"{table.path}: no column names an image that is there. Columns with their first value: "
                f"{first_few(looked)}; images there: {first_few(self.names, 3) or 'none'}. "
                "Name the column with --id-column, or the folder with --images."
            )
        return best

    def _label_column(self, table: CsvFile, id_column: str) -> str:
        if self.wanted["label"]:
            table.column(self.wanted["label"], "--label-column")
            return self.wanted["label"]
        rest = [name for name in table.columns if name != id_column and name.lower() != "group"]
        asked = self.sample.columns[1:] if self.sample else []
        choices = [name for name in asked if name in rest]
        choices += [name for known in _LABEL_NAMES for name in rest if name.lower() == known]
        if not choices and len(rest) != 1:
            has = f"has {first_few(rest, 10)}" if rest else f"has only {id_column!r}"
            raise UserError(f"{table.path}: which column is the label? It {has}. Name it with --label-column.")
        return (choices or rest)[0]

    def _group_column(self, table: CsvFile) -> list[str | None]:
        name = self.wanted["group"] or next((name for name in table.columns if name.lower() == "group"), None)
        if name is None:
            return [None] * len(table.rows)
        return [cell.strip() or None for cell in table.column(name, "--group-column")]

    def _read_labelled(self, table: CsvFile, split: str, seen: dict[str, str]) -> None:
        """Add the rows of a labelled table; ``seen`` holds the labels of ids that are in the draft."""
        id_column = self._id_column(table, split)
        label_column = self._label_column(table, id_column)
        if split == "train":
            self.draft.id_column, self.draft.label_column = id_column, label_column
        ids = [image_id.strip() for image_id in table.column(id_column, "--id-column")]
        labels = [label.strip() for label in table.column(label_column, "--label-column")]
        self._refuse_empty(table, ids, labels, id_column, label_column)
        found = self._resolve(ids, split, table.path)
        groups = self._group_column(table)
        twice: list[str] = []
        torn: list[str] = []
        for image_id, label, group in zip(ids, labels, groups, strict=True):
            if image_id in seen:
                (twice if seen[image_id] == label else torn).append(image_id)
                continue
            seen[image_id] = label
            if image_id in found:
                self.draft.rows.append((image_id, self.files[found[image_id]], label, split, group))
        self._report_twice(table.path, twice, torn)

    def _report_twice(self, path: str, twice: list[str], torn: list[str]) -> None:
        if twice:
            message = f"{path} names {len(set(twice))} images again with the same label; each is used once."
            self.draft.problems.append(Problem("image named twice", message, sorted(set(twice)), "warning"))
        if torn:
            names = sorted(set(torn))
            message = f"{path} gives {len(names)} images two different labels. Keep the right row of each."
            self.draft.problems.append(
                Problem("image named twice with different labels", message, names, "error", tuple(names))
            )

    def _refuse_empty(
        self, table: CsvFile, ids: list[str], labels: list[str], id_column: str, label_column: str
    ) -> None:
        for cells, column, empty in ((ids, id_column, {""}), (labels, label_column, _EMPTY_LABELS)):
            lines = [line for cell, line in zip(cells, table.lines, strict=True) if cell in empty]
            if lines:
                raise UserError(
                    f"{table.path}: column {column!r} is empty or NaN in {len(lines)} rows: "
                    f"line {first_few(lines)}. Fill in or remove these rows."
                )

    def _resolve(self, ids: list[str], split: str, path: str) -> dict[str, str]:
        """Return {id: file name} and report ids without a file or with several."""
        found, ambiguous = self._match(ids, split)
        self.draft.used.update(found.values())
        missing = [name for name in dict.fromkeys(ids) if name not in found and name not in ambiguous]
        severity = "warning" if split == "test" else "error"
        advice = "They are predicted from a blank image" if split == "test" else "Add the files or remove the rows"
        if missing:
            message = f"{path} names {len(missing)} images that are not there. {advice}."
            skip = () if split == "test" else tuple(missing)
            self.draft.problems.append(Problem("image named but missing", message, missing, severity, skip))
        if ambiguous:
            rows = [f"{name} ({first_few(files, 2)})" for name, files in ambiguous.items()]
            message = f"{path}: {len(rows)} ids fit several files. Write the folder into the id, or use --images."
            skip = () if split == "test" else tuple(ambiguous)
            self.draft.problems.append(Problem("id fits several files", message, rows, severity, skip))
        return found

    def _read_test(self, classes: set[str]) -> None:
        """Add the test images: those of the sample submission, else of test.csv, else of the test folder."""
        test = read_csv(self.tables["test"]) if "test" in self.tables else None
        labels: dict[str, str] = {}
        ids: list[str] = []
        for table in (test, self.sample):
            if table is None:
                continue
            column = self._id_column(table, "test")
            cells = [cell.strip() for cell in table.column(column, "--id-column")]
            if table is test and self.draft.label_column in table.columns and column != self.draft.label_column:
                labels = dict(zip(cells, table.column(self.draft.label_column, ""), strict=True))
            self._report_test_lists(table.path, ids, cells)
            self.draft.id_column = column
            self.draft.submission_ids = list(dict.fromkeys(cells))
            ids += cells
        if self.sample is not None and len(self.sample.columns) > 1:
            rest = [name for name in self.sample.columns if name != self.draft.id_column]
            self.draft.label_column = rest[0]
        if test is None and self.sample is None:
            self._read_test_folder()
            return
        path = test.path if test is not None else self.tables["sample"]
        found = self._resolve(list(dict.fromkeys(ids)), "test", path)
        for image_id in dict.fromkeys(ids):
            label = labels.get(image_id, "").strip()
            file = self.files[found[image_id]] if image_id in found else str(Path(path).parent / image_id)
            self.draft.rows.append((image_id, file, label if label in classes else None, "test", None))

    def _report_test_lists(self, path: str, before: list[str], cells: list[str]) -> None:
        twice = sorted(name for name, count in Counter(cells).items() if count > 1)
        if twice:
            message = f"{path} names {len(twice)} test images more than once; each gets one row."
            self.draft.problems.append(Problem("test image named twice", message, twice, "warning"))
        if before and set(before) != set(cells):
            rows = sorted(set(before) ^ set(cells))
            message = f"{path} and the test list differ in {len(rows)} ids; the submission follows {path}."
            self.draft.problems.append(Problem("test lists differ", message, rows, "warning"))

    def _read_test_folder(self) -> None:
        names = [name for name in self.names if "/" in name and split_of_folder(name.partition("/")[0]) == "test"]
        bare = bool(self.draft.rows) and not any(is_image(row[0]) for row in self.draft.rows)
        by_id = {name.partition("/")[2]: name for name in sorted(names, key=natural_key)}
        ids = {without_extension(image_id) if bare else image_id: name for image_id, name in by_id.items()}
        self.draft.used.update(names)
        self.draft.rows += [(image_id, self.files[name], None, "test", None) for image_id, name in ids.items()]
        self.draft.submission_ids = list(ids) or None


# ---- labelled folders ----


def _labelled_tops(draft: _Draft) -> set[str]:
    """The top folders that hold ``CLASS/IMAGE`` or deeper."""
    return {name.partition("/")[0] for name in draft.images if name.count("/") >= 2}


def _read_folders(draft: _Draft, tables: dict[str, str], source: Path) -> str:
    tops = {name.partition("/")[0] for name in draft.images if "/" in name}
    split_of = {top: split for top in tops for split, known in _FOLDER_NAMES.items() if top.lower() in known}
    labelled = _labelled_tops(draft)
    layout = "class folders" if any(split_of.get(top) == "train" for top in labelled) else "labelled folder"
    if layout == "labelled folder":
        only_test = tops == {top for top in tops if split_of.get(top) == "test"} and tops
        if tops and tops == split_of.keys() and not only_test:
            raise UserError(
                f"{source}: {first_few(sorted(tops))} hold images without labels. Put them into one folder per "
                "class (train/CLASS/IMAGE), or add a train.csv with an id and a label column."
            )
        split_of = split_of if only_test else {}
    groups, stated = _read_manifest(draft, tables)
    _add_labelled(draft, split_of, groups)
    _add_test_folder(draft, split_of, tables)
    _compare_manifest(draft, stated)
    return layout


def _add_labelled(draft: _Draft, split_of: dict[str, str], groups: dict[str, str]) -> None:
    for name in draft.images:
        parts = name.split("/")
        split = split_of.get(parts[0], "" if split_of else "train")
        if split in ("train", "val") and len(parts) > (2 if split_of else 1):
            label = parts[1] if split_of else parts[0]
            draft.rows.append((name, draft.files[name], label, split, groups.get(name)))
            draft.used.add(name)


def _add_test_folder(draft: _Draft, split_of: dict[str, str], tables: dict[str, str]) -> None:
    """Test images keep the label of their folder when it is named like a training class."""
    classes = {row[2] for row in draft.rows}
    names = [name for name in draft.images if split_of.get(name.partition("/")[0]) == "test"]
    for name in sorted(names, key=natural_key):
        image_id = name.partition("/")[2]
        top = image_id.partition("/")[0]
        label = top if "/" in image_id and top in classes else None
        draft.rows.append((image_id, draft.files[name], label, "test", None))
        draft.used.add(name)
    ids = [row[0] for row in draft.rows if row[3] == "test"]
    draft.submission_ids = ids or None
    listed = tables.get("sample") or tables.get("test")
    if listed and ids:
        _follow_list(draft, read_csv(listed), names, ids)


def _follow_list(draft: _Draft, table: CsvFile, names: list[str], ids: list[str]) -> None:
    """A sample submission or test list beside class folders decides spelling, order and columns."""
    wanted = [cell.strip() for cell in table.column(table.columns[0], "--id-column")]
    found, _ = match_images(wanted, names, None)
    missing = [image_id for image_id in wanted if image_id not in found]
    if missing:
        message = f"{table.path} names {len(missing)} images that are not there."
        draft.problems.append(Problem("image named but missing", message, missing, "warning"))
    spelled = {name.partition("/")[2]: image_id for image_id, name in found.items()}
    draft.rows = [(spelled.get(row[0], row[0]), *row[1:]) if row[3] == "test" else row for row in draft.rows]
    draft.submission_ids = list(dict.fromkeys(wanted))
    draft.id_column = table.columns[0]
    draft.label_column = table.columns[1] if len(table.columns) > 1 else draft.label_column


def _read_manifest(draft: _Draft, tables: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return ({file name: group}, {file name: label}) as a ``manifest.csv`` states them."""
    if "manifest" not in tables:
        return {}, {}
    manifest = read_csv(tables["manifest"])
    ids = manifest.column("image_id", "the header of manifest.csv")
    found, _ = match_images(ids, draft.images, None)

    def stated(column: str) -> dict[str, str]:
        cells = manifest.column(column, "") if column in manifest.columns else []
        pairs = zip(ids, cells, strict=False)
        return {found[name]: cell.strip() for name, cell in pairs if name in found and cell.strip()}

    return stated("group"), stated("label")


def _compare_manifest(draft: _Draft, stated: dict[str, str]) -> None:
    rows = [row[0] for row in draft.rows if row[2] is not None and stated.get(row[0], row[2]) != row[2]]
    if rows:
        message = f"manifest.csv and the class folder disagree on {len(rows)} labels. Move the files or mend it."
        draft.problems.append(Problem("manifest disagrees", message, rows, "error", tuple(rows)))


# ---- what is left ----


def _report_unnamed(draft: _Draft) -> None:
    rows = [name for name in draft.images if name not in draft.used]
    if rows:
        message = f"{len(rows)} images have no row in a table and no class folder; they are not used."
        draft.problems.append(Problem("image present but not named", message, rows, "warning"))


def _refuse_unlabelled(table: pd.DataFrame, source: Path) -> None:
    """One class cannot be trained; no labelled image at all is enough to predict."""
    if table.empty:
        raise UserError(
            f"{source}: no image has a label or a place in a test list. Accepted: train.csv with its images, "
            "train/CLASS/IMAGE, or CLASS/IMAGE."
        )
    classes = set(table.loc[table["split"] != "test", "label"])
    if len(classes) == 1:
        raise UserError(
            f"{source}: only one class, {classes.pop()!r}; a classifier needs two. If the classes lie elsewhere, "
            "name the folder above them, or the label column with --label-column."
        )
