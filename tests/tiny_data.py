"""Class folders small enough for a trial to take a moment."""

import cv2
import numpy as np

CLASSES = ("blue", "green", "red")


def write_tiny_data(root, per_class=8, test=6, size=32):
    """Write ``train/CLASS/N.png`` and ``test/N.png``: noise that is brighter in the class's channel."""
    rng = np.random.default_rng(0)

    def write(path, channel):
        image = rng.integers(0, 180, (size, size, 3), dtype=np.uint8)
        image[..., channel] += 70
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), image)

    for channel, name in enumerate(CLASSES):
        for number in range(per_class):
            write(root / "train" / name / f"{number}.png", channel)
    for number in range(test):
        write(root / "test" / f"{number}.png", number % 3)
    return root
