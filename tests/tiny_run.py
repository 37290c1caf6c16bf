"""A tiny run of the real scripts: its data, its flags, and how a command is given."""

import cv2
import numpy as np
import pytest

from competition.cli import run_command

CLASSES = ("blue", "green", "<red>")
TINY = [
    "--model",
    "mycnn",
    "--folds",
    "2",
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--precision",
    "fp32",
    "--learning-rate",
    "0.01",
]


def picture(rng, channel, size=32):
    """Return noise that is brighter in one channel. (size, size, 3) uint8, BGR."""
    image = rng.integers(0, 180, (size, size, 3), dtype=np.uint8)
    image[..., channel] += 70
    return image


def write_folders(root):
    """Write class folders: 24 training, 6 validation and 9 test images."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 2)):
        for channel, name in enumerate(CLASSES):
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                cv2.imwrite(str(root / split / name / f"{split}{number}.png"), picture(rng, channel))
    (root / "test").mkdir()
    for number in range(9):
        cv2.imwrite(str(root / "test" / f"{number}.png"), picture(rng, number % 3))
    return root


def answer(main, words, capsys):
    """Run a command as its script does; return (exit code, standard output, standard error)."""
    with pytest.raises(SystemExit) as end:
        run_command(main, [str(word) for word in words])
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err
