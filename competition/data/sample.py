"""The embedded sample competition: 12 kinds of shapes on clutter, drawn on first use, no download.

Colour, place, size and angle tell nothing about the class, so a linear model on pixels stays far behind a
convolutional network. A few duplicates, a few near-duplicates and one
damaged file are there for the checks to find. The same seed and library versions give the same files, byte for
byte.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from competition.data.csvfile import write_csv
from competition.data.decode import to_png
from competition.errors import UserError
from competition.runs import locked

VERSION = 4  # raise it when the drawing changes: older renderings are then replaced
SEED = 20_240_229
SIZE = 32  # pixels on a side
TRAIN_PER_CLASS = 200
TEST_PER_CLASS = 50
_FINE = 4  # drawn this many times larger, then averaged down
_CANVAS = SIZE * _FINE

Points = np.ndarray  # (n, 2) in units of the shape's radius


def render_sample(folder: Path) -> Path:
    """Draw the sample into ``folder`` unless it is there already, and return the folder.

    ``train.csv``, ``train_images/``, ``test.csv``, ``test_images/``, ``sample_submission.csv`` and the hidden
    ``.truth/solution.csv``. The folder appears whole or not at all. Raises UserError when it holds something
    else or cannot be written.
    """
    if _is_whole(folder):
        return folder
    if folder.exists() and any(folder.iterdir()) and not (folder / ".truth").is_dir():
        raise UserError(f"{folder}: holds other files; the sample needs an empty or new folder.")
    try:
        with locked(folder.with_name(f".{folder.name}.lock"), str(folder), wait=True):
            if not _is_whole(folder):  # else another process was faster
                _draw_beside(folder)
    except OSError as error:
        raise UserError(f"{folder}: the sample cannot be written there ({error.strerror}).") from None
    return folder


def sample_truth(folder: Path) -> Path:
    """Return the file with the true labels of the sample's test images."""
    return folder / ".truth" / "solution.csv"


def _is_whole(folder: Path) -> bool:
    marker = folder / ".truth" / "version"
    return marker.is_file() and marker.read_text().strip() == str(VERSION)


def _draw_beside(folder: Path) -> None:
    beside = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)  # a killed process may have left it
    try:
        beside.mkdir(parents=True)
        _render(beside)
        if folder.exists():
            shutil.rmtree(folder)  # empty, or an older version of the sample
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


# ---- files ----


def _render(folder: Path) -> None:
    rng = np.random.default_rng(SEED)
    names = sorted(SHAPES)
    labels = {
        "train": rng.permutation(np.repeat(names, TRAIN_PER_CLASS)).tolist(),
        "test": rng.permutation(np.repeat(names, TEST_PER_CLASS)).tolist(),
    }
    images = {
        split: [draw(label, [SEED, number, index]) for index, label in enumerate(labels[split])]
        for number, split in enumerate(labels)
    }
    _plant_duplicates(images, labels, rng)
    for split in images:
        (folder / f"{split}_images").mkdir()
        for index, image in enumerate(images[split]):
            (folder / f"{split}_images" / _name(split, index)).write_bytes(to_png(image))
    damaged = folder / "train_images" / _name("train", 0)
    damaged.write_bytes(damaged.read_bytes()[:600])  # as an interrupted download leaves it
    _write_tables(folder, labels)


def _name(split: str, index: int) -> str:
    return f"{split}_{index:04d}.png"


def _write_tables(folder: Path, labels: dict[str, list[str]]) -> None:
    ids = {split: [_name(split, index) for index in range(len(labels[split]))] for split in labels}
    tables = {
        "train.csv": {"image_id": ids["train"], "label": labels["train"]},
        "test.csv": {"image_id": ids["test"]},
        "sample_submission.csv": {"image_id": ids["test"], "label": [min(SHAPES)] * len(ids["test"])},
        ".truth/solution.csv": {"image_id": ids["test"], "label": labels["test"]},
    }
    for name, columns in tables.items():
        write_csv(folder / name, columns, zip(*columns.values(), strict=True))
    (folder / ".truth" / "version").write_text(f"{VERSION}\n")


def _plant_duplicates(
    images: dict[str, list[np.ndarray]], labels: dict[str, list[str]], rng: np.random.Generator
) -> None:
    """Append three copies, one under a wrong label, three noisy copies; put one training image into test."""
    train = images["train"]
    for source in (10, 20, 30):
        train.append(train[source])
        labels["train"].append(labels["train"][source])
    train.append(train[40])
    labels["train"].append(next(name for name in sorted(SHAPES) if name != labels["train"][40]))
    for source in (50, 60, 70):
        noise = rng.integers(-2, 3, train[source].shape)
        train.append(np.clip(train[source] + noise, 0, 255).astype(np.uint8))
        labels["train"].append(labels["train"][source])
    images["test"].append(train[80])
    labels["test"].append(labels["train"][80])


# ---- shapes ----


def _regular(corners: int, inner: float = 1.0) -> Points:
    """A polygon, or a star when every second corner lies at radius ``inner``."""
    angles = np.arange(corners) * (2 * np.pi / corners)
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, None]


def _plus() -> list[Points]:
    arm = 0.3
    corners = [(1, arm), (arm, arm), (arm, 1), (-arm, 1), (-arm, arm), (-1, arm)]
    return [np.array(corners + [(-x, -y) for x, y in corners])]


def _crescent() -> list[Points]:
    angles = np.linspace(0.6, 2 * np.pi - 0.6, 40)
    outer = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner = outer[::-1] * [0.72, 0.72] + [0.34, 0.0]
    return [np.concatenate([outer, inner])]


def _arrow() -> list[Points]:
    half = [(1, 0), (0.1, 0.75), (0.1, 0.28), (-1, 0.28)]
    return [np.array(half + [(x, -y) for x, y in reversed(half[1:])])]


def _bars() -> list[Points]:
    bar = np.array([(-0.9, -0.17), (0.9, -0.17), (0.9, 0.17), (-0.9, 0.17)])
    return [bar + np.array([0, offset]) for offset in (-0.65, 0.0, 0.65)]


def _chequers() -> list[Points]:
    tile = np.array([(-0.25, -0.25), (0.25, -0.25), (0.25, 0.25), (-0.25, 0.25)])
    centres = [(x, y) for x in range(3) for y in range(3) if (x + y) % 2 == 0]
    return [tile * 1.04 + [(x - 1) * 0.5, (y - 1) * 0.5] for x, y in centres]


# Even-odd filling: a polygon inside another cuts a hole.
SHAPES: dict[str, Callable[[], list[Points]]] = {
    "arrow": _arrow,
    "bars": _bars,
    "chequers": _chequers,
    "crescent": _crescent,
    "disk": lambda: [_regular(40)],
    "frame": lambda: [_regular(4), 0.6 * _regular(4)],
    "pair": lambda: [0.45 * _regular(24) + [0.55, 0], 0.45 * _regular(24) - [0.55, 0]],
    "plus": _plus,
    "ring": lambda: [_regular(40), 0.6 * _regular(40)],
    "square": lambda: [_regular(4)],
    "star": lambda: [_regular(10, 0.42)],
    "triangle": lambda: [_regular(3)],
}


def draw(label: str, seed: list[int]) -> np.ndarray:
    """Draw one image of a class: (32, 32, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    ground, ink = _two_colours(rng)
    image = _background(rng, ground)
    _scribble(rng, image)
    mask = np.zeros((_CANVAS, _CANVAS), np.uint8)
    cv2.fillPoly(mask, _placed(rng, SHAPES[label]()), 255)
    cover = cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[:, :, None] / 255.0
    shade = ink + rng.normal(0, 12, (SIZE, SIZE, 1))
    image = image * (1 - cover) + shade * cover + rng.normal(0, 18, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def _two_colours(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A ground and an ink that is brighter by at least 24 of 255."""
    while True:
        colours = rng.uniform(20, 235, (2, 3))
        if colours[1].mean() - colours[0].mean() > 24:
            return colours[0], colours[1]


def _background(rng: np.random.Generator, colour: np.ndarray) -> np.ndarray:
    """Cloudy: coarse noise, enlarged smoothly."""
    coarse = rng.normal(0, 22, (5, 5, 3)).astype(np.float32)
    return colour + cv2.resize(coarse, (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)


def _scribble(rng: np.random.Generator, image: np.ndarray) -> None:
    """Three to seven thin lines and dots of any colour behind the shape."""
    for _ in range(rng.integers(3, 8)):
        start, end = rng.integers(0, SIZE, (2, 2)).tolist()
        colour = rng.uniform(20, 235, 3).tolist()
        if rng.random() < 0.6:
            cv2.line(image, start, end, colour, 1)
        else:
            cv2.circle(image, start, int(rng.integers(1, 3)), colour, -1)


def _placed(rng: np.random.Generator, polygons: list[Points]) -> list[np.ndarray]:
    """Turn, scale, stretch a little and shift: unit shapes -> integer points on the fine canvas."""
    angle, radius = rng.uniform(-0.7, 0.7), rng.uniform(5.5, 11.5)
    stretch = rng.uniform(0.85, 1.15)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    centre = SIZE / 2 + rng.uniform(-4, 4, 2)
    return [
        np.rint(((points * [stretch, 1 / stretch]) @ turn * radius + centre) * _FINE).astype(np.int32)
        for points in polygons
    ]
