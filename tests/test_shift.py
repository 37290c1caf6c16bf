"""Test images of another look are told."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from competition.data.draft import Problem
from competition.data.shift import shift
from tests.test_checks import found, make, noise, plain


def test_shift_in_brightness_and_sharpness(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

    def grain(level: int, spread: int) -> Image.Image:
        return Image.fromarray(rng.integers(level - spread, level + spread, (16, 16, 3), dtype=np.uint8))

    train = {f"train/{label}/{index}.png": grain(100, 60) for label in "ab" for index in range(20)}
    test = {f"test/{index}.png": grain(140, 20) for index in range(30)}
    problem = found(make(tmp_path / "data", {**train, **test}))["train and test differ"]
    assert problem.severity == "warning"
    assert [row.split()[0] for row in problem.rows] == ["brightness", "contrast", "sharpness"]


def test_shift_in_size(tmp_path: Path) -> None:
    images = {**plain(15), **{f"test/{index}.png": noise(20) for index in range(25)}}
    rows = found(make(tmp_path / "data", images))["train and test differ"].rows
    assert any(row.startswith("size 20x20") for row in rows)


def test_what_chance_does_to_a_few_images_is_not_told() -> None:
    """Of 20 images on each side half a standard deviation is nothing; of 400 it is something."""
    wave = np.tile([0.0, 1.0], 200)

    def problems(images: int) -> list[Problem]:
        half = {name: np.full(images, 1.0) for name in ("contrast", "sharpness", "width", "height")}
        sides = [wave[:images] + shifted for shifted in (0.0, 0.25)]
        facts = pd.concat(
            [pd.DataFrame({"brightness": side, **half, "format": "PNG", "mode": "RGB"}) for side in sides]
        )
        return shift(pd.DataFrame({"split": np.repeat(["train", "test"], images)}), facts.reset_index(drop=True))

    assert problems(20) == []
    assert problems(400)[0].rows == ["brightness 0.50 standard deviations higher in test"]
