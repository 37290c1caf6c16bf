"""Files that are not read are told where they may be images, and nowhere else."""

from pathlib import Path

import pytest

from competition.data.catalog import open_catalog
from competition.data.unread import unread_files
from tests.test_catalog import CLASS_FOLDERS, make

UNREAD = ["test/3", "test/4.dcm", "train/dog/2.HEIC", "train/owl/1.heic"]


def test_files_among_the_images_are_told_once(tmp_path: Path) -> None:
    (problem,) = open_catalog(make(tmp_path / "wrap", [*CLASS_FOLDERS, *UNREAD]).parent).problems
    assert (problem.kind, problem.severity, problem.image_ids) == ("file not read", "warning", ())
    assert problem.message.startswith("4 files without the ending of an image: 2 .heic, 1 without any, 1 .dcm. ")
    assert [name.removeprefix("wrap/") for name in problem.rows] == UNREAD


@pytest.mark.parametrize(
    "name",
    ["model.bin", "Makefile", "notes/a.txt", "train/cat/1.json", "train/labels.xml", "train/cat/LICENSE", "a.csv"],
)
def test_what_is_no_image_is_not_told(name: str) -> None:
    assert unread_files([*CLASS_FOLDERS, name]) == []


def test_beside_images_at_the_top_everything_is_told() -> None:
    (problem,) = unread_files(["1.png", "2.heic", "3.txt"])
    assert problem.rows == ["2.heic"]
