"""Test images of another look are told."""

from pathlib import Path

import numpy as np
from PIL import Image

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
