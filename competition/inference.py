"""Network + loader + views -> probabilities in row order: the one evaluation path.

Validation while training, out-of-fold predictions and `predict.py` all come through `predict_probabilities`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from competition.data.loader import Loader
from competition.memory import in_halves
from competition.precision import Precision

View = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Preprocessing:
    """What happens to a picture before the network sees it; stored in every checkpoint.

    Attributes:
        image_size: side of the square, in pixels.
        resize: how a picture became that square, see `competition.data.cache`.
        mean, std: per channel, on a scale of 0 to 1.
    """

    image_size: int
    resize: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def to_input(self, pictures: Tensor, device: torch.device, memory_format: torch.memory_format) -> Tensor:
        """Normalise a batch. (B, H, W, 3) uint8 -> (B, 3, H, W) float32 on the device."""
        # The bytes travel, not the floats; the permuted view is already channels_last.
        images = pictures.to(device, non_blocking=True).permute(0, 3, 1, 2).to(torch.float32)
        mean, std = _in_bytes(self.mean, device), _in_bytes(self.std, device)
        return images.sub_(mean).div_(std).contiguous(memory_format=memory_format)


@functools.lru_cache(maxsize=16)
def _in_bytes(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a scale of 0 to 255 as (1, 3, 1, 1), made once: a GPU waits for every copy from ordinary memory."""
    with torch.inference_mode(False):
        return torch.tensor(values, device=device).view(1, 3, 1, 1) * 255


def mirrored(images: Tensor) -> Tensor:
    """Flip left and right. (B, C, H, W)."""
    return images.flip(3)


def shifted(rows: int, columns: int) -> View:
    """Return a view that moves the picture by 1/16 of its side per unit; the edge is repeated."""

    def view(images: Tensor) -> Tensor:
        margin = max(1, images.shape[-1] // 16)
        padded = nn.functional.pad(images, (margin,) * 4, mode="replicate")
        top, left = margin * (1 - rows), margin * (1 - columns)
        return padded[..., top : top + images.shape[-2], left : left + images.shape[-1]]

    return view


def blurred(images: Tensor) -> Tensor:
    """Smooth with a 3 x 3 binomial kernel, for test pictures sharper than the training set. (B, C, H, W)."""
    line = torch.tensor([0.25, 0.5, 0.25], device=images.device)
    kernel = (line[:, None] * line).expand(images.shape[1], 1, 3, 3)
    return nn.functional.conv2d(nn.functional.pad(images, (1,) * 4, mode="replicate"), kernel, groups=images.shape[1])


def views_of(count: int) -> list[View]:
    """Return the first ``count`` of: plain, mirrored, four shifts (two of them mirrored), blurred, both."""
    views: list[View] = [
        lambda images: images,
        mirrored,
        shifted(1, 0),
        lambda images: mirrored(shifted(-1, 0)(images)),
        shifted(0, 1),
        lambda images: mirrored(shifted(0, -1)(images)),
        blurred,
        lambda images: mirrored(blurred(images)),
    ]
    return views[:count]


@torch.inference_mode()
def predict_probabilities(
    network: nn.Module,
    loader: Loader,
    classes: int,
    preprocessing: Preprocessing,
    precision: Precision,
    device: torch.device,
    views: Sequence[View],
    on_batch: Callable[[int], None] = lambda images: None,
    note: Callable[[str], None] = print,
) -> NDArray[np.float32]:
    """Return the mean probabilities over the views, in the loader's row order.

    Args:
        network: any classifier; it is put into eval mode and left there.
        loader: N rows, not shuffled.
        classes: K.
        preprocessing: how pictures become input.
        precision: number format and layout.
        device: where the network is.
        views: test-time views, see `views_of`.
        on_batch: told the number of images done, for progress.
        note: told when memory runs out; the images are then predicted in smaller parts.

    Returns:
        (N, K) float32, rows sum to 1.
    """
    network.eval()
    result = np.empty((loader.size, classes), dtype=np.float32)
    at_once = loader.size
    for pictures, positions in loader.epoch():

        def predict(size: int, pictures: Tensor = pictures) -> list[Tensor]:
            parts = (preprocessing.to_input(part, device, precision.memory_format) for part in pictures.split(size))
            return [_mean_probabilities(network, part, views, precision, device).cpu() for part in parts]

        parts, at_once = in_halves(predict, min(at_once, len(pictures)), note)
        result[positions.numpy()] = torch.cat(parts).numpy()
        on_batch(len(positions))
    return result


def _mean_probabilities(
    network: nn.Module, images: Tensor, views: Sequence[View], precision: Precision, device: torch.device
) -> Tensor:
    found = []
    for view in views:
        with precision.autocast(device):
            logits = network(view(images))
        found.append(logits.float().softmax(dim=1))
    return torch.stack(found).mean(dim=0)
