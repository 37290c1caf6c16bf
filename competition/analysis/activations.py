"""What the filters answer to a picture, and which of them never answer."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from competition.analysis.layers import has_channels_last, is_channels_last, map_layers, recorded

# A filter is dead when its answers to all pictures and places differ by less than this part of the layer's range.
DEAD_RANGE = 1e-3

# Lowest and highest answers by module and width: one activation may serve layers of several widths.
Ranges = dict[tuple[str, int], tuple[Tensor, Tensor]]


@torch.no_grad()
def activation_maps(network: nn.Module, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return the maps of some layers. -> {name: (B, C, h, w)} on the CPU, in the order of ``names``.

    Layers without places (dense layers) are left out.
    """
    with recorded(network, names) as outputs:
        network(images)
        maps = [(name, outputs.map_of(name)) for name in names]
    return {name: values.float().cpu() for name, values in maps if values is not None}


def strongest(maps: Tensor, count: int) -> list[int]:
    """Return the channels that answer most to one picture, in the order of the network. (C, h, w) -> numbers."""
    answers = (maps - maps.amin(dim=(1, 2), keepdim=True)).amax(dim=(1, 2))
    return sorted(answers.topk(min(count, len(answers))).indices.tolist())


@dataclass(frozen=True)
class DeadFilters:
    """How many filters of a layer never answer."""

    layer: str
    dead: int
    filters: int


@torch.no_grad()
def count_dead(network: nn.Module, batches: Iterable[Tensor]) -> list[DeadFilters]:
    """Count, for each activation layer, the filters whose answer is the same for every picture and place.

    A network without activation modules is judged by the outputs of its blocks. ``batches`` are (B, 3, H, W).
    """
    ranges: Ranges = {}
    names: list[str] = []
    for images in batches:
        names = names or _activation_names(network) or [layer.name for layer in map_layers(network, images)]
        with _ranges(network, names, ranges):
            network(images)
    return [_dead_of(name, high - low) for (name, _), (low, high) in ranges.items()]


def _dead_of(name: str, spread: Tensor) -> DeadFilters:
    dead = int((spread <= DEAD_RANGE * spread.max()).sum())
    return DeadFilters(name, dead, len(spread))


def _activation_names(network: nn.Module) -> list[str]:
    """Return the modules that are an element-wise activation."""
    homes = ("torch.nn.modules.activation", "timm.layers.activations")
    return [
        name
        for name, module in network.named_modules()
        if type(module).__module__.startswith(homes)
        and not list(module.children())
        and not isinstance(module, nn.Softmax | nn.Sigmoid | nn.Hardsigmoid)  # those weigh or decide, none is a filter
    ]


@contextmanager
def _ranges(network: nn.Module, names: Sequence[str], ranges: Ranges) -> Iterator[None]:
    """Widen the lowest and highest answer of every channel while the context is open."""

    def watch(name: str, output: Tensor) -> None:
        last = output.ndim == 3 or is_channels_last(output, has_channels_last(network))
        places = tuple(axis for axis in range(output.ndim) if axis != (output.ndim - 1 if last else 1))
        low, high = output.amin(dim=places).float(), output.amax(dim=places).float()
        key = name, len(low)
        if key in ranges:
            low, high = torch.minimum(low, ranges[key][0]), torch.maximum(high, ranges[key][1])
        ranges[key] = (low, high)

    handles = [
        network.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: watch(name, output))
        for name in names
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
