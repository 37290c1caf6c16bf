"""What our own networks share: the head's interface, activation names, convolution + norm, timm's configuration."""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import get_act_layer
from torch import Tensor, nn

from competition.errors import UserError, did_you_mean

ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "mish")


class OwnNetwork(nn.Module):
    """A classifier that splits, as timm's do, into ``forward_features`` and ``forward_head``.

    A subclass sets ``stem`` and ``blocks`` (or overrides ``forward_features``), calls ``set_classifier`` last,
    and turns features into the classifier's input in ``pool_features``.
    """

    stem: nn.Module
    blocks: nn.Module
    classifier: nn.Module
    num_features: int  # channels of forward_features' output
    head_hidden_size: int  # length of the vector the classifier reads
    num_classes: int

    def set_classifier(self, head_hidden_size: int, num_classes: int, dropout: float) -> None:
        self.head_hidden_size = head_hidden_size
        self.classifier_dropout = nn.Dropout(dropout)
        self.reset_classifier(num_classes)

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the last layer by a fresh one; 0 classes: no last layer. ``global_pool`` only fits timm's calls."""
        self.num_classes = num_classes
        self.classifier = nn.Linear(self.head_hidden_size, num_classes) if num_classes else nn.Identity()

    def group_matcher(self, coarse: bool = False) -> dict[str, str]:
        """Timm's grouping of parameters by depth, used by layer-wise decay and freezing."""
        return {"stem": r"^stem", "blocks": r"^blocks\.(\d+)"}

    def forward_features(self, x: Tensor) -> Tensor:
        return self.blocks(self.stem(x))  # (B, 3, H, W) -> (B, num_features, h, w)

    def pool_features(self, x: Tensor) -> Tensor:
        """(B, num_features, h, w) -> (B, head_hidden_size)."""
        raise NotImplementedError

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.pool_features(x)
        return x if pre_logits else self.classifier(self.classifier_dropout(x))  # -> (B, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class FlattenHead(nn.Module):
    """Flatten, then dense layers with an activation each: (B, C, H, W) -> (B, out_features).

    The first dense layer fixes the size of its input, and so of the image; another size is refused.
    """

    def __init__(
        self, shape: tuple[int, int, int], dense_widths: Sequence[int], activation: str, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.shape = shape  # (C, H, W); C is not checked, pruning may change it
        width = shape[0] * shape[1] * shape[2]
        layers: list[nn.Module] = []
        for i, dense_width in enumerate(dense_widths):
            if i > 0 and dropout:
                layers.append(nn.Dropout(dropout))
            layers += [nn.Linear(width, dense_width), make_activation(activation)]
            width = dense_width
        self.layers = nn.Sequential(*layers)
        self.out_features = width

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != self.shape[1:]:
            raise ValueError(
                f"features of {tuple(x.shape[2:])} arrive where {self.shape[1:]} were built for: "
                "this network has dense layers, so its images must have the size it was created with"
            )
        return self.layers(x.flatten(1))


class Residual(nn.Module):
    """y = last(body(x) + skip(x)); ``skip`` and ``last`` are the identity unless given."""

    def __init__(self, body: nn.Module, skip: nn.Module | None = None, last: nn.Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.skip = skip or nn.Identity()
        self.last = last or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.body(x) + self.skip(x))  # (B, C, H, W) -> (B, C', H/stride, W/stride)


def make_activation(name: str) -> nn.Module:
    """Make an activation layer by name, in place where it can be; raises UserError for an unknown one."""
    if name not in ACTIVATIONS:
        raise UserError(
            f"unknown activation {name!r}{did_you_mean(name, ACTIVATIONS)}: choose one of {', '.join(ACTIVATIONS)}"
        )
    return nn.GELU() if name == "gelu" else get_act_layer(name)(inplace=True)


def conv_norm(
    in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, activation: str | None = None
) -> nn.Sequential:
    """Convolution with "same" padding, batch norm and, if named, an activation."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    if activation is not None:
        layers.append(make_activation(activation))
    return nn.Sequential(*layers)


def conv_pool_norm(in_channels: int, out_channels: int, kernel_size: int, activation: str) -> nn.Sequential:
    """Convolution with "same" padding, max pool, batch norm and activation: (B, C, H, W) -> (B, C', H/2, W/2)."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(out_channels),
        make_activation(activation),
    )


def initialise_convolutions(network: nn.Module) -> None:
    """He initialisation (https://arxiv.org/abs/1502.01852), fan-out, of every convolution."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def feature_shape(features: nn.Module, image_size: int | tuple[int, int]) -> tuple[int, int, int]:
    """(C, H, W) that ``features`` makes of an image; raises UserError when the image is too small for it."""
    height, width = image_size_pair(image_size)
    was_training = features.training
    try:
        with torch.no_grad():
            shape = features.eval()(torch.zeros(1, 3, height, width)).shape[1:]
    except RuntimeError as error:
        raise UserError(f"an image of {height} x {width} px is too small for this network: {error}") from error
    finally:
        features.train(was_training)
    return shape[0], shape[1], shape[2]


def image_size_pair(image_size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width); timm passes pairs, people pass one side."""
    return (image_size, image_size) if isinstance(image_size, int) else (image_size[0], image_size[1])


def pretrained_cfg(
    first_conv: str | None, image_size: int = 64, num_classes: int = 100, fixed_input_size: bool = False
) -> dict[str, Any]:
    """Timm's description of a network without published weights; mean and std scale pixels to [-1, 1]."""
    return {
        "url": "",
        "num_classes": num_classes,
        "input_size": (3, image_size, image_size),
        "fixed_input_size": fixed_input_size,  # timm then passes img_size to the network
        "pool_size": None,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
        "first_conv": first_conv,
        "classifier": "classifier",
    }
