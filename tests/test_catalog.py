"""Every layout that is accepted, in a folder and in a zip, and every input that is refused."""

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


def test_manifest_gives_groups(tmp_path: Path) -> None:
    manifest = "image_id,label,generator,seed,source,group\ncat/1.png,cat,vae,1,,g1\ndog/1.png,cat,vae,1,,g1\n"
    catalog = open_catalog(make(tmp_path, ["cat/1.png", "dog/1.png", "dog/2.png"], {"manifest.csv": manifest}))
    assert catalog.table["group"].tolist() == ["g1", "g1", None]
    assert kinds(catalog) == {"manifest disagrees": ["dog/1.png"]}


def test_test_folders_named_like_classes_keep_their_label(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/x/2.png"]))
    assert rows(catalog)[2:] == [("a/1.png", "a", "test"), ("x/2.png", None, "test")]


def test_kaggle_folder_of_zips(tmp_path: Path) -> None:
    make(tmp_path / "pictures", ["1.png", "2.png"])
    for name in ("train", "test"):
        shutil.make_archive(str(tmp_path / "data" / name), "zip", tmp_path / "pictures")
    make(tmp_path / "data", [], {"train.csv": "id,target\n1,a\n2,b\n"})
    catalog = open_catalog(tmp_path / "data")
    assert rows(catalog) == [("1", "a", "train"), ("2", "b", "train"), ("1", None, "test"), ("2", None, "test")]
    assert catalog.table["path"].iloc[2].endswith("test.zip::1.png")


def test_sample_submission_decides_columns_and_order(tmp_path: Path) -> None:
    tables = {
        "train.csv": '\ufefffile;kind;comment\na;x;one\nb;y;"two\nlines"\n',
        "test.csv": "file\nc\nd\n",
        "sample_submission.csv": "Id,kind\nd,x\nc,x\n",
    }
    catalog = open_catalog(make(tmp_path, ["images/a.jpg", "images/b.jpg", "images/c.jpg", "images/d.jpg"], tables))
    assert (catalog.id_column, catalog.label_column) == ("Id", "kind")
    assert catalog.submission_ids == ["d", "c"]
    assert rows(catalog)[:2] == [("a", "x", "train"), ("b", "y", "train")]


def test_class_folders_follow_a_sample_submission(tmp_path: Path) -> None:
    tables = {"sample_submission.csv": "Id,Guess\n10,cat\n2,cat\n"}
    catalog = open_catalog(make(tmp_path, CLASS_FOLDERS, tables))
    assert catalog.submission_ids == ["10", "2"]
    assert sorted(catalog.of("test")["image_id"]) == ["10", "2"]
    assert (catalog.id_column, catalog.label_column) == ("Id", "Guess")


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


def test_every_problem_is_named(tmp_path: Path) -> None:
    tables = {
        "train.csv": "id,label\na,x\nb,y\na,x\nb,x\nlost,x\ntwins,x\n",
        "test.csv": "id\nt\ngone\n",
    }
    files = ["train/a.png", "train/b.png", "train/spare.png", "train/1/twins.png", "train/2/twins.png", "test/t.png"]
    catalog = open_catalog(make(tmp_path, files, tables))
    found = {problem.kind: problem for problem in catalog.problems}
    assert found["image named twice"].severity == "warning"
    assert found["image named twice with different labels"].image_ids == ("b",)
    missing = [problem for problem in catalog.problems if problem.kind == "image named but missing"]
    assert [(problem.rows, problem.severity, problem.image_ids) for problem in missing] == [
        (["lost"], "error", ("lost",)),
        (["gone"], "warning", ()),
    ]
    assert found["id fits several files"].image_ids == ("twins",)
    assert "train/spare.png" in found["image present but not named"].rows
    assert catalog.submission_ids == ["t", "gone"]
    assert catalog.of("test")["image_id"].tolist() == ["t", "gone"]  # it still needs a prediction
    assert catalog.labelled()["image_id"].is_unique


TRAIN = {"train.csv": "id,label\n1,a\n2,b\n"}
IMAGES = ["train/1.png", "train/2.png"]


@pytest.mark.parametrize(
    ("files", "tables", "message"),
    [
        ([], {}, "holds no images"),
        ([], TRAIN, "holds no images"),
        (["1.png", "2.png"], {}, "no image has a label"),
        (["train/1.png", "test/2.png"], {}, "without labels"),
        (["train/a/1.png", "train/a/2.png"], {}, "only one class, 'a'"),
        (["a/1.png", "a/2.png"], {}, "only one class, 'a'"),
        (IMAGES, {"train.csv": "id,label\n1,a\n2,a\n"}, "only one class, 'a'"),
        (IMAGES, {"train.csv": "id,label\n1,a\n2,\n"}, r"'label' is empty or NaN in 1 rows: line 3"),
        (IMAGES, {"train.csv": "id,label\n1,a\n2,nan\n"}, r"'label' is empty or NaN"),
        (IMAGES, {"train.csv": "id,label\n1,a\n,b\n"}, r"'id' is empty"),
        (IMAGES, {"train.csv": "id\n1\n2\n"}, "which column is the label"),
        (IMAGES, {"train.csv": "id,p,q\n1,a,b\n2,b,a\n"}, "--label-column"),
        (IMAGES, {"train.csv": "id,label\n8,a\n9,b\n"}, "no column names an image"),
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
        ({"label_column": "lable"}, r"no column 'lable' \(did you mean 'label'\?\)"),
        ({"id_column": "name"}, "no column 'name'"),
        ({"group_column": "patient"}, "no column 'patient'"),
    ],
)
def test_refused_flags(tmp_path: Path, flags: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_catalog(make(tmp_path, IMAGES, TRAIN), **flags)
