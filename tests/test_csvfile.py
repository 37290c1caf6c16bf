"""Tables as people send them."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import train
from competition.__main__ import main as competition
from competition.data.csvfile import read_csv, write_csv
from competition.errors import UserError
from tests.finished_run import write_data


@pytest.mark.parametrize(
    "data",
    [
        b"id,label\n1,a\n007,b\n",
        b"\xef\xbb\xbfid,label\r\n1,a\r\n007,b\r\n",
        b"id;label\n1;a\n007;b",
        b"id\tlabel\n1\ta\n\n007\tb\n",
        b'"id"|"label"\n"1"|"a"\n"007"|"b"\n',
        "id,label\n1,a\n007,b\n".encode("utf-16"),
        b"sep=;\r\nid;label\r\n1;a\r\n007;b\r\n",
        b" id , label\n1,a\n007,b\n",
    ],
)
def test_every_spelling_reads_the_same(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    table = read_csv(str(path))
    assert (table.columns, table.rows) == (["id", "label"], [["1", "a"], ["007", "b"]])


def test_quoted_newlines_keep_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('id,text\n1,"two\nlines; and, more"\n2,b\n')
    table = read_csv(str(path))
    assert table.rows == [["1", "two\nlines; and, more"], ["2", "b"]]
    assert table.lines == [3, 4]


def test_windows_code_page(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("id,label\n1,café\n".encode("cp1252"))
    assert read_csv(str(path)).rows == [["1", "café"]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"id,label\n1,a,b\n", r"line 2 \(3\)"),
        (b"id,label\n1\n", r"line 2 \(1\)"),
        (b"id,id\n1,a\n", "named twice: id"),
        (b"id,label\n\x001,a\n", "NUL"),
        (b'id,label\n1,"a"b\n', "line 2"),
    ],
)
def test_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_csv(str(path))


def test_unknown_column_names_the_flag(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("image,class\n1,a\n")
    with pytest.raises(UserError, match=r"did you mean 'class'.*--label-column"):
        read_csv(str(path)).column("clas", "--label-column")


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (competition, ["score", "table.csv", "--truth", "data/train.csv"]),
        (competition, ["score", "data/train.csv", "--truth", "table.csv"]),
        (competition, ["check", "data", "--train-csv", "table.csv", "--cache-dir", "cache"]),
        (train.main, ["--data", "data", "--fold-file", "table.csv", "--cache-dir", "cache", "--model", "mycnn"]),
    ],
)
def test_a_zip_that_is_called_a_csv_is_told_wherever_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, main: Callable[[Sequence[str]], int], words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_data(Path("data"))
    with zipfile.ZipFile("table.csv", "w") as file:
        file.write("data/train.csv", "train.csv")
    with pytest.raises(UserError, match=r"table.csv: is a zip archive, whatever its name says\. Unzip it"):
        main(words)


def test_what_is_written_reads_back_cell_for_cell(tmp_path: Path) -> None:
    rows = [["a,b", 'say "x"', ""], ["two\nlines", "007", "ü"]]
    write_csv(tmp_path / "new" / "t.csv", ["id", "label", "note"], rows)
    read = read_csv(str(tmp_path / "new" / "t.csv"))
    assert (read.columns, read.rows) == (["id", "label", "note"], rows)
    assert b"\r" not in (tmp_path / "new" / "t.csv").read_bytes()
