"""The default network: dense 3x3 convolutions with short cuts, for images of 32 to 128 px, fast on a CPU."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import DropPath
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from competition.errors import UserError
from competition.models.common import (
    OwnNetwork,
    Residual,
    conv_norm,
    conv_pool_norm,
    initialise_convolutions,
    make_activation,
    pretrained_cfg,
)

default_cfgs = {"resnet_fast": pretrained_cfg("stem.0", 64)}


class ResNetFast(OwnNetwork):
    """3x3 stem, three stages, average pool, classifier.

    A stage is convolution, max pool, norm and activation, then residual blocks. It follows the networks that learn
    CIFAR-10 fastest (Jordan 2024, arXiv 2404.00498): wide where the pictures are small, few layers, pooling after the
    convolution that widens, and a stem that begins as a fixed transform of patches (see `patch_filters`).

    3,232,130 parameters at 100 classes, 64x64 (222 million multiply-adds).
    The stem's stride sets the cost: without ``stem_stride`` it follows from the image size, 1 for 32 px, 2 for 64, 4
    for 128, so that the last stage stays near 4x4. Any image of at least 8 times the stride works, so training may
    begin on smaller ones. ``depths`` are the residual blocks of each stage. ``drop_path_rate`` is the last block's
    share of dropped residuals; it rises from the first.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        img_size: int = 64,
        stem_width: int = 54,
        stem_stride: int | None = None,
        widths: Sequence[int] = (64, 256, 256),
        depths: Sequence[int] = (1, 1, 1),
        activation: str = "relu",
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise UserError(f"resnet_fast: widths {tuple(widths)} and depths {tuple(depths)} must be equally many")
        self.stem = conv_norm(in_chans, stem_width, 3, stem_stride or stride_for(img_size), activation)
        drop_paths = iter(torch.linspace(0, drop_path_rate, sum(depths)).tolist())
        self.blocks = nn.Sequential()
        channels = stem_width  # at 64 px: (B, 54, 32, 32)
        for width, depth in zip(widths, depths, strict=True):
            stage = conv_pool_norm(channels, width, 3, activation)
            for _ in range(depth):
                stage.append(residual(width, activation, next(drop_paths)))
            self.blocks.append(stage)  # (B, 64, 16, 16), (B, 256, 8, 8), (B, 256, 4, 4)
            channels = width
        self.num_features = channels
        initialise_convolutions(self)
        if in_chans == 3:
            begin_with_patch_filters(self.stem[0])  # type: ignore[arg-type]
        self.set_classifier(channels, num_classes, drop_rate)

    def pool_features(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))  # (B, C, h, w) -> (B, C)


def residual(channels: int, activation: str, drop_path: float) -> Residual:
    """Return y = act(x + droppath(norm(conv(act(norm(conv(x))))))), both convolutions 3x3 and dense.

    The last norm starts at zero: a new block is its skip.
    """
    first, second = conv_norm(channels, channels, 3, activation=activation), conv_norm(channels, channels, 3)
    nn.init.zeros_(second[1].weight)  # type: ignore[arg-type]
    return Residual(nn.Sequential(first, second, DropPath(drop_path)), last=make_activation(activation))


@torch.no_grad()
def begin_with_patch_filters(stem: nn.Conv2d) -> None:
    """Set the first filters of a 3x3 RGB stem to `patch_filters`; further ones keep their random start."""
    filters = patch_filters()[: stem.out_channels]
    stem.weight[: len(filters)] = filters


def patch_filters() -> Tensor:
    """Return (54, 3, 3, 3): the 27 cosine patterns of a 3x3 colour patch, and their negatives.

    The principal components of small patches of natural images are near to cosines over space times brightness,
    blue-yellow and green-magenta over colour; with the norm behind the stem they whiten its output, as filters
    fitted to the training images do in arXiv 2404.00498.
    """
    place = torch.arange(3) + 0.5
    waves = torch.stack([torch.cos(math.pi * place * frequency / 3) for frequency in range(3)])
    colours = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])
    waves, colours = nn.functional.normalize(waves, dim=1), nn.functional.normalize(colours, dim=1)
    filters = torch.einsum("ay,bx,kc->abkcyx", waves, waves, colours).reshape(27, 3, 3, 3)
    return torch.cat([filters, -filters])


def stride_for(image_size: int) -> int:
    """Return the stem's stride for pictures of a size: the power of two that leaves 32 to 63 px, at most 8."""
    return min(8, 2 ** max(0, (image_size // 32).bit_length() - 1))


# timm's registry calls an entry point by keyword; this pipe is its boundary.
@register_model
def resnet_fast(pretrained: bool = False, **kwargs: Any) -> ResNetFast:
    """`ResNetFast`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(ResNetFast, "resnet_fast", pretrained, **kwargs)
