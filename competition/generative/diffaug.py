"""Differentiable augmentation: colour, translation, cutout; Zhao et al. 2020, arXiv 2006.10738.

Real and generated pictures are changed alike before the discriminator sees them, so it cannot learn a small data set
by heart, and the generator never learns the changes.
"""

import torch
from torch import Tensor

SHIFT = 0.125  # largest translation, as a share of the side
CUTOUT = 0.5  # side of the square cut out, as a share of the side


def augment(images: Tensor, noise: torch.Generator) -> Tensor:
    """Change each picture in its own way. (B, C, S, S) in [-1, 1] -> the same."""
    return cut_out(translate(change_colour(images, noise), noise), noise)


def change_colour(images: Tensor, noise: torch.Generator) -> Tensor:
    """Shift brightness by up to 0.5, then scale saturation by 0 to 2 and contrast by 0.5 to 1.5."""
    brightness, saturation, contrast = _uniform(images, noise, 3)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = (images - grey) * (saturation * 2) + grey
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - middle) * (contrast + 0.5) + middle


def translate(images: Tensor, noise: torch.Generator) -> Tensor:
    """Move by whole pixels, up to an eighth of the side; what comes in is 0."""
    side = images.shape[-1]
    reach = int(side * SHIFT + 0.5)
    if reach == 0:
        return images
    padded = torch.nn.functional.pad(images, (reach,) * 4)
    down, right = (_integers(images, noise, 2 * reach + 1) for _ in range(2))
    places = torch.arange(side, device=images.device)
    rows, columns = down[:, None] + places, right[:, None] + places  # (B, S) each
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def cut_out(images: Tensor, noise: torch.Generator) -> Tensor:
    """Set a square of half the side to 0, its centre anywhere."""
    side = images.shape[-1]
    half = int(side * CUTOUT + 0.5) // 2
    places = torch.arange(side, device=images.device)
    inside = []
    for _ in range(2):
        offset = places[None] - _integers(images, noise, side)[:, None]
        inside.append((offset >= -half) & (offset < half))  # (B, S)
    hole = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return images * ~hole


def _uniform(images: Tensor, noise: torch.Generator, count: int) -> Tensor:
    return torch.rand((count, len(images), 1, 1, 1), generator=noise, device=images.device)


def _integers(images: Tensor, noise: torch.Generator, limit: int) -> Tensor:
    return torch.randint(limit, (len(images),), generator=noise, device=images.device)
