"""Each tool's answer as one picture: what the page shows and ``look`` writes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from competition.analysis import pictures as draw
from competition.analysis.activations import activation_maps, strongest
from competition.analysis.attribution import integrated_gradients
from competition.analysis.cam import grad_cam
from competition.analysis.dream import Objective, class_logit, dream, filter_mean
from competition.analysis.layers import Layer, check_layer, map_layers, several
from competition.analysis.occlusion import occlusion_map
from competition.errors import UserError
from competition.inference import Preprocessing

TILE = 96  # pixels; smaller pictures are enlarged to at least this side, larger ones shrunk to at most twice it
LAYERS = 4  # drawn of a network
FILTERS = 16  # of each layer, in two rows of eight
COLUMNS = 8
LEAST_FALL = 0.01  # of the probability: where covering changes less, the colours of an occlusion map stay pale


def to_input(preprocessing: Preprocessing, pictures: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Normalise pictures. (B, S, S, 3) uint8 -> (B, 3, S, S)."""
    return preprocessing.to_input(torch.from_numpy(pictures), device, torch.contiguous_format)


def tile(picture: draw.Picture, smallest: int = TILE) -> draw.Picture:
    """Return the picture at a side that can be looked at: a whole multiple of a small one's."""
    side = max(picture.shape[:2])
    return draw.resized(picture, side * -(-smallest // side) if side < smallest else min(side, 2 * smallest))


@dataclass(frozen=True)
class Drawn:
    """One picture for each of the targets, on one scale, and in words how much their colours stand for."""

    pictures: list[draw.Picture]
    words: str


Drawer = Callable[[nn.Module, Tensor, NDArray[np.uint8], Tensor], Drawn]


def _size_words(what: str, maps: NDArray[np.floating], sizes: Sequence[str]) -> str:
    said = [size if values.any() else "the map is empty" for values, size in zip(maps, sizes, strict=True)]
    return f"{what}: {', then '.join(said)}"


def draw_cam(
    network: nn.Module, images: Tensor, pictures: NDArray[np.uint8], targets: Tensor, layer: str | None = None
) -> Drawn:
    """Lay the class activation maps over the pictures: yellow where the network sees the target."""
    heat = grad_cam(network, images, targets, layer).numpy()
    limits = 0.0, float(heat.max())
    overlaid = [
        draw.overlaid(picture, draw.coloured(values, limits)) for picture, values in zip(pictures, heat, strict=True)
    ]
    return Drawn(overlaid, _size_words("largest class activation", heat, [f"{values.max():.2g}" for values in heat]))


def draw_occlusion(network: nn.Module, images: Tensor, pictures: NDArray[np.uint8], targets: Tensor) -> Drawn:
    """Lay the occlusion maps over the pictures: orange where covering lowers the target's probability."""
    falls = occlusion_map(network, images, targets).numpy()
    limit = max(LEAST_FALL, float(np.abs(falls).max()))
    overlaid = [
        draw.overlaid(picture, draw.signed(values, limit)) for picture, values in zip(pictures, falls, strict=True)
    ]
    sizes = [f"{max(values.max(), 0):.2f} (rise {max(-values.min(), 0):.2f})" for values in falls]
    return Drawn(overlaid, _size_words("largest fall of the probability", falls, sizes))


def draw_gradients(network: nn.Module, images: Tensor, pictures: NDArray[np.uint8], targets: Tensor) -> Drawn:
    """Draw integrated gradients, summed over the colours: orange pixels speak for the target, blue ones against it."""
    shares = integrated_gradients(network, images, targets).sum(dim=1).numpy()
    largest = np.percentile(np.abs(shares), 99, axis=(1, 2))  # one hot pixel would hide the rest
    drawn = [draw.signed(values, float(largest.max())) for values in shares]
    sizes = [f"{size:.2g} or less in 99 of 100 pixels" for size in largest]
    return Drawn(drawn, _size_words("share of a pixel in the logit", shares, sizes))


def draw_activations(
    network: nn.Module, image: Tensor, picture: NDArray[np.uint8], layer: str | None = None
) -> tuple[draw.Picture, list[Layer]]:
    """Draw the input, then 16 filters of several layers, the first layer first; returns the layers too.

    ``image`` is (3, S, S), ``picture`` (S, S, 3). The filters are those that answer most to this picture.
    """
    layers = _layers_to_draw(network, image[None], layer)
    maps = activation_maps(network, image[None], [item.name for item in layers])
    sheets = [draw.tiled([tile(picture)], 1)]
    for values in maps.values():
        chosen = values[0, strongest(values[0], FILTERS)].numpy()
        sheets.append(draw.tiled([tile(draw.coloured(channel)) for channel in chosen], COLUMNS))
    return draw.stacked(sheets), layers


def _layers_to_draw(network: nn.Module, images: Tensor, layer: str | None) -> list[Layer]:
    if layer is not None:
        return [check_layer(network, layer, images)]
    found = map_layers(network, images)
    if not found:
        raise UserError(f"{type(network).__name__} keeps no map of places: there is nothing to draw of its layers")
    return several(found, LAYERS)


def spread_channels(layer: Layer, count: int) -> list[int]:
    """Return up to ``count`` channels of a layer, spread evenly."""
    return [int(channel) for channel in np.linspace(0, layer.channels - 1, min(count, layer.channels))]


def draw_filters(network: nn.Module, layer: str, channels: Sequence[int], preprocessing: Preprocessing) -> draw.Picture:
    """Draw what some filters of a layer look for, the most strongly excited first."""
    found, values = _dream(network, filter_mean(layer, channels), len(channels), preprocessing)
    return draw.tiled([tile(found[place]) for place in np.argsort(-values)], COLUMNS)


def draw_classes(network: nn.Module, targets: Sequence[int], preprocessing: Preprocessing) -> list[draw.Picture]:
    """Draw what each class looks like to the network."""
    return [tile(picture) for picture in _dream(network, class_logit(targets), len(targets), preprocessing)[0]]


def _dream(
    network: nn.Module, objective: Objective, count: int, preprocessing: Preprocessing
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    device = next(network.parameters()).device
    mean, std = (
        torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std)
    )
    found, values = dream(network, objective, count, preprocessing.image_size, lambda pictures: (pictures - mean) / std)
    return draw.to_bytes(found.permute(0, 2, 3, 1).numpy() * 255), values.numpy()


def drawers(layer: str | None = None) -> dict[str, Drawer]:
    """Return the tools that draw (network, batch, target), by the name that ``--what`` gives them."""
    return {"cam": partial(draw_cam, layer=layer), "occlusion": draw_occlusion, "gradients": draw_gradients}
