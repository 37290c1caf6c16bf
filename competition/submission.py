"""Submission CSVs: the rows and columns asked for, guarded before they are written or sent.

Nothing here needs torch, so a refused file answers at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from competition.data.catalog import Catalog, open_catalog
from competition.data.csvfile import CsvFile, read_csv
from competition.data.draft import Problem
from competition.errors import UserError, counted, did_you_mean, first_few, respelled
from competition.logbook import id_position, sidecar
from competition.runs import hash_file
from competition.shares import share_problems

AS_TEXT = "keep the column as text (dtype=str) or as whole numbers"
EMPTY_CELLS = frozenset({"", "nan", "NaN", "NAN", "<NA>", "None", "null", "NULL"})


@dataclass(frozen=True)
class Template:
    """What a submission has to look like.

    Args:
        id_column: its name.
        label_column: its name.
        ids: every id that needs a row, in the order asked for.
        class_names: the classes that may be predicted; empty: not known, any label passes.
        columns: the header, where it is not ids first.
    """

    id_column: str
    label_column: str
    ids: Sequence[str]
    class_names: Sequence[str]
    columns: Sequence[str] = ()

    @property
    def header(self) -> list[str]:
        """The two columns in the order asked for."""
        return list(self.columns or (self.id_column, self.label_column))


def template_of(catalog: Catalog, ids: Sequence[str], class_names: Sequence[str]) -> Template:
    """Return what the catalog's sample submission asks for, with rows for these ids.

    Raises:
        UserError: a sample submission that wants anything but an id and a class.
    """
    asked = catalog.sample_columns
    if len(asked) > 2:
        raise UserError(
            f"the sample submission of {catalog.source} has the columns {first_few(asked, 10)}; what can be "
            "written is an id and one class for each image: take the other columns out of a copy of the data, and name "
            "it with --data"
        )
    columns = asked if len(asked) == 2 else ()
    return Template(catalog.id_column, catalog.label_column, ids, class_names, columns)


def submission_table(ids: Sequence[str], labels: Sequence[str], template: Template) -> pd.DataFrame:
    """Return one row per id that the template asks for, in its order of rows and columns.

    Raises:
        UserError: ids that were not predicted.
    """
    label_of = dict(zip(ids, labels, strict=True))
    missing = [name for name in template.ids if name not in label_of]
    if missing:
        raise UserError(f"{len(missing)} ids of the test list have no prediction: {first_few(missing)}")
    cells = {template.id_column: template.ids, template.label_column: [label_of[name] for name in template.ids]}
    return pd.DataFrame({name: cells[name] for name in template.header})


def guard(table: pd.DataFrame, template: Template, out_of_fold: Mapping[str, int] | None = None) -> list[Problem]:
    """Return everything wrong with a submission, errors first.

    Args:
        table: the submission; cells are text, or numbers as pandas reads them.
        template: what it has to look like.
        out_of_fold: how often each class was predicted out of fold, to compare the shares with.

    An error is what a leaderboard would refuse or score as nothing; a warning is only told.
    """
    problems = _column_problems(list(table.columns), template)
    if any(problem.severity == "error" for problem in problems):
        return problems  # which column would hold the ids?
    ids, labels = _cells(table[template.id_column]), _cells(table[template.label_column])
    problems += [*_id_problems(ids, template.ids), *_label_problems(ids, labels, template.class_names)]
    if not any(problem.severity == "error" for problem in problems):
        problems += share_problems(labels, template.class_names, out_of_fold)
    return sorted(problems, key=lambda problem: problem.severity != "error")


def refuse_errors(problems: Sequence[Problem], path: Path | str = "the submission") -> None:
    """Print the warnings; raise one UserError with all errors."""
    for problem in problems:
        if problem.severity == "warning":
            print(f"warning: {path}: {_told(problem)}", flush=True)
    errors = [problem for problem in problems if problem.severity == "error"]
    if errors:
        raise UserError(f"{path} is refused, nothing was written or sent:\n  " + "\n  ".join(map(_told, errors)))


def _told(problem: Problem) -> str:
    names = f" ({first_few(problem.rows)})" if problem.rows else ""
    return f"{problem.kind}{names}: {problem.message}"


def _cells(column: pd.Series) -> list[str]:
    """Return the cells as text; what is missing becomes an empty cell."""
    return ["" if missing else str(cell) for cell, missing in zip(column, column.isna(), strict=True)]


def _column_problems(columns: list[str], template: Template) -> list[Problem]:
    wanted = template.header
    header = ",".join(wanted)
    missing = [f"{name!r}{did_you_mean(name, columns)}" for name in wanted if name not in columns]
    extra = [repr(name) for name in columns if name not in wanted]
    twice = [repr(name) for name in wanted if columns.count(name) > 1]
    problems = []
    if missing:
        problems.append(Problem("column missing", f"the header has to be {header}", missing))
    if extra:
        told = f"the header has to be {header} (pandas writes its index as a column without to_csv(index=False))"
        problems.append(Problem("column not asked for", told, extra))
    if twice:
        problems.append(Problem("column twice", f"the header has to be {header}", twice))
    if not problems and columns != wanted:
        told = f"the header asked for is {header}; some graders go by position"
        problems.append(Problem("columns in another order", told, list(columns), "warning"))
    return problems


def _id_problems(ids: list[str], wanted: Sequence[str]) -> list[Problem]:
    asked, given = set(wanted), set(ids)
    missing = [name for name in wanted if name not in given]
    extra = [name for name in dict.fromkeys(ids) if name not in asked]
    twice = list(pd.Series(ids, dtype=object)[lambda column: column.duplicated()].unique())
    problems = []
    if len(ids) != len(wanted):
        told = f"{counted(len(ids), 'row')} where {len(wanted):,} are asked for"
        problems.append(Problem("wrong number of rows", told))
    if missing:
        told = f"{counted(len(missing), 'id')} of the test list without a row{respelled(extra, missing, AS_TEXT)}"
        problems.append(Problem("ids missing", told, missing))
    if extra:
        told = f"{counted(len(extra), 'id')} that the test list does not name; its ids look like {wanted[0]!r}"
        problems.append(Problem("ids not asked for", told, extra))
    if twice:
        problems.append(Problem("ids twice", f"{counted(len(twice), 'id')} with more than one row", twice))
    if not problems and ids != list(wanted):
        first = next(row for row, name in enumerate(ids) if name != wanted[row])
        told = f"row {first + 1} is {ids[first]!r}, {wanted[first]!r} was asked for; some graders go by position"
        problems.append(Problem("rows in another order", told, severity="warning"))
    return problems


def _label_problems(ids: list[str], labels: list[str], class_names: Sequence[str]) -> list[Problem]:
    known = set(class_names)
    empty = [
        name for name, label in zip(ids, labels, strict=True) if label.strip() in EMPTY_CELLS and label not in known
    ]
    rest = {label for label in labels if label.strip() not in EMPTY_CELLS}
    unknown = sorted(rest - known) if known else []
    problems = []
    if empty:
        told = f"{counted(len(empty), 'row')} without a class: every image needs one"
        problems.append(Problem("labels empty or NaN", told, empty))
    if unknown:
        told = f"{counted(len(unknown), 'label')} that no training image has{respelled(unknown, class_names, AS_TEXT)}"
        near = [did_you_mean(label, class_names) for label in unknown[:5]] + [""] * len(unknown[5:])
        shown = [f"{label!r}{hint}" for label, hint in zip(unknown, near, strict=True)]
        problems.append(Problem("unknown classes", told, shown))
    return problems


# ---- a file that is to be sent ----


def guard_file(path: Path, data: Path | None) -> str:
    """Guard a CSV before it is sent; print warnings, return what it was compared with.

    What `predict.py` guarded and wrote passes unchanged. Otherwise the test list is that of ``data`` (a folder, a zip,
    or a sample submission), without it that of the data named in the JSON beside the CSV.

    Raises:
        UserError: everything that is wrong with it, or nothing to compare it with.
    """
    table = read_csv(str(path))
    record = sidecar(path)
    source = data or Path(str(record.get("data", "")))
    if data is None and record.get("sha256") == hash_file(path):
        # Checked by the flags that predict.py was given, which nothing here knows; its shares are looked at once more.
        template, told = _template_of_table(table, record), "unchanged since predict.py checked it"
    elif data is None and (not record.get("data") or not source.exists()):
        raise UserError(
            f"{path}: nothing here says which rows are asked for: name the competition's folder, zip or sample "
            "submission with --data PATH"
        )
    else:
        template, told = _template_of_data(source, record), f"compared with {source}"
    frame = pd.DataFrame(table.rows, columns=table.columns, dtype=object)
    refuse_errors(guard(frame, template, record.get("predicted_out_of_fold")), path)
    return told


def _template_of_table(table: CsvFile, record: dict[str, Any]) -> Template:
    """Return the template that a table of ids and labels itself makes: its columns and ids."""
    if len(table.columns) != 2 or not table.rows:
        raise UserError(
            f"{table.path}: expected a column of ids, one of labels, and rows; it has {first_few(table.columns)}"
        )
    place = id_position(table, record)
    ids = [row[place].strip() for row in table.rows]
    class_names = list(record.get("predicted_out_of_fold") or [])
    return Template(table.columns[place], table.columns[1 - place], ids, class_names, table.columns)


def _template_of_data(source: Path, record: dict[str, Any]) -> Template:
    if source.suffix.lower() == ".csv":
        return _template_of_table(read_csv(str(source)), record)
    catalog = open_catalog(source)
    if catalog.submission_ids is None:
        raise UserError(f"{source} lists no test images: name the sample submission with --data sample_submission.csv")
    return template_of(catalog, catalog.submission_ids, catalog.class_names)
