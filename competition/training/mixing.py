"""What happens to a batch on the device: resizing, mixup and CutMix, drawn from a counted generator.

Mixing returns the partner and the weight of the own label, so a loss can be taken against both labels. Any
batch size works.
"""

import numpy as np
import torch
from torch import Tensor, nn


def resized(images: Tensor, size: int) -> Tensor:
    """Shrink to a square. (B, C, H, W) float -> (B, C, size, size).

    Bilinear sampling takes in 2 x 2 pixels, which is all that half the size needs; a wider filter would blur the
    small pictures more than the whole ones that the network ends with.
    """
    if images.shape[-1] == size:
        return images
    layout = torch.channels_last if images.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
    small = nn.functional.interpolate(images, size=(size, size), mode="bilinear", antialias=2 * size < images.shape[-1])
    return small.contiguous(memory_format=layout)


def mixup(images: Tensor, partner: Tensor, weight: float) -> tuple[Tensor, float]:
    """Blend each picture with its partner's (Zhang et al. 2018, arXiv 1710.09412). (B, C, H, W) float."""
    return torch.lerp(images[partner], images, weight), weight


def cutmix(images: Tensor, partner: Tensor, weight: float, centre: tuple[float, float]) -> tuple[Tensor, float]:
    """Paste a box of each picture's partner (Yun et al. 2019, arXiv 1905.04899). (B, C, H, W) float.

    The box covers ``1 - weight`` of the picture around ``centre`` (fractions of height and width) and is cut
    at the border; the returned weight is what is really left of the own picture.
    """
    height, width = images.shape[-2:]
    half_y, half_x = height * (1 - weight) ** 0.5 / 2, width * (1 - weight) ** 0.5 / 2
    top, bottom = _span(centre[0] * height, half_y, height)
    left, right = _span(centre[1] * width, half_x, width)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[..., top:bottom, left:right][partner]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _span(middle: float, half: float, size: int) -> tuple[int, int]:
    return max(0, round(middle - half)), min(size, round(middle + half))


def mix_batch(
    images: Tensor, kind: str, probability: float, mixup_alpha: float, cutmix_alpha: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor | None, float]:
    """Mix a batch with the given probability.

    Returns:
        The pictures, the partner of each ((B,) positions in the batch, or None where nothing was mixed), and the
        weight of the own label.
    """
    if kind == "none" or rng.random() >= probability:
        return images, None, 1.0
    partner = torch.from_numpy(rng.permutation(len(images))).to(images.device, non_blocking=True)
    if kind == "cutmix" or (kind == "both" and rng.random() < 0.5):
        weight = rng.beta(cutmix_alpha, cutmix_alpha)
        mixed, weight = cutmix(images, partner, weight, (rng.random(), rng.random()))
    else:
        mixed, weight = mixup(images, partner, rng.beta(mixup_alpha, mixup_alpha))
    return mixed, partner, weight
