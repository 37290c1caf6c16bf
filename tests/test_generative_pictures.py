"""Which pictures a model learns from, and every refusal on the way."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from competition.errors import UserError
from competition.generative.pictures import load_pictures, named_classes, to_input, to_pixels
from tests.generative_data import settings_for, write_pictures


@pytest.fixture
def data(tmp_path):
    return write_pictures(tmp_path / "data")


def test_chosen_classes_only(data):
    pictures = load_pictures(settings_for("vae", data, classes="horse, bird"))
    assert pictures.class_names == ("bird", "horse")
    assert np.bincount(pictures.labels).tolist() == [8, 8]
    assert {name.split("/")[1] for name in pictures.image_ids} == {"bird", "horse"}


@pytest.mark.parametrize(
    ("classes", "said"),
    [("hors,bird", r"no class 'hors' \(did you mean 'horse'\?\); it has bird, horse, ship"), (",", "no class of that")],
)
def test_unknown_classes(data, classes, said):
    with pytest.raises(UserError, match=said):
        load_pictures(settings_for("vae", data, classes=classes))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("red, hot", ["red, hot"]),
        ("blue,red, hot, green", ["blue", "red, hot", "green"]),
        ("red,blue", ["red", "blue"]),
        (" , ", []),
    ],
)
def test_a_class_may_have_a_comma_in_its_name(text, names):
    assert named_classes(text, ["red, hot", "blue", "green"]) == names


def test_too_few_images(tmp_path):
    small = write_pictures(tmp_path / "data", per_class=4)
    with pytest.raises(UserError, match="12 images to learn from; a generative model needs at least 16"):
        load_pictures(settings_for("vae", small))
    for number in range(1, 4):
        (small / "train" / "ship" / f"{number}.png").unlink()
    with pytest.raises(UserError, match=r"fewer than 2 images to learn from: 'ship' \(1\)"):
        load_pictures(settings_for("vae", small))


def test_pictures_of_two_sizes_are_resized_and_said(data, capsys):
    cv2.imwrite(str(data / "train" / "bird" / "wide.png"), np.zeros((10, 20, 3), np.uint8))
    pictures = load_pictures(settings_for("vae", data))
    assert pictures.gather(np.array([0, 8])).shape == (2, 8, 8, 3)
    assert "images of 8x8 (24), 20x10 (1) become 8x8 (squash)" in capsys.readouterr().out


def test_damaged_images_are_refused_or_left_out(data, capsys):
    (data / "train" / "bird" / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="1 image cannot be read: train/bird/0.png"):
        load_pictures(settings_for("vae", data))
    pictures = load_pictures(settings_for("vae", data, on_bad="skip"))
    assert len(pictures.labels) == 23
    assert "left out, unreadable: train/bird/0.png" in capsys.readouterr().out


def test_rows_that_name_no_image_are_refused_or_left_out(data, capsys):
    names = [path.relative_to(data / "train").as_posix() for path in sorted(data.glob("train/*/*.png"))]
    rows = [f"{name},{name.partition('/')[0]}" for name in [*names, "bird/gone.png"]]
    (data / "train.csv").write_text("\n".join(["id,label", *rows, f"{names[0]},horse", ""]))
    with pytest.raises(UserError, match="the errors above stop the training: mend them .*--on-bad skip"):
        load_pictures(settings_for("vae", data))
    assert "image named but missing: " in capsys.readouterr().out
    pictures = load_pictures(settings_for("vae", data, on_bad="skip"))
    assert set(pictures.image_ids.tolist()) == set(names[1:])  # the first has two labels


def test_held_out_images_are_the_same_in_every_run(tmp_path):
    data = write_pictures(tmp_path / "data", per_class=20)
    first = load_pictures(settings_for("vae", data, hold_out=0.3))
    other = load_pictures(settings_for("flow", data, hold_out=0.3, seed=5))
    assert first.held_out == other.held_out
    assert 6 < len(first.held_out) < 30
    assert not set(first.held_out) & set(first.image_ids)
    more = load_pictures(settings_for("vae", data, hold_out=0.31))
    assert set(first.held_out) <= set(more.held_out)


def test_duplicates_and_groups_are_held_out_whole(tmp_path):
    data = write_pictures(tmp_path / "data", per_class=20)
    alone = set(load_pictures(settings_for("vae", data, hold_out=0.3)).held_out)
    for path in sorted(data.glob("train/bird/*.png")):
        shutil.copy(path, path.with_stem(f"x{path.stem}"))
    horses = [f"train/horse/{number}.png" for number in range(20)]
    rows = [f"{name},{int(Path(name).stem) // 2}" for name in horses]
    (data / "manifest.csv").write_text("\n".join(["image_id,group", *rows]) + "\n", encoding="utf-8")
    held_out = set(load_pictures(settings_for("vae", data, hold_out=0.3)).held_out)
    birds = {f"train/bird/{number}.png" for number in range(20)}
    copies = {f"train/bird/x{number}.png" for number in range(20)}
    assert {name.replace("/x", "/") for name in held_out & copies} == held_out & birds == alone & birds
    for first, second in zip(horses[::2], horses[1::2], strict=True):
        assert (first in held_out) == (second in held_out) == (first in alone)
    ships = {f"train/ship/{number}.png" for number in range(20)}
    assert held_out & ships == alone & ships


def test_validation_images_are_learned_from_when_told_so(tmp_path):
    data = write_pictures(tmp_path / "data", per_class=10)
    (data / "val" / "bird").mkdir(parents=True)
    (data / "train" / "ship").rename(data / "val" / "ship")
    (data / "train" / "bird" / "0.png").rename(data / "val" / "bird" / "0.png")
    without, told = (load_pictures(settings_for("vae", data, with_val=value)) for value in (False, True))
    assert (without.class_names, len(without.labels), without.unlearned) == (("bird", "horse"), 19, 1)
    assert (told.class_names, len(told.labels), told.unlearned) == (("bird", "horse", "ship"), 30, 0)
    assert without.fingerprint != told.fingerprint


@pytest.mark.parametrize(("size", "wanted"), [(8, 32), (40, 32), (60, 64), (100, 64)])
def test_the_automatic_size_is_the_nearer_one(tmp_path, size, wanted):
    data = write_pictures(tmp_path / "data", per_class=6, size=size)
    assert load_pictures(settings_for("vae", data, image_size=None)).image_size == wanted


def test_pixels_come_back():
    pictures = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    images = to_input(pictures, torch.device("cpu"), torch.channels_last)
    assert (images.min() >= -1, images.max() <= 1) == (True, True)
    np.testing.assert_array_equal(to_pixels(images), pictures.numpy())
    assert to_pixels(torch.tensor([[[[-7.0]], [[0.0]], [[7.0]]]])).tolist() == [[[[0, 128, 255]]]]
