"""The residual networks the project grew out of; every one takes images of any size from 16 px."""

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from competition.models.common import (
    OwnNetwork,
    Residual,
    conv_norm,
    initialise_convolutions,
    make_activation,
    pretrained_cfg,
)

default_cfgs = {
    "resnet_ab": pretrained_cfg("stem.0", 32),
    "mycnn": pretrained_cfg("stem.0", 32),
    "resnet_small": pretrained_cfg("stem.0.0", 64),
}


class ResNetAB(OwnNetwork):
    """Stem; block A x3; reduction; block B x3; max pool; one linear layer.

    A block is y = x + f(f(x)), f = relu(norm(conv)).

    1,195,428 parameters at 100 classes, 32x32.
    The source gives no widths: 64, then 128 filters; 3x3 kernels. Its max pool is taken over the whole map, so that the
    linear layer fits any image size.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        width: int = 64,
        depth: int = 3,
        kernel_size: int = 3,
        activation: str = "relu",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()

        def block(channels: int) -> nn.Module:
            layers = (conv_norm(channels, channels, kernel_size, activation=activation) for _ in range(2))
            return Residual(nn.Sequential(*layers))

        self.stem = conv_norm(in_chans, width, 1, activation=activation)  # (B, 64, H, W)
        self.blocks = nn.Sequential(
            *(block(width) for _ in range(depth)),
            conv_norm(width, 2 * width, kernel_size, stride=2, activation=activation),  # (B, 128, H/2, W/2)
            *(block(2 * width) for _ in range(depth)),
        )
        self.num_features = 2 * width
        initialise_convolutions(self)
        self.set_classifier(self.num_features, num_classes, drop_rate)

    def pool_features(self, x: Tensor) -> Tensor:
        return x.amax((2, 3))  # (B, 128, h, w) -> (B, 128)


def bottleneck(in_channels: int, channels: int, stride: int, ratio: int, activation: str) -> Residual:
    """y = act(expand(conv3x3(reduce(x))) + skip(x)), the narrow middle ``channels / ratio`` wide.

    From "Deep Residual Learning" (https://arxiv.org/abs/1512.03385), figure 5 right; the 3x3 strides.
    """
    narrow = channels // ratio
    body = nn.Sequential(
        conv_norm(in_channels, narrow, 1, activation=activation),
        conv_norm(narrow, narrow, 3, stride, activation=activation),
        conv_norm(narrow, channels, 1),
    )
    changes_shape = stride != 1 or in_channels != channels
    skip = conv_norm(in_channels, channels, 1, stride) if changes_shape else None
    return Residual(body, skip, make_activation(activation))


class MyCNN(OwnNetwork):
    """Residual bottlenecks under a limit of 100,000 parameters: 3x3 stem, three stages, average pool, classifier.

    99,440 parameters at 100 classes, 32x32.
    The source gives only the kinds of layer and the total: a stem of 32; stages of 24, 48 and 144 channels with 1, 4
    and 3 blocks, a quarter as wide inside, meet it exactly.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        widths: Sequence[int] = (24, 48, 144),
        depths: Sequence[int] = (1, 4, 3),
        ratio: int = 4,
        activation: str = "relu",
        drop_rate: float = 0.0,
    ) -> None:
        super().__init__()
        channels = 32
        self.stem = conv_norm(in_chans, channels, 3, activation=activation)  # (B, 32, H, W)
        self.blocks = nn.Sequential()
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for i in range(depth):  # stages: (B, 24, H, W), (B, 48, H/2, W/2), (B, 144, H/4, W/4)
                stride = 2 if stage > 0 and i == 0 else 1
                self.blocks.append(bottleneck(channels, width, stride, ratio, activation))
                channels = width
        self.num_features = channels
        initialise_convolutions(self)
        self.set_classifier(channels, num_classes, drop_rate)

    def pool_features(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))  # (B, 144, h, w) -> (B, 144)


def basic_block(in_channels: int, channels: int, stride: int, projects: bool, activation: str) -> Residual:
    """y = act(conv3x3(conv3x3(x)) + skip(x)), the skip a 1x1 convolution where it ``projects``."""
    body = nn.Sequential(
        conv_norm(in_channels, channels, 3, stride, activation=activation), conv_norm(channels, channels, 3)
    )
    skip = conv_norm(in_channels, channels, 1, stride) if projects else None
    return Residual(body, skip, make_activation(activation))


class ResNetSmall(OwnNetwork):
    """ResNet-34 scaled down: 7x7 stem, pool; 64, 128, 256 filters, two blocks each; dense; pool.

    Of the two blocks the first has a projecting skip, the second the identity.
    2,827,332 parameters at 100 classes, 64x64.
    As in Keras, whose dense layers act on the channels of a map: dense 128 after the blocks, dropout 0.5 and dense 32
    are applied at every position, and the average pool follows. ``dense_width`` is the one the source searched over
    (64, 128, 256). Strides, which it leaves open, are ResNet-34's (https://arxiv.org/abs/1512.03385).
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        widths: Sequence[int] = (64, 128, 256),
        dense_width: int = 128,
        last_width: int = 32,
        activation: str = "relu",
        drop_rate: float = 0.5,
    ) -> None:
        super().__init__()
        channels = widths[0]
        self.stem = nn.Sequential(
            conv_norm(in_chans, channels, 7, stride=2, activation=activation),  # (B, 64, H/2, W/2)
            nn.MaxPool2d(3, stride=2, padding=1),  # (B, 64, H/4, W/4)
        )
        self.blocks = nn.Sequential()
        for stage, width in enumerate(widths):
            stride = 1 if stage == 0 else 2
            self.blocks.append(basic_block(channels, width, stride, projects=True, activation=activation))
            self.blocks.append(basic_block(width, width, 1, projects=False, activation=activation))
            channels = width
        self.num_features = channels  # (B, 256, H/16, W/16)
        self.dense = nn.Sequential(
            nn.Conv2d(channels, dense_width, 1),
            make_activation(activation),
            nn.Dropout(drop_rate),
            nn.Conv2d(dense_width, last_width, 1),
            make_activation(activation),
        )
        initialise_convolutions(self)
        self.set_classifier(last_width, num_classes, dropout=0.0)  # the dropout stands before dense 32

    def pool_features(self, x: Tensor) -> Tensor:
        return self.dense(x).mean((2, 3))  # (B, 256, h, w) -> (B, 32)


# timm's registry calls an entry point by keyword; these pipes are its boundary.
@register_model
def resnet_ab(pretrained: bool = False, **kwargs: Any) -> ResNetAB:
    """`ResNetAB`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(ResNetAB, "resnet_ab", pretrained, **kwargs)


@register_model
def mycnn(pretrained: bool = False, **kwargs: Any) -> MyCNN:
    """`MyCNN`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(MyCNN, "mycnn", pretrained, **kwargs)


@register_model
def resnet_small(pretrained: bool = False, **kwargs: Any) -> ResNetSmall:
    """`ResNetSmall`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(ResNetSmall, "resnet_small", pretrained, **kwargs)
