"""Every layout that is accepted, in a folder and in a zip, and what is refused whatever the layout."""

import shutil
from pathlib import Path

import pytest

from competition.data.catalog import Catalog, open_catalog
from competition.errors import UserError

CLASS_FOLDERS = ["train/cat/1.png", "train/cat/vae/2.png", "train/dog/1.png", "test/10.png", "test/2.png"]


def make(folder: Path, files: list[str], tables: dict[str, str] | None = None) -> Path:
    """Cataloguing never opens an image, so empty files do."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name, text in (tables or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def rows(catalog: Catalog) -> list[tuple[str, str | None, str]]:
    table = catalog.table
    return list(zip(table["image_id"], table["label"], table["split"], strict=True))


def kinds(catalog: Catalog) -> dict[str, list[str]]:
    return {problem.kind: problem.rows for problem in catalog.problems}


@pytest.fixture(params=["folder", "zip", "wrapped zip", "wrapped folder"])
def packed(request: pytest.FixtureRequest, tmp_path: Path):
    """The same files in each of four wrappings."""

    def pack(files: list[str], tables: dict[str, str] | None = None) -> Path:
        wrapped = request.param.startswith("wrapped")
        inner = tmp_path / "data" / "wrap" if wrapped else tmp_path / "data"
        make(inner, files, tables)
        if "zip" not in request.param:
            return tmp_path / "data"
        return Path(shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "data"))

    return pack


def test_class_folders(packed) -> None:
    catalog = open_catalog(packed([*CLASS_FOLDERS, "val/dog/7.png"]))
    assert rows(catalog) == [
        ("train/cat/1.png", "cat", "train"),
        ("train/cat/vae/2.png", "cat", "train"),
        ("train/dog/1.png", "dog", "train"),
        ("val/dog/7.png", "dog", "val"),
        ("2.png", None, "test"),
        ("10.png", None, "test"),
    ]
    assert catalog.layout == "class folders"
    assert catalog.class_names == ["cat", "dog"]
    assert catalog.submission_ids == ["2.png", "10.png"]
    assert (catalog.id_column, catalog.label_column, catalog.problems) == ("image_id", "label", [])
    assert catalog.of("test").index.tolist() == [0, 1]
    assert len(catalog.labelled()) == 4


def test_csv_with_images(packed) -> None:
    tables = {
        "train.csv": "Class,Image\n79,a.png\n007,b.png\n",
        "val.csv": "Class,Image\n79,v.png\n",
        "test.csv": "Image\nz.png\na.png\n",
    }
    files = ["train_images/a.png", "train_images/b.png", "val_images/v.png", "test_images/a.png", "test_images/z.png"]
    catalog = open_catalog(packed(files, tables))
    assert rows(catalog) == [
        ("a.png", "79", "train"),
        ("b.png", "007", "train"),
        ("v.png", "79", "val"),
        ("z.png", None, "test"),
        ("a.png", None, "test"),
    ]
    assert catalog.table["path"].iloc[0].endswith("train_images/a.png")
    assert catalog.table["path"].iloc[4].endswith("test_images/a.png")
    assert (catalog.layout, catalog.id_column, catalog.label_column) == ("csv", "Image", "Class")
    assert catalog.submission_ids == ["z.png", "a.png"]
    assert catalog.problems == []


def test_labelled_folder(packed) -> None:
    source = packed(["cat/1.png", "dog/1.png", "dog/more/2.png"])
    if source.is_dir() and (source / "wrap").exists():
        source = source / "wrap"  # a folder of classes inside a folder is one class with subfolders
    catalog = open_catalog(source)
    assert rows(catalog) == [
        ("cat/1.png", "cat", "train"),
        ("dog/1.png", "dog", "train"),
        ("dog/more/2.png", "dog", "train"),
    ]
    assert (catalog.layout, catalog.submission_ids) == ("labelled folder", None)


def test_kaggle_folder_of_zips(tmp_path: Path) -> None:
    make(tmp_path / "pictures", ["1.png", "2.png"])
    for name in ("train", "test"):
        shutil.make_archive(str(tmp_path / "data" / name), "zip", tmp_path / "pictures")
    make(tmp_path / "data", [], {"train.csv": "id,target\n1,a\n2,b\n"})
    catalog = open_catalog(tmp_path / "data")
    assert rows(catalog) == [("1", "a", "train"), ("2", "b", "train"), ("1", None, "test"), ("2", None, "test")]
    assert catalog.table["path"].iloc[2].endswith("test.zip::1.png")


def test_of_several_tables_the_usual_name_counts(tmp_path: Path) -> None:
    tables = {
        "train.csv": "id,label\n1,a\n2,b\n",
        "labels.csv": "label_id,label_name\n1,cat\n2,dog\n",
        "sample_submission.csv": "id,label\n3,a\n",
        "sample.csv": "id,label\n1,a\n",
    }
    catalog = open_catalog(make(tmp_path, ["train/1.png", "train/2.png", "test/3.png"], tables))
    assert rows(catalog) == [("1", "a", "train"), ("2", "b", "train"), ("3", None, "test")]


def test_what_is_named_from_the_working_directory_is_known_by_its_place(tmp_path: Path, monkeypatch) -> None:
    """Not so a name inside the data, which leads there from anywhere, whatever lies here."""
    tables = {"data/lists/mine.csv": "id,label\n1,a\n2,b\n", "test.csv": "id\n1\n", "lists/mine.csv": "id,label\n"}
    make(tmp_path, ["pictures/1.png", "pictures/2.png", "data/spare.png"], tables)
    monkeypatch.chdir(tmp_path)
    flags = {"train_csv": "lists/mine.csv", "test_csv": "test.csv", "images": "pictures"}
    catalog = open_catalog(Path("data"), **flags)
    assert catalog.from_here == {"test_csv": str(tmp_path / "test.csv"), "images": str(tmp_path / "pictures")}
    assert len(catalog.labelled()) == 2
    shutil.move("pictures", "data/pictures")
    assert open_catalog(Path("data"), **flags).from_here == {"test_csv": str(tmp_path / "test.csv")}


def test_flags_override_what_looking_finds(tmp_path: Path) -> None:
    tables = {"lists/mine.csv": "name,colour,kind,patient\nx,red,a,p\ny,blue,b,\n"}
    make(tmp_path, ["train/x.png", "train/y.png", "other/x.png", "other/y.png"], tables)
    catalog = open_catalog(
        tmp_path, train_csv="lists/mine.csv", images="other", label_column="kind", group_column="patient"
    )
    assert rows(catalog) == [("x", "a", "train"), ("y", "b", "train")]
    assert catalog.table["path"].iloc[0].endswith("other/x.png")
    assert catalog.table["group"].tolist() == ["p", None]


def test_only_test_images_can_be_predicted(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, ["test/1.png", "test/2.png"]))
    assert (catalog.class_names, catalog.submission_ids) == ([], ["1.png", "2.png"])


TRAIN = {"train.csv": "id,label\n1,a\n2,b\n"}
IMAGES = ["train/1.png", "train/2.png"]


@pytest.mark.parametrize(
    ("files", "tables", "message"),
    [
        ([], {}, "holds no images"),
        ([], TRAIN, "holds no images"),
        (["1.png", "2.png"], {}, "no image has a label"),
        (["train/a/1.png", "train/a/2.png"], {}, "only one class, 'a'"),
        (["a/1.png", "a/2.png"], {}, "only one class, 'a'"),
        (IMAGES, {"train.csv": "id,label\n1,a\n2,a\n"}, "only one class, 'a'"),
        (IMAGES, {"train.csv": "id,label\n"}, "no image has a label"),
    ],
)
def test_refused(tmp_path: Path, files: list[str], tables: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_catalog(make(tmp_path, files, tables))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"train_csv": "trian.csv"}, r"--train-csv trian.csv.*did you mean 'train.csv'"),
        ({"images": "pictures"}, "--images pictures"),
    ],
)
def test_refused_flags(tmp_path: Path, flags: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_catalog(make(tmp_path, IMAGES, TRAIN), **flags)


@pytest.mark.parametrize(
    ("label", "hint"),
    [("1.0", "; '1.0' is '1' read as a number: spell the labels alike in both. Each"), ("x", "does not have. Each")],
)
@pytest.mark.parametrize("layout", ["csv", "class folders"])
def test_labels_that_only_the_validation_split_has_are_told(tmp_path: Path, label: str, hint: str, layout: str) -> None:
    files, tables = [*IMAGES, "val/3.png"], {"train.csv": "id,label\n1,1\n2,2\n", "val.csv": f"id,label\n3,{label}\n"}
    if layout == "class folders":
        files, tables = ["train/1/1.png", "train/2/2.png", f"val/{label}/3.png"], {}
    (problem,) = open_catalog(make(tmp_path, files, tables)).problems
    assert (problem.kind, problem.rows, problem.severity) == ("label only in validation", [label], "warning")
    assert hint in problem.message


def test_a_list_of_classes_beside_class_folders_is_no_training_table(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, CLASS_FOLDERS, {"labels.csv": "ClassId,Name\n0,cat\n1,dog\n"}))
    assert (catalog.layout, catalog.class_names) == ("class folders", ["cat", "dog"])
    assert "table not used" in kinds(catalog)


def test_a_training_table_that_names_no_image_is_refused_beside_class_folders_too(tmp_path: Path) -> None:
    make(tmp_path, CLASS_FOLDERS, {"train.csv": "id,label\nimg_1,cat\nimg_2,dog\n"})
    with pytest.raises(UserError, match="no column names an image"):
        open_catalog(tmp_path)


def test_names_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    make(tmp_path, CLASS_FOLDERS)
    (tmp_path / "train" / "cat" / b"caf\xe9.png".decode("utf-8", "surrogateescape")).touch()
    with pytest.raises(UserError, match=r"1 image with a name that is not UTF-8: 'train/cat/caf\\udce9.png'"):
        open_catalog(tmp_path)
