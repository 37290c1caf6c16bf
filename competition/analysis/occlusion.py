"""Occlusion maps: cover a part of the picture and see how far the probability falls (Zeiler & Fergus 2013)."""

from functools import partial

import torch
from torch import Tensor, nn

from competition.memory import in_halves

BATCH = 256  # covered pictures per forward pass, fewer where memory runs out


@torch.inference_mode()
def occlusion_map(
    network: nn.Module, images: Tensor, targets: Tensor, window: int | None = None, stride: int | None = None
) -> Tensor:
    """Return how far the target's probability falls when the mean colour covers a place. -> (B, H, W) on the CPU.

    Each value is the mean over all squares that cover the pixel: above 0 the place speaks for the class, below 0
    against it.

    Args:
        network: any classifier in eval mode.
        images: (B, 3, H, W), normalised.
        targets: (B,) class numbers.
        window: side of the square in pixels; a quarter of the picture where not given.
        stride: pixels from one square to the next; half a window where not given.
    """
    height, width = images.shape[2:]
    window = window or max(2, min(height, width) // 4)
    covers = _covers(height, width, window, stride or max(1, window // 2)).to(images.device)  # (P, H, W)
    plain = _target_probabilities(network, images, targets)  # (B,)
    falls = torch.stack(
        [
            fall - in_halves(partial(_covered, network, image, target, covers), BATCH, print)[0]
            for image, target, fall in zip(images, targets, plain, strict=True)
        ]
    )  # (B, P)
    weights = covers.flatten(1).to(falls.dtype)  # (P, H * W)
    return (falls @ weights / weights.sum(dim=0)).unflatten(1, (height, width)).cpu()


def _covers(height: int, width: int, window: int, stride: int) -> Tensor:
    """Return the squares as masks (P, H, W); they hang over the edges, so each pixel is covered about as often."""
    tops = torch.arange(stride - window, height, stride)
    lefts = torch.arange(stride - window, width, stride)
    rows = torch.arange(height)[None] - tops[:, None]  # (T, H): distance below the top edge
    columns = torch.arange(width)[None] - lefts[:, None]
    is_row, is_column = (rows >= 0) & (rows < window), (columns >= 0) & (columns < window)
    return (is_row[:, None, :, None] & is_column[None, :, None, :]).flatten(0, 1)


def _covered(network: nn.Module, image: Tensor, target: Tensor, covers: Tensor, at_once: int) -> Tensor:
    """Return the target's probability for each square. -> (P,)."""
    parts = []
    for some in covers.split(at_once):
        pictures = torch.where(some[:, None], 0.0, image[None])  # (p, 3, H, W)
        parts.append(_target_probabilities(network, pictures, target.expand(len(some))))
    return torch.cat(parts)


def _target_probabilities(network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
    return network(images).float().softmax(dim=1).gather(1, targets[:, None]).squeeze(1)
