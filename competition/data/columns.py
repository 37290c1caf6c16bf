"""Which column of a table holds the labels, and which the groups whose images must share a fold."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from competition.data.archive import split_path
from competition.data.csvfile import CsvFile
from competition.errors import UserError, first_few

ID_NAMES = ("image_id", "id", "image", "file", "filename", "file_name", "name", "path", "img", "uuid")
_LABEL_NAMES = ("label", "class", "target", "category", "labels", "y", "class_name", "class_id")
_GROUP_NAME = "group"


def label_column(
    table: CsvFile, id_column: str, wanted: str | None, wanted_group: str | None, sample: CsvFile | None
) -> str:
    """Return the column of labels: the one ``wanted``, one the sample submission has, one called so, the only one left.

    Raises:
        UserError: none or several of them.
    """
    if wanted:
        table.column(wanted, "--label-column")
        return wanted
    group = group_column(table, wanted_group, (id_column,))
    every = [name for name in table.columns if name != id_column]
    rest = [name for name in every if name != group] or every  # alone beside the ids it is the label
    asked = sample.columns[1:] if sample else []
    shared = [name for name in asked if name in rest] or [name for name in asked if name in every]
    known = [name for known in _LABEL_NAMES for name in rest if name.lower() == known]
    if sample and len(shared) > 1:
        raise UserError(
            f"{table.path}: which column is the label? It shares {first_few(shared, 10)} with "
            f"{sample.path}. If each is a class or one label of several, add a column with the name of "
            "each image's class. Name the label with --label-column."
        )
    if not shared and not known and len(rest) != 1:
        has = f"has {first_few(rest, 10)}" if rest else f"has only {id_column!r}"
        raise UserError(f"{table.path}: which column is the label? It {has}. Name it with --label-column.")
    return (shared + known or rest)[0]


def group_column(table: CsvFile, wanted: str | None, taken: Collection[str]) -> str | None:
    """Return the column of groups: the one ``wanted``, which may be none, else one called ``group``.

    It is none of those ``taken`` for ids and labels, which would make every image or every class one group.
    """
    if wanted == "none":
        return None
    if wanted in taken:
        raise UserError(
            f"{table.path}: --group-column {wanted} holds the ids or the labels, so it tells no groups. "
            "Name another column, or none."
        )
    if wanted is not None:
        table.column(wanted, "--group-column")
        return wanted
    return next((name for name in table.columns if name.lower() == _GROUP_NAME and name not in taken), None)


def refuse_no_header(table: CsvFile, id_column: str, match: Callable[[list[str]], Mapping[str, str]]) -> None:
    """Raise UserError where the id column is called like an image that no row names: that image would be lost.

    ``match`` finds the files of ids.
    """
    if id_column.lower() in ID_NAMES:
        return
    file = match([id_column]).get(id_column)
    if file and file not in match(table.column(id_column, "")).values():
        first = first_few(table.columns)
        raise UserError(
            f"{table.path}: its first line ({first}) names an image, so the header is missing. Write one above it: "
            f"{'image_id,label' if len(table.columns) == 2 else 'a name for each column'}."
        )


def described(table: CsvFile, column: str) -> str:
    """Return ``column 'group' of train.csv``."""
    return f"column {column!r} of {Path(split_path(table.path)[1] or table.path).name}"
