"""The default network: dense 3x3 convolutions with short cuts, for images of 32 to 128 px, fast on a CPU."""

from collections.abc import Sequence
from typing import Any

from timm.layers import DropPath
from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from competition.errors import UserError
from competition.models.common import OwnNetwork, conv_norm, initialise_convolutions, make_activation, pretrained_cfg

default_cfgs = {"resnet_fast": pretrained_cfg("stem.0", 64)}


class FastBlock(nn.Module):
    """y = act(droppath(norm(conv(act(norm(conv(x)))))) + skip(x)), both convolutions 3x3 and dense.

    The skip of a block that strides averages before its 1x1 convolution, so no position is thrown away
    (ResNet-D, https://arxiv.org/abs/1812.01187). The body's last norm starts at zero: a new block is its skip.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, activation: str, drop_path: float = 0.0) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv_norm(in_channels, channels, 3, stride, activation=activation), conv_norm(channels, channels, 3)
        )
        nn.init.zeros_(self.body[1][1].weight)  # type: ignore[index]
        self.skip = nn.Sequential()
        if stride > 1:
            self.skip.append(nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False))
        if stride > 1 or in_channels != channels:
            self.skip.append(conv_norm(in_channels, channels, 1))
        self.drop_path = DropPath(drop_path)
        self.last = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.drop_path(self.body(x)) + self.skip(x))  # (B, C, H, W) -> (B, C', H/s, W/s)


class ResNetFast(OwnNetwork):
    """3x3 stem, three stages of basic blocks at halving resolution, average pool, classifier.

    6,239,764 parameters at 100 classes, 64x64 (228 million multiply-adds).
    The stem's stride sets the cost: without ``stem_stride`` it follows from the image size, 1 for 32 px, 2 for 64, 4
    for 128, so that the last stage stays near 4x4. Any image of at least 8 times the stride works, so training may
    begin on smaller ones. ``drop_path_rate`` is the last block's share of dropped residuals; it rises from the first.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        img_size: int = 64,
        stem_width: int = 48,
        stem_stride: int | None = None,
        widths: Sequence[int] = (96, 192, 384),
        depths: Sequence[int] = (2, 2, 2),
        activation: str = "relu",
        drop_path_rate: float = 0.0,
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if len(widths) != len(depths):
            raise UserError(f"resnet_fast: widths {tuple(widths)} and depths {tuple(depths)} must be equally many")
        stride = stem_stride or stride_for(img_size)
        self.stem = conv_norm(in_chans, stem_width, 3, stride, activation)  # at 64 px: (B, 48, H/2, W/2)
        self.blocks = nn.Sequential()
        channels, total = stem_width, sum(depths)
        for width, depth in zip(widths, depths, strict=True):
            for i in range(depth):
                stride = 2 if i == 0 else 1
                drop_path = drop_path_rate * len(self.blocks) / max(total - 1, 1)  # rises with depth
                self.blocks.append(FastBlock(channels, width, stride, activation, drop_path))
                channels = width
        self.num_features = channels  # (B, 384, H/16, W/16)
        initialise_convolutions(self)
        self.set_classifier(channels, num_classes, drop_rate)

    def pool_features(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))  # (B, 384, h, w) -> (B, 384)


def stride_for(image_size: int) -> int:
    """Return the stem's stride for pictures of a size: the power of two that leaves 32 to 63 px, at most 8."""
    return min(8, 2 ** max(0, (image_size // 32).bit_length() - 1))


# timm's registry calls an entry point by keyword; this pipe is its boundary.
@register_model
def resnet_fast(pretrained: bool = False, **kwargs: Any) -> ResNetFast:
    """`ResNetFast`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(ResNetFast, "resnet_fast", pretrained, **kwargs)
