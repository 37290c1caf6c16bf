"""Class folders and what lies beside them: manifests, test folders, sample submissions."""

from pathlib import Path

import pytest

from competition.data.catalog import open_catalog
from competition.errors import UserError
from tests.test_catalog import CLASS_FOLDERS, kinds, make, rows


def test_manifest_gives_groups(tmp_path: Path) -> None:
    manifest = "image_id,label,generator,seed,source,group\ncat/1.png,cat,vae,1,,g1\ndog/1.png,cat,vae,1,,g1\n"
    catalog = open_catalog(make(tmp_path, ["cat/1.png", "dog/1.png", "dog/2.png"], {"manifest.csv": manifest}))
    assert catalog.table["group"].tolist() == ["g1", "g1", None]
    assert kinds(catalog) == {"manifest disagrees": ["dog/1.png"]}
    assert open_catalog(tmp_path, group_column="none").table["group"].tolist() == [None, None, None]
    assert open_catalog(tmp_path, group_column="seed").table["group"].tolist() == ["1", "1", None]


def test_a_test_image_of_the_same_name_is_not_compared_with_the_manifest(tmp_path: Path) -> None:
    files = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png", "test/cat/1.png"]
    catalog = open_catalog(make(tmp_path, files, {"manifest.csv": "image_id,label\ncat/1.png,dog\n"}))
    assert kinds(catalog) == {"manifest disagrees": ["cat/1.png"]}


def test_test_folders_named_like_classes_keep_their_label(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/x/2.png"]))
    assert rows(catalog)[2:] == [("a/1.png", "a", "test"), ("x/2.png", None, "test")]


def test_images_of_one_name_in_two_test_folders_have_two_ids(tmp_path: Path) -> None:
    files = ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test_images/a/1.png"]
    catalog = open_catalog(make(tmp_path, files))
    assert rows(catalog)[2:] == [("test/a/1.png", "a", "test"), ("test_images/a/1.png", "a", "test")]
    assert catalog.submission_ids == ["test/a/1.png", "test_images/a/1.png"]


def test_class_folders_follow_a_sample_submission(tmp_path: Path) -> None:
    tables = {"sample_submission.csv": "Id,Guess\n10,cat\n2,cat\n"}
    catalog = open_catalog(make(tmp_path, CLASS_FOLDERS, tables))
    assert catalog.submission_ids == ["10", "2"]
    assert sorted(catalog.of("test")["image_id"]) == ["10", "2"]
    assert (catalog.id_column, catalog.label_column) == ("Id", "Guess")


def test_a_sample_submission_may_begin_with_the_label_and_name_what_is_not_there(tmp_path: Path) -> None:
    tables = {"sample_submission.csv": "Guess,Id\ncat,10\ncat,2\ncat,77\n"}
    catalog = open_catalog(make(tmp_path, CLASS_FOLDERS, tables))
    assert (catalog.id_column, catalog.label_column) == ("Id", "Guess")
    assert catalog.sample_columns == ("Guess", "Id")
    assert catalog.submission_ids == ["10", "2", "77"]
    assert sorted(catalog.of("test")["image_id"]) == ["10", "2", "77"]  # the last is predicted from a blank picture


@pytest.mark.parametrize("name", ["sample_submission.csv", "test.csv"])
def test_a_list_that_leaves_test_images_out_is_told(tmp_path: Path, name: str) -> None:
    catalog = open_catalog(make(tmp_path, [*CLASS_FOLDERS, "test/3.png"], {name: "Id,Guess\n10,cat\n"}))
    assert catalog.submission_ids == ["10"]
    assert kinds(catalog) == {"test lists differ": ["2.png", "3.png"]}
    assert "does not name 2 test images; the submission follows it." in catalog.problems[0].message


def test_a_test_list_names_no_column_of_labels(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, CLASS_FOLDERS, {"test.csv": "Id,width\n10,32\n2,32\n"}))
    assert (catalog.id_column, catalog.label_column, catalog.sample_columns) == ("Id", "label", ())


def test_train_and_test_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="images without labels in train. Put them into one folder per class"):
        open_catalog(make(tmp_path, ["train/1.png"]))
    with pytest.raises(UserError, match="images without labels in test, train. Put"):
        open_catalog(make(tmp_path, ["test/2.png"]))


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("training_set", "test_set"),
        ("train_images", "test_images"),
        ("train/train_images", "test"),
        ("TRAIN", "Testing"),
    ],
)
def test_split_folders_under_other_names(tmp_path: Path, train: str, test: str) -> None:
    names = [f"{train}/{label}/{number}.png" for label in ("forest", "valley") for number in (1, 2)]
    make(tmp_path, [*names, f"{test}/valley/3.png", "seg_pred/seg_pred/4.png"])
    catalog = open_catalog(tmp_path)
    assert (catalog.layout, catalog.class_names) == ("class folders", ["forest", "valley"])
    assert rows(catalog)[-1] == ("valley/3.png", "valley", "test")
    assert kinds(catalog) == {"image present but not named": ["seg_pred/seg_pred/4.png"]}


def test_flat_test_images_beside_train_images(tmp_path: Path) -> None:
    files = ["train_images/cats/1.jpg", "train_images/dogs/1.jpg", "test_images/2.jpg", "test_images/1.jpg"]
    catalog = open_catalog(make(tmp_path, files))
    assert (catalog.class_names, catalog.submission_ids) == (["cats", "dogs"], ["1.jpg", "2.jpg"])


def test_one_folder_of_several_that_is_called_test_is_the_test_set(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, ["cats/1.jpg", "dogs/1.jpg", "test/2.jpg", "test/1.jpg"]))
    assert (catalog.layout, catalog.class_names) == ("labelled folder", ["cats", "dogs"])
    assert catalog.submission_ids == ["1.jpg", "2.jpg"]
    assert catalog.problems == []


def test_classes_may_hold_the_word_of_a_split(tmp_path: Path) -> None:
    names = ["contest", "crash_test", "forest", "test_tube", "train_station", "trainers", "valley"]
    catalog = open_catalog(make(tmp_path, [f"{name}/day/1.png" for name in names]))
    assert catalog.class_names == names


def test_a_vehicle_called_train_is_a_class(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, ["bus/1.png", "car/1.png", "train/1.png"]))
    assert catalog.class_names == ["bus", "car", "train"]


@pytest.mark.parametrize("files", [["a/train/1.png", "a/test/1.png"], ["train/test/1.png", "train/val/1.png"]])
def test_splits_are_no_classes(tmp_path: Path, files: list[str]) -> None:
    with pytest.raises(UserError, match="without labels|names of splits"):
        open_catalog(make(tmp_path, files))


def test_classes_may_be_links_to_folders_in_the_same_place(tmp_path: Path) -> None:
    make(tmp_path, ["raw/cat/1.png", "raw/dog/1.png"])
    (tmp_path / "train").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "train" / name).symlink_to(f"../raw/{name}")
    catalog = open_catalog(tmp_path)
    assert rows(catalog) == [("train/cat/1.png", "cat", "train"), ("train/dog/1.png", "dog", "train")]
    assert catalog.problems == []
