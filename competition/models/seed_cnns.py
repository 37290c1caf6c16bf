"""The plain networks the project grew out of: convolutions, pooling, dense layers, no skip connections.

Convolutions keep their size unless they stride ("same" padding); pools floor odd sizes.
"""

from collections.abc import Sequence
from typing import Any

from timm.models import build_model_with_cfg, register_model
from torch import Tensor, nn

from competition.models.common import (
    FlattenHead,
    OwnNetwork,
    conv_norm,
    conv_pool_norm,
    feature_shape,
    image_size_pair,
    make_activation,
    pretrained_cfg,
)

default_cfgs = {
    "plain_cnn": pretrained_cfg("blocks.0.0", 32, fixed_input_size=True),
    "dilated_cnn": pretrained_cfg("blocks.0.0", 32, fixed_input_size=True),
    "base_cnn": pretrained_cfg("blocks.0.0", 32, num_classes=10, fixed_input_size=True),
    "imp_cnn": pretrained_cfg("blocks.0.0", 32, num_classes=10, fixed_input_size=True),
    "mlp": pretrained_cfg(None, 64, fixed_input_size=True),
}


class FlattenCNN(OwnNetwork):
    """``blocks`` of convolutions, then flatten, dense layers, dropout, classifier: y = W dense(flatten(blocks(x)))."""

    def __init__(
        self,
        blocks: nn.Sequential,
        num_classes: int,
        img_size: int | tuple[int, int],
        dense_widths: Sequence[int],
        activation: str,
        drop_rate: float,
    ) -> None:
        super().__init__()
        self.stem = nn.Identity()
        self.blocks = blocks
        shape = feature_shape(blocks, img_size)
        self.num_features = shape[0]
        self.dense = FlattenHead(shape, dense_widths, activation, drop_rate)
        self.set_classifier(self.dense.out_features, num_classes, drop_rate)

    def pool_features(self, x: Tensor) -> Tensor:
        return self.dense(x)  # (B, C, h, w) -> (B, head_hidden_size)


class PlainCNN(FlattenCNN):
    """AlexNet-like: x -> relu(norm(pool(conv(x)))), three times; dense; classifier.

    1,448,868 parameters at 100 classes, 32x32.
    The source gives no widths: 64, 128, 256 filters of 5x5, 3x3, 3x3, one dense layer of 256 before the output.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 32,
        widths: Sequence[int] = (64, 128, 256),
        kernel_sizes: Sequence[int] = (5, 3, 3),
        dense_widths: Sequence[int] = (256,),
        activation: str = "relu",
        drop_rate: float = 0.0,
    ) -> None:
        blocks = nn.Sequential()
        channels = in_chans
        for width, kernel_size in zip(widths, kernel_sizes, strict=True):
            blocks.append(conv_pool_norm(channels, width, kernel_size, activation))
            channels = width
        super().__init__(blocks, num_classes, img_size, dense_widths, activation, drop_rate)


class DilatedCNN(FlattenCNN):
    """Small kernel and max pool; larger kernel, strided and dilated; average pool; a final large kernel; dense layers.

    10,408,612 parameters at 100 classes, 32x32.
    Batch norm and activation follow every convolution. The source gives no sizes: kernels 3, 5 and 7, filters
    64, 128 and 256; two linear layers (its later form), the first 2,048 wide. ``dense_widths=(512, 256)`` is the
    earlier form with three.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 32,
        widths: Sequence[int] = (64, 128, 256),
        kernel_sizes: Sequence[int] = (3, 5, 7),
        dense_widths: Sequence[int] = (2048,),
        activation: str = "relu",
        drop_rate: float = 0.0,
    ) -> None:
        small, large, final = kernel_sizes
        dilated = nn.Conv2d(widths[0], widths[1], large, stride=2, padding=2 * (large // 2), dilation=2, bias=False)
        blocks = nn.Sequential(  # shapes for a 32x32 image
            conv_norm(in_chans, widths[0], small, activation=activation).append(nn.MaxPool2d(2)),  # (B, 64, 16, 16)
            nn.Sequential(
                dilated, nn.BatchNorm2d(widths[1]), make_activation(activation), nn.AvgPool2d(2)
            ),  # (B, 128, 4, 4)
            conv_norm(widths[1], widths[2], final, activation=activation),  # (B, 256, 4, 4)
        )
        super().__init__(blocks, num_classes, img_size, dense_widths, activation, drop_rate)


class BaseCNN(FlattenCNN):
    """Conv 32, batch norm, ReLU, flatten, dense 512, ReLU, dropout 0.5, classifier.

    16,783,786 parameters at 10 classes, 32x32.
    A 3x3 kernel, which the source leaves open. The dense layer grows with the image: 268 million weights at 128 px.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 32,
        width: int = 32,
        kernel_size: int = 3,
        dense_widths: Sequence[int] = (512,),
        activation: str = "relu",
        drop_rate: float = 0.5,
    ) -> None:
        blocks = nn.Sequential(conv_norm(in_chans, width, kernel_size, activation=activation))  # (B, 32, H, W)
        super().__init__(blocks, num_classes, img_size, dense_widths, activation, drop_rate)


class ImpCNN(FlattenCNN):
    """conv 32, 32, pool, dropout 0.1; conv 64, pool, dropout 0.2; conv 128, 256, pool, dropout 0.3; classifier.

    438,634 parameters at 10 classes, 32x32.
    An ELU after every convolution, kernels of 3x3 (the source leaves them open) with biases. ``batch_norm=True`` puts a
    batch norm after every activation, which the source does not have. IMP1 and IMP2 differ in augmentation alone.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 32,
        kernel_size: int = 3,
        block_dropouts: Sequence[float] = (0.1, 0.2, 0.3),
        dense_widths: Sequence[int] = (),
        activation: str = "elu",
        batch_norm: bool = False,
        drop_rate: float = 0.0,
    ) -> None:
        blocks = nn.Sequential()
        channels = in_chans
        for widths, dropout in zip(((32, 32), (64,), (128, 256)), block_dropouts, strict=True):
            layers: list[nn.Module] = []
            for width in widths:
                layers += [nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2)]
                layers += [make_activation(activation)]
                layers += [nn.BatchNorm2d(width)] if batch_norm else []
                channels = width
            blocks.append(nn.Sequential(*layers, nn.MaxPool2d(2), nn.Dropout(dropout)))  # halves h and w
        super().__init__(blocks, num_classes, img_size, dense_widths, activation, drop_rate)


class MLP(OwnNetwork):
    """Flatten, dense 24, dense 48, dropout, classifier: y = W act(W2 act(W1 flatten(x))).

    301,036 parameters at 100 classes, 64x64.
    Its features are a vector: ``forward_features`` gives (B, 48), so tools that draw maps of features do not apply.
    ReLU and a dropout of 0.2, which the source leaves open.
    """

    def __init__(
        self,
        num_classes: int = 100,
        in_chans: int = 3,
        img_size: int | tuple[int, int] = 64,
        dense_widths: Sequence[int] = (24, 48),
        activation: str = "relu",
        drop_rate: float = 0.2,
    ) -> None:
        super().__init__()
        height, width = image_size_pair(img_size)
        self.stem = nn.Identity()
        self.blocks = FlattenHead((in_chans, height, width), dense_widths, activation)
        self.num_features = self.blocks.out_features
        self.set_classifier(self.num_features, num_classes, drop_rate)

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        return {"stem": r"^stem", "blocks": r"^blocks\.layers\.(\d+)"}

    def pool_features(self, x: Tensor) -> Tensor:
        return x  # (B, 48) already


# timm's registry calls an entry point by keyword; these pipes are its boundary.
@register_model
def plain_cnn(pretrained: bool = False, **kwargs: Any) -> PlainCNN:
    """`PlainCNN`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(PlainCNN, "plain_cnn", pretrained, **kwargs)


@register_model
def dilated_cnn(pretrained: bool = False, **kwargs: Any) -> DilatedCNN:
    """`DilatedCNN`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(DilatedCNN, "dilated_cnn", pretrained, **kwargs)


@register_model
def base_cnn(pretrained: bool = False, **kwargs: Any) -> BaseCNN:
    """`BaseCNN`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(BaseCNN, "base_cnn", pretrained, **kwargs)


@register_model
def imp_cnn(pretrained: bool = False, **kwargs: Any) -> ImpCNN:
    """`ImpCNN`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(ImpCNN, "imp_cnn", pretrained, **kwargs)


@register_model
def mlp(pretrained: bool = False, **kwargs: Any) -> MLP:
    """`MLP`; ``pretrained`` has no weights to load."""
    return build_model_with_cfg(MLP, "mlp", pretrained, **kwargs)
