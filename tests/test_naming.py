"""From ids to files."""

import unicodedata

import pytest

from competition.data.naming import match_images, split_of_folder, splits_of_folders

FILES = ["train_images/1.png", "train_images/sub/2.jpg", "test_images/1.png", "extra/img.003.png"]


@pytest.mark.parametrize(
    ("image_id", "split", "file"),
    [
        ("1", "train", "train_images/1.png"),
        ("1.png", "test", "test_images/1.png"),
        ("train_images/1.png", "train", "train_images/1.png"),
        ("./train_images\\1.png", "train", "train_images/1.png"),
        ("sub/2", "train", "train_images/sub/2.jpg"),
        ("2.jpg", "train", "train_images/sub/2.jpg"),
        ("img.003", "train", "extra/img.003.png"),
        ("2", "val", "train_images/sub/2.jpg"),
    ],
)
def test_readings_of_an_id(image_id: str, split: str, file: str) -> None:
    assert match_images([image_id], FILES, split) == ({image_id: file}, {})


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_may_be_a_character_of_its_own(forms: tuple[str, str]) -> None:
    image_id, file = (
        unicodedata.normalize(form, name) for form, name in zip(forms, ("é1", "train/é1.png"), strict=True)
    )
    assert match_images([image_id, "2"], [file, "train/2.png"], "train")[0] == {image_id: file, "2": "train/2.png"}
    files = [unicodedata.normalize(form, "é.png") for form in forms]  # both are there: each means itself
    assert match_images(files, files, None) == (dict(zip(files, files, strict=True)), {})


def test_an_extension_may_be_in_capitals() -> None:
    files = ["train/IMG_1.JPG", "train/img_1.jpg", "train/2.PNG"]
    found = {"IMG_1.jpg": "train/IMG_1.JPG", "img_1.jpg": "train/img_1.jpg", "2.png": "train/2.PNG"}
    assert match_images([*found, "IMG_2.jpg", "png"], files, "train") == (found, {})
    assert match_images(["2.png", "2.PNG"], files, "train") == ({"2.PNG": "train/2.PNG"}, {})  # taken already
    files = ["a/1.JPG", "b/1.JPG"]
    assert match_images(["1.jpg"], files, None) == ({}, {"1.jpg": files})


def test_test_ids_never_take_training_images() -> None:
    assert match_images(["2"], FILES, "test") == ({}, {})


def test_equally_good_files_are_ambiguous() -> None:
    found, ambiguous = match_images(["1"], ["images/a/1.png", "images/b/1.png"], "train")
    assert found == {}
    assert ambiguous == {"1": ["images/a/1.png", "images/b/1.png"]}


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("test-images", "test"),
        ("images_val", "val"),
        ("Validation", "val"),
        ("cats", None),
        ("train2017", "train"),
        ("testing", "test"),
        ("valset", "val"),
        ("TrainingImages", "train"),
        ("trainA", "train"),
        ("trainval", "train"),
        ("TEST", "test"),
        ("TRAINImages", "train"),
        ("valley", None),
        ("trains", None),
    ],
)
def test_split_of_folder(name: str, split: str | None) -> None:
    assert split_of_folder(name) == split


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train", "Test", "cats"], {"train": "train", "Test": "test"}),
        (["train_images", "test2017"], {"train_images": "train", "test2017": "test"}),
        (["seg_train", "seg_test", "seg_pred"], {"seg_train": "train", "seg_test": "test"}),
        (["seg_train", "other_test"], {}),
        (["train_station", "test_tube", "crash_test", "forest", "valley", "contest", "trainers"], {}),
        (["trainA", "testA", "trainB"], {"trainA": "train", "testA": "test"}),
        (["valid", "invalid"], {"valid": "val"}),
    ],
)
def test_splits_of_folders(names: list[str], splits: dict[str, str]) -> None:
    assert splits_of_folders(names) == splits
