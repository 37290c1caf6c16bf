"""Tables as people send them: BOM, semicolons, tabs, quoted newlines, Windows code pages; and as we write them."""

import codecs
import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from competition.data.archive import read_bytes
from competition.errors import UserError, counted, did_you_mean, first_few
from competition.runs import write_atomically

DELIMITERS = (",", ";", "\t", "|")
ZIP_STARTS = (b"PK\x03\x04", b"PK\x05\x06")  # with files in it, and without


@dataclass(frozen=True)
class CsvFile:
    """A table of strings, cells exactly as spelled except for surrounding blanks in the header."""

    path: str
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]  # the line of the file on which each row ends, for messages

    def column(self, name: str, flag: str) -> list[str]:
        """Return the cells of a column; UserError naming the known columns and the flag to use."""
        if name not in self.columns:
            raise UserError(
                f"{self.path}: no column {name!r}{did_you_mean(name, self.columns)}; it has "
                f"{first_few(self.columns, 10)}. Name the right one with {flag}."
            )
        position = self.columns.index(name)
        return [row[position] for row in self.rows]


def read_csv(path: str) -> CsvFile:
    """Read a table; UserError naming the file and line when it is not one."""
    try:
        text = _decode(path, read_bytes(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    rows, lines = [], []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a CSV row ({error}). Mend the line.") from None
    if rows[:1] == [["sep=", ""]]:  # Excel's word on the delimiter, above the header
        rows, lines = rows[1:], lines[1:]
    if not rows:
        raise UserError(f"{path}: empty. It needs a header row and one row per image.")
    columns = [name.strip() for name in rows[0]]
    _check_shape(path, columns, rows[1:], lines[1:])
    return CsvFile(path, columns, rows[1:], lines[1:])


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a table, whole or not at all."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def _decode(path: str, data: bytes) -> str:
    if data.startswith(ZIP_STARTS):
        raise UserError(f"{path}: is a zip archive, whatever its name says. Unzip it and use the CSV that is in it.")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", errors="replace")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # what Excel writes in the west
    if "\0" in text:
        raise UserError(f"{path}: holds NUL bytes, so it is not a text table. Save it again as CSV (UTF-8).")
    return text


def _delimiter(text: str) -> str:
    """The delimiter that the header line holds most often, outside quotes; a comma when it holds none."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    unquoted = "".join(header.split('"')[::2])
    return max(DELIMITERS, key=unquoted.count)


def _check_shape(path: str, columns: list[str], rows: list[list[str]], lines: list[int]) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise UserError(f"{path}: columns named twice: {first_few(twice)}. Rename one of each.")
    uneven = [f"line {line} ({len(row)})" for row, line in zip(rows, lines, strict=True) if len(row) != len(columns)]
    if uneven:
        raise UserError(
            f"{path}: {counted(len(uneven), 'row')} without exactly {len(columns)} cells as in the header "
            f"({', '.join(columns)}): {first_few(uneven)}. Mend them, or quote cells that hold the delimiter."
        )
