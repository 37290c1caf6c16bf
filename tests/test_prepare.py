"""From --data to decoded, checked images."""

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from competition.__main__ import main
from competition.config import DataSettings
from competition.data.decode import size_of
from competition.data.prepare import find_data, fingerprint, natural_size, prepare_images, run_name
from competition.errors import UserError


def write(folder, sizes):
    rng = np.random.default_rng(0)
    for number, (height, width) in enumerate(sizes):
        path = folder / f"class{number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return DataSettings(data=folder, cache_dir=folder.parent / "cache")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [([(64, 64)] * 4, 64), ([(40, 50), (60, 30), (44, 44), (48, 90)], 42), ([(500, 400)] * 4, 128), ([(1, 1)] * 4, 8)],
)
def test_the_size_follows_from_the_images(tmp_path, sizes, expected):
    assert natural_size(find_data(write(tmp_path / "data", sizes))) == expected


def test_an_image_that_cannot_be_opened_has_no_say_in_the_size(tmp_path, monkeypatch):
    catalog = find_data(write(tmp_path / "data", [(64, 64)] * 2))
    opened = Image.open

    def fail_for_one(file):
        if (image := opened(file)).size == (20, 20):
            raise RuntimeError("Failed to decode image: Missing or empty image item")  # Pillow, of a damaged AVIF
        return image

    cv2.imwrite(str(tmp_path / "data" / "class0" / "0.png"), np.zeros((20, 20, 3), np.uint8))
    monkeypatch.setattr(Image, "open", fail_for_one)
    assert size_of(catalog.table["path"].iloc[0]) is None
    assert natural_size(catalog) == 64


def test_the_sample_trains_although_one_file_is_damaged(tmp_path, capsys):
    settings = DataSettings(cache_dir=tmp_path / "cache")
    images = prepare_images(settings, find_data(settings), 32, "squash", 3)
    assert "left out of the training: 1 image" in capsys.readouterr().out
    table = images.labelled()
    assert table["label"].nunique() >= 10
    assert images.store.facts["error"].iloc[table["row"]].eq("").all()
    assert len(np.unique(images.groups(table))) < len(table)  # its duplicates share a group


def test_damaged_images_of_ones_own_stop_the_training(tmp_path):
    settings = write(tmp_path / "data", [(16, 16)] * 8)
    (tmp_path / "data" / "class0" / "0.png").write_bytes(b"damaged")
    with pytest.raises(UserError, match="--on-bad skip"):
        prepare_images(settings, find_data(settings), 16, "squash", 2)
    images = prepare_images(settings.replace(on_bad="skip"), find_data(settings), 16, "squash", 2)
    assert len(images.labelled()) == 7


def test_a_test_image_stays_though_it_is_named_like_a_damaged_one(tmp_path):
    settings = write(tmp_path / "data" / "train", [(16, 16)] * 8).replace(data=tmp_path / "data", on_bad="skip")
    write(tmp_path / "data" / "test", [(16, 16)] * 2)
    (tmp_path / "data" / "train" / "class0" / "0.png").write_bytes(b"damaged")
    catalog = find_data(settings)
    catalog.table["image_id"] = catalog.table["image_id"].str.removeprefix("train/")
    images = prepare_images(settings, catalog, 16, "squash", 2)
    assert "class0/0.png" not in images.labelled()["image_id"].tolist()
    assert images.of("test")["image_id"].tolist() == ["class0/0.png", "class1/1.png"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "or leave out 1 image with --on-bad skip.\n"),
        (["--on-bad", "skip"], 0, "left out of the training: 1 image\n"),
        (["--on-bad", "skip", "--folds", "4"], 2, "Mend first: class too small for the folds.\n"),  # no help
    ],
)
def test_check_refuses_what_the_training_refuses(tmp_path, capsys, words, code, said):
    settings = write(tmp_path / "data", [(16, 16)] * 8)
    (tmp_path / "data" / "class0" / "0.png").write_bytes(b"damaged")
    assert main(["check", str(settings.data), "--cache-dir", str(settings.cache_dir), "--folds", "2", *words]) == code
    assert capsys.readouterr().out.endswith(said)


def test_check_passes_the_sample_as_the_training_does(small_sample, tmp_path, capsys):
    assert main(["check", "--cache-dir", str(tmp_path / "cache")]) == 0
    assert capsys.readouterr().out.endswith("left out of the training: 1 image\n")


def test_the_fingerprint_holds_ids_labels_and_contents_in_whatever_order():
    facts = pd.DataFrame({"content_hash": np.array([7, 2**64 - 1, 0], dtype=np.uint64)})
    table = pd.DataFrame({"image_id": ["b", "a"], "label": ["cat", "dog"], "row": [1, 0]})
    assert fingerprint(table, facts) == "1a2a7b7d55a9d283"  # begun runs store it: it may not change
    assert fingerprint(table.iloc[::-1], facts) == fingerprint(table, facts)
    others = [table.assign(label="cat"), table.assign(image_id=["b", "c"]), table.assign(row=[1, 2])]
    assert len({fingerprint(other, facts) for other in [table, *others]}) == 4


def test_names_depend_on_settings_and_images():
    settings = DataSettings(data="x/cats")
    names = {run_name(settings, "resnet_fast", identity) for identity in ({"a": 1}, {"a": 2}, {"b": 1})}
    assert len(names) == 3
    assert all(name.startswith("cats-resnet_fast-") for name in names)
