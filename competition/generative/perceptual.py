"""Perceptual distance by the whole networks that stlpips-pytorch ships (Ghildyal & Liu 2022, arXiv 2207.13686)."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from competition.generative.image_sets import Decoded
from competition.generative.neighbours import Pairs
from competition.runs import counted_seed

NAME = "ST-LPIPS (alex)"
SMALLEST_SIDE = 64  # px; its last layer needs more than 16, and was made for photographs
PAIRS = 200
BATCH = 16
# Modules that stlpips-pytorch imports for its author's debugging alone, and does not ask for.
UNUSED_IMPORTS = {"IPython": "embed", "torchsummary": "summary"}

PairDistance = Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.float64]]


def is_available() -> bool:
    """Return whether stlpips-pytorch is installed."""
    return find_spec("stlpips_pytorch") is not None


def open_perceptual(device: torch.device) -> PairDistance:
    """Return the function (B, S, S, 3) uint8, the same again -> (B,) distances; 0 for equal pictures."""
    with _unused_imports():
        from stlpips_pytorch import stlpips  # late: an extra
    network = stlpips.LPIPS(net="alex", variant="shift_tolerant", verbose=False).eval().to(device)

    @torch.inference_mode()
    def distance(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
        parts = []
        for begin in range(0, len(one), BATCH):
            pair = [_to_input(side[begin : begin + BATCH], device) for side in (one, other)]
            parts.append(network(*pair).flatten().double().cpu().numpy())
        return np.concatenate(parts)

    return distance


@contextmanager
def _unused_imports() -> Iterator[None]:
    """Put empty modules where a package imports what it never calls and is not installed."""
    added = [name for name in UNUSED_IMPORTS if name not in sys.modules and find_spec(name) is None]
    for name in added:
        stand_in = ModuleType(name)
        setattr(stand_in, UNUSED_IMPORTS[name], None)
        sys.modules[name] = stand_in
    try:
        yield
    finally:
        for name in added:
            del sys.modules[name]


def _to_input(pictures: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Scale to [-1, 1], small pictures enlarged. (B, S, S, 3) uint8 -> (B, 3, T, T)."""
    images = torch.from_numpy(pictures).to(device).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    if images.shape[-1] >= SMALLEST_SIDE:
        return images
    size = (SMALLEST_SIDE, SMALLEST_SIDE)
    return torch.nn.functional.interpolate(images, size=size, mode="bicubic", antialias=True).clamp(-1, 1)


def class_pairs(images: Decoded, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positions of up to `PAIRS` pairs of different images of one class, drawn by counted randomness."""
    rng = np.random.default_rng(counted_seed(seed, "perceptual pairs"))
    groups = [own for name in np.unique(images.labels) if len(own := images.of_class(name)) > 1]
    if not groups:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    drawn = [rng.choice(groups[number % len(groups)], 2, replace=False) for number in range(PAIRS)]
    first, second = np.array(drawn).T
    return first, second


def diversity(distance: PairDistance, images: Decoded, seed: int) -> float:
    """Return the mean distance between two pictures of one class; nan where no class has two."""
    first, second = class_pairs(images, seed)
    return float(distance(images.gather(first), images.gather(second)).mean()) if len(first) else float("nan")


def to_nearest(distance: PairDistance, pairs: Pairs, seed: int) -> float:
    """Return the mean distance of up to `PAIRS` images, drawn by the seed, to the training images nearest to them."""
    rng = np.random.default_rng(counted_seed(seed, "nearest pairs"))
    drawn = rng.permutation(len(pairs.images))[:PAIRS]
    return float(distance(pairs.images.gather(drawn), pairs.trained.gather(pairs.which[drawn])).mean())
