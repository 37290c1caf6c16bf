"""Augmentation with albumentations, its randomness counted: the same (seed, image) gives the same picture.

albumentations 2.0.8 shares sequences between forked workers and repeats them every epoch, so a policy never
draws from its own state: before each image its two generators are set from a number that the caller counted
from (seed, fold, epoch, image).
"""

import os
import random
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition.errors import UserError, did_you_mean

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # or its import asks the network for its newest version

import albumentations as A
import cv2

REFLECT = cv2.BORDER_REFLECT_101
ALLOWED_VERSION = "2.0.8"


def _mirror() -> A.BasicTransform:
    return A.HorizontalFlip(p=0.5)


def _light(size: int) -> list[A.BasicTransform]:
    """Mirror, and shift by up to an eighth of the side: pad by reflection, then crop at random."""
    return [_mirror(), A.Pad(max(1, round(size / 8)), border_mode=REFLECT, p=1.0), A.RandomCrop(size, size, p=1.0)]


def _medium(size: int) -> list[A.BasicTransform]:
    return [
        _mirror(),
        A.RandomResizedCrop((size, size), scale=(0.5, 1.0), ratio=(0.8, 1.25), p=1.0),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.2, p=0.5),
    ]


def _heavy(size: int) -> list[A.BasicTransform]:
    hole = (max(1, size // 8), max(2, size // 3))
    return [
        _mirror(),
        A.RandomResizedCrop((size, size), scale=(0.35, 1.0), ratio=(0.75, 1.33), p=1.0),
        A.Rotate(limit=15, border_mode=REFLECT, p=0.5),
        A.ColorJitter(brightness=(0.7, 1.3), contrast=(0.7, 1.3), saturation=(0.7, 1.3), hue=(-0.05, 0.05), p=0.8),
        A.CoarseDropout(num_holes_range=(1, 1), hole_height_range=hole, hole_width_range=hole, fill=128, p=0.5),
    ]


def _resnet_ab(size: int) -> list[A.BasicTransform]:
    jitter = A.ColorJitter(brightness=(0.8, 1.2), contrast=(0.8, 1.2), saturation=(0.8, 1.2), hue=(0.0, 0.0), p=1.0)
    return [jitter, A.Rotate(limit=15, border_mode=REFLECT, p=1.0), _mirror()]


def _affine(degrees: float, scale: tuple[float, float]) -> A.BasicTransform:
    shift, edge = (-0.1, 0.1), cv2.BORDER_REPLICATE
    return A.Affine(rotate=(-degrees, degrees), translate_percent=shift, scale=scale, border_mode=edge, p=1.0)


def _imp_cnn(size: int) -> list[A.BasicTransform]:
    return [
        _affine(20, (0.7, 1.2)),  # zoom range of -0.3 to +0.2
        A.RGBShift(r_shift_limit=(-51, 51), g_shift_limit=(-51, 51), b_shift_limit=(-51, 51), p=1.0),  # 0.2 of 255
        _mirror(),
    ]


def _resnet_small(size: int) -> list[A.BasicTransform]:
    return [_affine(15, (0.9, 1.1)), _mirror()]


POLICIES: dict[str, Callable[[int], list[A.BasicTransform]]] = {
    "none": lambda size: [],
    "light": _light,
    "medium": _medium,
    "heavy": _heavy,
    "mirror": lambda size: [_mirror()],
    "resnet_ab": _resnet_ab,
    "imp_cnn": _imp_cnn,
    "resnet_small": _resnet_small,
}


class Policy:
    """An albumentations pipeline whose draws depend on a counted number alone.

    Args:
        transforms: albumentations transforms; they must return a uint8 RGB picture of the size they were given.
    """

    def __init__(self, transforms: list[A.BasicTransform]) -> None:
        self._pipeline = A.Compose(transforms, strict=True)
        # The pipeline keeps these two objects; setting their state in place costs 5 us an image, new ones 30.
        self._numpy = np.random.Generator(np.random.PCG64(0))
        self._python = random.Random(0)
        self._state: Any = self._numpy.bit_generator.state
        self._pipeline.set_random_state(self._numpy, self._python)

    def __call__(self, image: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
        """Return the augmented picture. (H, W, 3) uint8 -> (H, W, 3) uint8; ``seed`` has 64 bits."""
        self._state["state"]["state"] = seed * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128
        self._numpy.bit_generator.state = self._state
        self._python.seed(seed)
        return self._pipeline(image=image)["image"]


def create_policy(name: str, image_size: int) -> Policy | None:
    """Return a named policy, or one from an albumentations YAML file; None for ``none``.

    Raises:
        UserError: an unknown name, a file that is no pipeline, or one that changes a picture's size or type.
    """
    _refuse_other_albumentations()
    if name in POLICIES:
        transforms = POLICIES[name](image_size)
        return Policy(transforms) if transforms else None
    if not name.endswith((".yaml", ".yml")):
        raise UserError(
            f"--augment {name!r}: choose from {', '.join(POLICIES)} or name a .yaml file{did_you_mean(name, POLICIES)}"
        )
    return _policy_from_file(Path(name), image_size)


def _policy_from_file(path: Path, image_size: int) -> Policy:
    try:
        pipeline = A.load(path, data_format="yaml")
    except FileNotFoundError:
        raise UserError(f"--augment {path} does not exist") from None
    except Exception as error:  # albumentations and YAML raise many kinds for a wrong file
        raise UserError(
            f"--augment {path} is not an albumentations pipeline: {error}\n"
            "(write one with albumentations.save(pipeline, path, 'yaml'))"
        ) from None
    # A OneOf, or a Compose with a probability of its own, is one transform of ours.
    is_list = type(pipeline) is A.Compose and pipeline.p == 1
    policy = Policy(list(pipeline.transforms) if is_list else [pipeline])
    probe = np.zeros((image_size, image_size, 3), dtype=np.uint8)
    result = policy(probe, 1)
    if result.shape != probe.shape or result.dtype != np.uint8:
        raise UserError(
            f"--augment {path} turns {probe.shape} uint8 into {result.shape} {result.dtype}: "
            "it must keep size and type (the network normalises by itself)"
        )
    return policy


def _refuse_other_albumentations() -> None:
    version = metadata.version("albumentations")
    if version != ALLOWED_VERSION:
        raise UserError(
            f"albumentations {version} is installed; this toolkit needs {ALLOWED_VERSION} (the last one under the MIT "
            "licence, and the one its augmentation is tested with): make setup"
        )
