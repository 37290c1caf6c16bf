"""A finished run on tiny data whose class and file names are HTML, shared by the analysis tests."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

import train

CLASSES = ("<script>alert(1)</script>", "blue & green", "red")
HOSTILE = "<img src=x onerror=alert(2)>.png"
SIDE = 32
PER_CLASS = 14


def picture(rng, channel):
    """Return noise with a bright square in one channel. (SIDE, SIDE, 3) uint8, BGR."""
    image = rng.integers(0, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    image[8:24, 8:24, channel] += 120
    return image


def write_data(root):
    """Write 42 training images and 12 test images as CSVs beside a folder."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    rows = []
    for number in range(PER_CLASS * len(CLASSES)):
        name = HOSTILE if number == 0 else f"train{number:02}.png"
        (root / "images" / name).write_bytes(cv2.imencode(".png", picture(rng, number % 3))[1].tobytes())
        rows.append((name, CLASSES[number % 3]))
    pd.DataFrame(rows, columns=["image", "label"]).to_csv(root / "train.csv", index=False)
    names = [f"test{number:02}.png" for number in range(12)]
    for number, name in enumerate(names):
        cv2.imwrite(str(root / "images" / name), picture(rng, number % 3))
    pd.DataFrame({"image": names}).to_csv(root / "test.csv", index=False)


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Return (run folder, flags that name its cache); made once, only read."""
    place = tmp_path_factory.mktemp("analysis")
    write_data(place / "data")
    cache = ["--cache-dir", str(place / "cache")]
    flags = ["--model", "mycnn", "--folds", "2", "--epochs", "3", "--batch-size", "8", "--precision", "fp32",
             "--augment", "none", "--mix", "none", "--views", "1", "--validate-every", "1"]  # fmt: skip
    before = Path.cwd()
    os.chdir(place)
    try:
        train.main(["--data", str(place / "data"), "--run", str(place / "runs" / "a"), *cache, *flags])
    finally:
        os.chdir(before)
    return place / "runs" / "a", cache
