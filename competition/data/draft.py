"""What the readers of the layouts share: a draft of the table, and the problems met on the way."""

from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from competition.data.archive import is_image, real_paths
from competition.data.naming import splits_of_folders
from competition.errors import counted, respelled

ADVICE_FOR_TEST = "predict.py refuses them, or predicts them from a blank picture with --on-bad skip."  # unreadable


class Row(NamedTuple):
    """One image of the table that is made."""

    image_id: str
    path: str
    label: str | None
    split: str
    group: str | None = None


@dataclass(frozen=True)
class Problem:
    """Something found wrong with the data; an error stops training unless its images can be skipped."""

    kind: str  # a few words, the headline of the report
    message: str  # what, where, what to do
    rows: list[str] = field(default_factory=list)  # the names concerned
    severity: str = "error"  # "error" | "warning"
    image_ids: tuple[str, ...] = ()  # what `--on-bad skip` leaves out; empty on an error: skipping does not help


@dataclass
class Draft:
    """What a layout reader has gathered so far."""

    files: dict[str, str]  # name relative to the root -> path
    rows: list[Row] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    used: set[str] = field(default_factory=set)  # paths that some row or table named
    id_column: str = "image_id"
    label_column: str = "label"
    submission_ids: list[str] | None = None
    sample_columns: tuple[str, ...] = ()
    grouped_by: str = ""  # where the groups stand, if there are any

    @property
    def images(self) -> list[str]:
        """The names of all images, used or not."""
        return [name for name in self.files if is_image(name)]

    def labelled_tops(self) -> set[str]:
        """Return the top folders that hold ``CLASS/IMAGE`` or deeper."""
        return {name.partition("/")[0] for name in self.images if name.count("/") >= 2}

    def split_tops(self) -> dict[str, str]:
        """Return {top folder: split} of those that are named like one."""
        return splits_of_folders({name.partition("/")[0] for name in self.images if "/" in name})

    def has_train_folders(self) -> bool:
        """Whether there is ``train/CLASS/IMAGE``."""
        splits = self.split_tops()
        return any(splits.get(top) == "train" for top in self.labelled_tops())

    def follow_sample(self, columns: list[str]) -> None:
        """Take the header of a sample submission over, once it is known which column holds the ids."""
        self.sample_columns = tuple(columns)
        self.label_column = next((name for name in columns if name != self.id_column), self.label_column)

    def warn(self, kind: str, message: str, rows: list[str]) -> None:
        """Add a problem that is only told, where there are rows that it concerns."""
        if rows:
            self.problems.append(Problem(kind, message, rows, "warning"))

    def report_unnamed(self) -> None:
        """Add a problem that names the images nobody used."""
        names = [name for name in self.images if self.files[name] not in self.used]
        used = set(real_paths(self.used)) if names else set()  # a link may be another way to a used image
        paths = real_paths(self.files[name] for name in names)
        rows = [name for name, path in zip(names, paths, strict=True) if path not in used]
        message = f"{counted(len(rows), 'image')} without a row in a table or a class folder: not used."
        self.warn("image present but not named", message, rows)

    def report_sample_columns(self) -> None:
        """Add a problem where the sample submission asks for more than an id and a class."""
        if len(self.sample_columns) > 2:
            message = "predict.py writes an id and one class for each image, and will refuse to write this form."
            self.warn("sample submission with other columns", message, list(self.sample_columns))

    def report_unknown_labels(self) -> None:
        """Add a problem where the validation split has labels that no training image has."""
        known = {row.label for row in self.rows if row.label and row.split == "train"}
        given = {row.label for row in self.rows if row.label and row.split == "val"}
        unknown = sorted(given - known) if known else []
        message = f"{counted(len(unknown), 'label')} of the validation split that training does not have"
        message += f"{respelled(unknown, known, 'spell the labels alike in both')}. Each is a class of its own."
        self.warn("label only in validation", message, unknown)

    def as_table(self) -> pd.DataFrame:
        """Return the rows as a table with the columns of `Row`."""
        # object, not pandas' string type: None stays None and equal strings are stored once
        return pd.DataFrame(self.rows, columns=list(Row._fields), dtype=object)
