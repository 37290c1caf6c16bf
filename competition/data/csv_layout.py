"""A CSV beside its images: ``train.csv``, ``val.csv``, ``test.csv`` and ``sample_submission.csv``.

Which column holds the ids is found by looking which one names images; ids come with or without extension.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from competition.data.archive import is_image, natural_key, real_paths
from competition.data.columns import ID_NAMES, described, group_column, label_column, refuse_no_header
from competition.data.csvfile import CsvFile, read_csv
from competition.data.draft import ADVICE_FOR_TEST, Draft, Problem, Row
from competition.data.naming import ids_of_unlisted, match_images, split_of_folder, without_extension
from competition.errors import UserError, counted, first_few

_EMPTY_LABELS = frozenset({"", "nan", "NaN", "<NA>"})  # what pandas writes for a missing value
_NEARLY = 0.9  # of the largest share of values that name images: as good, for a few images may be missing
_ROWS_PER_ID = 10  # rows per value from which a column holds labels rather than ids
_LOOK_AT = 300  # values of a column that are looked up to see whether it names images


@dataclass
class CsvReader:
    """Reads the tables into a draft; UserError when a column cannot be found or holds nothing."""

    draft: Draft
    tables: dict[str, str]
    pool: dict[str, str] | None  # images named by --images; None: those of the source
    wanted: dict[str, str | None]  # column names given by flags

    def __post_init__(self) -> None:
        self.files = self.pool if self.pool is not None else self.draft.files
        self.names = [name for name in self.files if is_image(name)]

    def names_images(self) -> bool:
        """Whether any column of the training table names an image that is there."""
        return any(self._hits(self._first_values(read_csv(self.tables["train"])), "train").values())

    def read(self) -> None:
        """Add the rows of every table to the draft, smaller faults to its problems."""
        self.sample = read_csv(self.tables["sample"]) if "sample" in self.tables else None
        seen: dict[str, tuple[str, str | None]] = {}
        for split in ("train", "val"):
            if split in self.tables:
                self._read_labelled(read_csv(self.tables[split]), split, seen)
        self._read_test({row.label for row in self.draft.rows if row.label is not None})

    def _match(self, ids: Iterable[str], split: str) -> tuple[dict[str, str], dict[str, list[str]]]:
        found, ambiguous = match_images(ids, self.names, None if self.pool is not None else split)
        for image_id, names in list(ambiguous.items()):
            if len(set(real_paths(self.files[name] for name in names))) == 1:  # one file by way of links
                found[image_id] = ambiguous.pop(image_id)[0]
        return found, ambiguous

    def _id_column(self, table: CsvFile, split: str) -> str:
        """The column whose values name images, most of them at least; UserError when there is none."""
        if self.wanted["id"] and (split != "test" or self.wanted["id"] in table.columns):
            table.column(self.wanted["id"], "--id-column")
            return self.wanted["id"]
        values = self._first_values(table)
        hits = self._hits(values, split)
        shares = {name: hits[name] / max(1, len(values[name])) for name in table.columns}
        enough = _NEARLY * max(shares.values(), default=0)

        def rank(name: str) -> tuple[bool, bool, bool, bool, bool, int]:
            # Labels 0..9 name images too, where those are called 0.png, 1.png ...: few values, each in many rows.
            # A running number may name more images than an id that several rows share, or others than the file beside
            # it: names with their extension come before usual columns, and those before numbers.
            is_label_like = _ROWS_PER_ID * len(values[name]) < min(len(table.rows), _LOOK_AT)
            is_full, is_usual = all(map(is_image, values[name])), name.lower() in ID_NAMES
            return hits[name] > 0, not is_label_like, shares[name] >= enough, is_full, is_usual, hits[name]

        best = max(table.columns, key=rank)
        if hits[best] == 0 and table.rows:
            looked = [f"{name} ({table.column(name, '')[0]!r})" for name in table.columns]
            raise UserError(
                f"{table.path}: no column names an image that is there. Columns with their first value: "
                f"{first_few(looked)}; images there: {first_few(self.names, 3) or 'none'}. "
                f"{self._lost_zeros(values, split)}Name the column with --id-column, or the folder with --images."
            )
        refuse_no_header(table, best, lambda ids: self._match(ids, split)[0])
        return best

    def _lost_zeros(self, values: dict[str, set[str]], split: str) -> str:
        """Say so where a column would name images if its numbers still began with zeros: ``7`` and ``007.png``."""
        widths = {len(stem) for name in self.names if (stem := without_extension(name.rpartition("/")[2])).isdecimal()}
        padded = [
            {cell.zfill(width): cell for cell in cells if cell.isdecimal() for width in widths}
            for cells in values.values()
        ]
        found, cells = max(((self._match(one, split)[0], one) for one in padded), key=lambda pair: len(pair[0]))
        if not found:
            return ""
        name = min(found)
        return f"{cells[name]!r} is {name!r} without its zeros ({found[name]}): keep the ids as text (dtype=str). "

    def _hits(self, values: dict[str, set[str]], split: str) -> dict[str, int]:
        """Count the different images that each column names."""
        return {name: len(self._match(cells, split)[0]) for name, cells in values.items()}

    def _first_values(self, table: CsvFile) -> dict[str, set[str]]:
        return {name: set(table.column(name, "--id-column")[:_LOOK_AT]) - {""} for name in table.columns}

    def _groups(self, table: CsvFile, taken: tuple[str, str]) -> list[str | None]:
        name = group_column(table, self.wanted["group"], taken)
        if name is None:
            return [None] * len(table.rows)
        groups = [cell.strip() or None for cell in table.column(name, "--group-column")]
        if any(groups):
            self.draft.grouped_by = self.draft.grouped_by or described(table, name)
        return groups

    def _read_labelled(self, table: CsvFile, split: str, seen: dict[str, tuple[str, str | None]]) -> None:
        """Add the rows of a labelled table; ``seen`` holds (label, file) of the ids of this and earlier tables."""
        id_column = self._id_column(table, split)
        labelled_by = label_column(table, id_column, self.wanted["label"], self.wanted["group"], self.sample)
        if split == "train":
            self.draft.id_column, self.draft.label_column = id_column, labelled_by
        ids = [image_id.strip() for image_id in table.column(id_column, "--id-column")]
        labels = [label.strip() for label in table.column(labelled_by, "--label-column")]
        self._report_blanks(table.path, {label for label in table.column(labelled_by, "") if label.strip()})
        empty = self._report_empty(table, [(id_column, ids), (labelled_by, labels)])
        found = self._resolve([name for name in ids if name], split, table.path)
        groups = self._groups(table, (id_column, labelled_by))
        twice: list[str] = []
        torn: list[str] = []
        shared: list[str] = []
        for number, (image_id, label, group) in enumerate(zip(ids, labels, groups, strict=True)):
            if number in empty:
                continue
            file = self.files[found[image_id]] if image_id in found else None
            if image_id in seen and file not in (None, seen[image_id][1]):  # each split counts its images from 0
                shared.append(image_id)
                image_id = f"{split}/{image_id}"
            if image_id in seen:
                (twice if seen[image_id][0] == label else torn).append(image_id)
                continue
            seen[image_id] = label, file
            if file is not None:
                self.draft.rows.append(Row(image_id, file, label, split, group))
        self._report_repeated(table.path, split, *(sorted(set(names)) for names in (shared, twice, torn)))

    def _report_repeated(self, path: str, split: str, shared: list[str], twice: list[str], torn: list[str]) -> None:
        message = f"{path} gives {counted(len(shared), 'image')} an id of train; here it begins with {split}/."
        self.draft.warn("id of two images", message, shared)
        message = f"{path} names {counted(len(twice), 'image')} again with the same label; each is used once."
        self.draft.warn("image named twice", message, twice)
        if torn:
            message = f"{path} gives {counted(len(torn), 'image')} two different labels. Keep the right row of each."
            self.draft.problems.append(
                Problem("image named twice with different labels", message, torn, "error", tuple(torn))
            )

    def _report_blanks(self, path: str, labels: set[str]) -> None:
        """Report labels that lose the blanks around them: whoever grades a submission may not take these off."""
        rows = sorted(repr(label) for label in labels if label.strip() != label)
        message = f"{path}: {counted(len(rows), 'label')} with blanks before or after, read and submitted without"
        is_joined = len({label.strip() for label in labels}) < len(labels)
        message += ". What differs in blanks alone is one class." if is_joined else "."
        self.draft.warn("blanks around labels", message, rows)

    def _report_empty(self, table: CsvFile, columns: list[tuple[str, list[str]]]) -> set[int]:
        """Report the rows without an id or a label and return their numbers; UserError where no row has one."""
        rows: set[int] = set()
        for (column, cells), empty in zip(columns, ({""}, _EMPTY_LABELS), strict=True):
            numbers = [number for number, cell in enumerate(cells) if cell in empty]
            lines = tuple(f"line {table.lines[number]}" for number in numbers)
            message = f"{table.path}: column {column!r} is empty or NaN in {counted(len(lines), 'row')}."
            if lines and len(lines) == len(cells):
                raise UserError(f"{message} Name the right one with --id-column or --label-column.")
            if lines:
                advice = f"{message} Fill in or remove these rows."
                self.draft.problems.append(Problem("row without id or label", advice, list(lines), "error", lines))
            rows.update(numbers)
        return rows

    def _resolve(self, ids: list[str], split: str, path: str) -> dict[str, str]:
        """Return {id: file name} and report ids without a file or with several."""
        found, ambiguous = self._match(ids, split)
        self.draft.used.update(self.files[name] for name in found.values())
        missing = [name for name in dict.fromkeys(ids) if name not in found and name not in ambiguous]
        severity = "warning" if split == "test" else "error"
        advice = ADVICE_FOR_TEST if split == "test" else "Add the files or remove the rows."
        if missing:
            message = f"{path} names {counted(len(missing), 'image')} not there. {advice}"
            skip = () if split == "test" else tuple(missing)
            self.draft.problems.append(Problem("image named but missing", message, missing, severity, skip))
        if ambiguous:
            rows = [f"{name} ({first_few(files, 2)})" for name, files in ambiguous.items()]
            message = (
                f"{path}: {counted(len(rows), 'id')} for several files. Write the folder into the id, or use --images."
            )
            skip = () if split == "test" else tuple(ambiguous)
            self.draft.problems.append(Problem("id fits several files", message, rows, severity, skip))
        return found

    def _read_test(self, classes: set[str]) -> None:
        """Add the test images: those of test.csv and the sample submission, spelled as there, else the test folder's.

        Two spellings of one file are one image.
        """
        test = read_csv(self.tables["test"]) if "test" in self.tables else None
        if test is None and self.sample is None:
            self._read_test_folder()
            return
        labels: dict[str, str] = {}
        lists: dict[str, list[str]] = {}
        joined: dict[str, str] = {}
        for table in (test, self.sample):
            if table is None:
                continue
            column: str | None = None
            if table is self.sample and test is not None:
                column, joined = self._join(test, lists[test.path], table)
            column = column or self._id_column(table, "test")
            lists[table.path] = cells = [cell.strip() for cell in table.column(column, "--id-column")]
            if table is test and self.draft.label_column in table.columns and column != self.draft.label_column:
                labels = dict(zip(cells, table.column(self.draft.label_column, ""), strict=True))
            self.draft.id_column = column
            self.draft.submission_ids = list(dict.fromkeys(cells))
        if self.sample is not None:
            self.draft.follow_sample(self.sample.columns)
        labels = {name: label.strip() for name, label in labels.items()}
        self._add_test(lists, joined, {name: label for name, label in labels.items() if label in classes})

    def _join(self, test: CsvFile, files: list[str], sample: CsvFile) -> tuple[str | None, dict[str, str]]:
        """Return (the sample's id column, {id: file}) where its ids name images only by way of test.csv, else nothing.

        That is so where no column of the sample names an image, and test.csv has the ids of one beside its ``files``.
        """
        hits = self._hits(self._first_values(sample), "test")
        columns = [name for name in sample.columns if name != self.draft.label_column]
        for column in columns:
            if column in test.columns and not any(hits[name] for name in columns):
                ids = [cell.strip() for cell in test.column(column, "")]
                wanted = {cell.strip() for cell in sample.column(column, "")}
                if len(set(ids)) == len(ids) and len(wanted & set(ids)) >= _NEARLY * len(wanted):
                    return column, dict(zip(ids, files, strict=True))
        return None, {}

    def _add_test(self, lists: dict[str, list[str]], joined: dict[str, str], labels: dict[str, str]) -> None:
        """Add one row for each image of the ``lists``; ``joined`` holds the files of ids that do not name theirs."""
        ids = list(dict.fromkeys(cell for cells in lists.values() for cell in cells))
        named = {name: joined.get(name, name) for name in ids}
        found = self._resolve(list(dict.fromkeys(named.values())), "test", next(iter(lists)))
        images = {image_id: found.get(name, name) for image_id, name in named.items()}
        self._report_test_lists(lists, images)
        known = {images[name]: label for name, label in labels.items()}
        asked = set(self.draft.submission_ids or [])
        spelled = {images[name] for name in asked}
        for image_id in ids:
            name = images[image_id]
            if image_id in asked or name not in spelled:
                spelled.add(name)
                file = self.files.get(name, str(Path(next(iter(lists))).parent / name))
                self.draft.rows.append(Row(image_id, file, known.get(name), "test"))

    def _report_test_lists(self, lists: dict[str, list[str]], images: dict[str, str]) -> None:
        """Report ids named twice, and images that only one of the lists has; ``images`` holds what each id means."""
        for path, cells in lists.items():
            twice = sorted(name for name, count in Counter(cells).items() if count > 1)
            message = f"{path} names {counted(len(twice), 'test image')} more than once; each gets one row."
            self.draft.warn("test image named twice", message, twice)
        named = [{images[name] for name in cells} for cells in lists.values()]
        rows = sorted({name for cells in lists.values() for name in cells if images[name] in named[0] ^ named[-1]})
        message = f"{path} and the test list differ in {counted(len(rows), 'id')}; the submission follows {path}."
        self.draft.warn("test lists differ", message, rows)

    def _read_test_folder(self) -> None:
        names = [name for name in self.names if "/" in name and split_of_folder(name.partition("/")[0]) == "test"]
        bare = bool(self.draft.rows) and not any(is_image(row.image_id) for row in self.draft.rows)
        names = sorted(names, key=natural_key)
        ids = dict(zip(ids_of_unlisted(names, bare), names, strict=True))
        self.draft.used.update(self.files[name] for name in names)
        self.draft.rows += [Row(image_id, self.files[name], None, "test") for image_id, name in ids.items()]
        self.draft.submission_ids = list(ids) or None
