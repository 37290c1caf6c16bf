"""Which column is the label and which the group, and that they are never the same."""

from pathlib import Path

import pytest

from competition.data.catalog import open_catalog
from competition.errors import UserError
from tests.test_catalog import IMAGES, make

NOTHING = [None, None]


@pytest.mark.parametrize(
    ("header", "sample", "flags", "label", "groups"),
    [
        ("id,label,group", None, {}, ["a", "b"], ["x", "y"]),
        ("id,label,Group", None, {}, ["a", "b"], ["x", "y"]),
        ("id,label,group", None, {"group_column": "none"}, ["a", "b"], NOTHING),
        ("id,label,group", None, {"label_column": "group"}, ["x", "y"], NOTHING),
        ("id,label,group", "id,group", {"group_column": "none"}, ["x", "y"], NOTHING),
        ("id,group", None, {}, ["a", "b"], NOTHING),
        ("id,group", None, {"label_column": "group"}, ["a", "b"], NOTHING),
        ("id,kind,group", None, {}, ["a", "b"], ["x", "y"]),
        ("id,kind,group", None, {"group_column": "kind"}, ["x", "y"], ["a", "b"]),
        ("id,site,group", "id,group", {"group_column": "site"}, ["x", "y"], ["a", "b"]),
        ("group,label", None, {}, ["a", "b"], NOTHING),
    ],
)
def test_the_label_and_the_group(tmp_path: Path, header, sample, flags, label, groups) -> None:
    width = header.count(",") + 1
    table = [header, *(",".join(row[:width]) for row in (["1", "a", "x"], ["2", "b", "y"]))]
    tables = {"train.csv": "\n".join(table)} | ({"sample_submission.csv": f"{sample}\n3,a\n"} if sample else {})
    catalog = open_catalog(make(tmp_path, [*IMAGES, "test/3.png"], tables), **flags).labelled()
    assert (catalog["label"].tolist(), catalog["group"].tolist()) == (label, groups)


@pytest.mark.parametrize(
    ("files", "table", "text", "line"),
    [
        (IMAGES, "train.csv", "1.png,a\n2.png,b\n", "1.png, a"),
        (IMAGES, "train.csv", "1,a\n2,b\n", "1, a"),
        ([*IMAGES, "test/3.png", "test/4.png"], "test.csv", "3\n4\n", "3"),
        (["train/a/1.png", "train/b/2.png", "test/3.png", "test/4.png"], "test.csv", "3\n4\n", "3"),
    ],
)
def test_a_table_without_a_header_is_refused(tmp_path: Path, files, table, text, line) -> None:
    tables = {"train.csv": "id,label\n1,a\n2,b\n"} if files[0] == IMAGES[0] else {}
    with pytest.raises(UserError, match=rf"{table}: its first line \({line}\) names an image, so the header is miss"):
        open_catalog(make(tmp_path, files, tables | {table: text}))


@pytest.mark.parametrize(
    ("files", "table", "text", "ids"),
    [
        (["train/0.png", "train/1.png"], "train.csv", "0,1\n0.png,a\n1.png,b\n", ["0.png", "1.png"]),
        ([*IMAGES, "docs/image.png"], "train.csv", "image,label\n1,a\n2,b\n", ["1", "2"]),
        ([*IMAGES, "test/0.png", "test/3.png"], "test.csv", "0\n0.png\n3.png\n", ["0.png", "3.png"]),
        (
            ["train/a/1.png", "train/b/2.png", "test/id.png"],
            "sample_submission.csv",
            "id,label\nid.png,a\n",
            ["id.png"],
        ),
    ],
)
def test_a_header_that_could_be_an_image_is_one(tmp_path: Path, files, table, text, ids) -> None:
    tables = {"train.csv": "id,label\n1,a\n2,b\n"} if table == "test.csv" else {}
    catalog = open_catalog(make(tmp_path, files, tables | {table: text}))
    split = "train" if table == "train.csv" else "test"
    assert catalog.table["image_id"][catalog.table["split"] == split].tolist() == ids
