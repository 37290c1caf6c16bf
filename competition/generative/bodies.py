"""Encoders and decoders of the autoencoders: two families, each a list of layers and its mirror image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from competition.errors import UserError
from competition.generative.design import Design

SLOPE = 0.2  # of the leaky ReLUs


@dataclass(frozen=True)
class Mirror:
    """The convolutions of a classifier, stage by stage; where it pools, the last convolution of a stage strides."""

    widths: tuple[tuple[int, ...], ...]
    kernel_sizes: tuple[int, ...]
    activation: type[nn.Module]


# As `competition.models.seed_cnns` builds them; written out, since no network need be built then. A test compares.
MIRRORS = {
    "imp_cnn": Mirror(((32, 32), (64,), (128, 256)), (3, 3, 3), nn.ELU),
    "plain_cnn": Mirror(((64,), (128,), (256,)), (5, 3, 3), nn.ReLU),
    "dilated_cnn": Mirror(((64,), (128,), (256,)), (3, 5, 7), nn.ReLU),
}


def latent_side(design: Design) -> int:
    """Return the side of the latent map.

    Raises:
        UserError: an image size that does not halve down to it.
    """
    size = design.image_size
    if design.mirror == "none":
        side, halvings = design.latent_width, 0
        while side << halvings < size:
            halvings += 1
        if side << halvings != size or halvings == 0:
            raise UserError(f"--image-size {size} does not halve down to --latent-width {side}; try 32 and 4")
        return side
    halvings = len(MIRRORS[design.mirror].widths)
    if size % (1 << halvings):
        raise UserError(f"--image-size {size}: mirroring {design.mirror} needs a multiple of {1 << halvings}")
    return size >> halvings


def make_encoder(design: Design, outputs: int) -> nn.Sequential:
    """Return images -> latent map. (B, C, S, S) -> (B, outputs, w, w)."""
    return (_block_encoder if design.mirror == "none" else _mirrored_encoder)(design, outputs)


def make_decoder(design: Design, inputs: int) -> nn.Sequential:
    """Return latent map -> images. (B, inputs, w, w) -> (B, C, S, S)."""
    return (_block_decoder if design.mirror == "none" else _mirrored_decoder)(design, inputs)


def _scales(design: Design) -> int:
    return (design.image_size // latent_side(design)).bit_length() - 1


def _convolution(inputs: int, outputs: int, kernel_size: int = 3) -> nn.Conv2d:
    layer = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2)
    # The paper's, a root of two under He et al.'s: the first latents and the critic's first guesses are small.
    nn.init.normal_(layer.weight, 0.0, (inputs * kernel_size**2 * (1 + SLOPE**2)) ** -0.5)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    """Two 3x3 convolutions, each with a leaky ReLU."""
    return [_convolution(inputs, outputs), nn.LeakyReLU(SLOPE), _convolution(outputs, outputs), nn.LeakyReLU(SLOPE)]


def _block_encoder(design: Design, outputs: int) -> nn.Sequential:
    """Berthelot et al. 2018 (arXiv 1807.07543), appendix B: blocks with average pools, widths doubling."""
    layers: list[nn.Module] = [_convolution(design.channels, design.width, 1)]
    channels = design.width
    for scale in range(_scales(design)):
        layers += [*_block(channels, design.width << scale), nn.AvgPool2d(2)]
        channels = design.width << scale
    return nn.Sequential(
        *layers, _convolution(channels, channels * 2), nn.LeakyReLU(SLOPE), _convolution(channels * 2, outputs)
    )


def _block_decoder(design: Design, inputs: int) -> nn.Sequential:
    """The encoder mirrored, with nearest-neighbour upsampling."""
    layers: list[nn.Module] = []
    channels = inputs
    for scale in reversed(range(_scales(design))):
        layers += [*_block(channels, design.width << scale), nn.Upsample(scale_factor=2, mode="nearest")]
        channels = design.width << scale
    return nn.Sequential(
        *layers, _convolution(channels, design.width), nn.LeakyReLU(SLOPE), _convolution(design.width, design.channels)
    )


def _mirror_layers(design: Design) -> list[tuple[int, int, int, int]]:
    """Return (inputs, outputs, kernel size, stride) of the classifier's convolutions."""
    mirror, layers, channels = MIRRORS[design.mirror], [], design.channels
    for widths, kernel_size in zip(mirror.widths, mirror.kernel_sizes, strict=True):
        for number, width in enumerate(widths):
            layers.append((channels, width, kernel_size, 2 if number == len(widths) - 1 else 1))
            channels = width
    return layers


def _mirrored_encoder(design: Design, outputs: int) -> nn.Sequential:
    activation, layers = MIRRORS[design.mirror].activation, nn.Sequential()
    for inputs, width, kernel_size, stride in _mirror_layers(design):
        layers.append(nn.Conv2d(inputs, width, kernel_size, stride, padding=kernel_size // 2)).append(activation())
    return layers.append(nn.Conv2d(width, outputs, 1))


def _mirrored_decoder(design: Design, inputs: int) -> nn.Sequential:
    activation, specs = MIRRORS[design.mirror].activation, _mirror_layers(design)
    layers = nn.Sequential(nn.Conv2d(inputs, specs[-1][1], 1))
    for outputs, width, kernel_size, stride in reversed(specs):
        padding = kernel_size // 2
        layers.append(activation())
        layers.append(nn.ConvTranspose2d(width, outputs, kernel_size, stride, padding, output_padding=stride - 1))
    return layers


def with_classes(latent_map: Tensor, classes: Tensor | None) -> Tensor:
    """Append class vectors to every place of a map. (B, C, w, w), (B, E) -> (B, C + E, w, w)."""
    if classes is None:
        return latent_map
    side = latent_map.shape[-1]
    return torch.cat([latent_map, classes[:, :, None, None].expand(-1, -1, side, side)], dim=1)


def ends_of(name: str, layers: nn.Sequential) -> tuple[str, str]:
    """Return the names of the first and the last layer with weights, as `GenerativeModel.edges` has them."""
    weighted = [number for number, layer in enumerate(layers) if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    return f"{name}.{weighted[0]}.", f"{name}.{weighted[-1]}."
