"""A network's inner maps: which modules make them, and how each becomes channels over places.

Convolutional networks keep (B, C, h, w), some transformers (B, h, w, C), the others tokens (B, N, C); every tool of
this wing sees them as (B, C, h, w) through `Outputs.map_of`, so none has code for a kind of network.
"""

import math
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from competition.errors import UserError, did_you_mean, first_few

DEPTH = 2  # names such as "layer3" and "blocks.4": stages and blocks, not what is inside a block


@dataclass(frozen=True)
class Layer:
    """A module whose output is a map: its name in the network, channels and places."""

    name: str
    channels: int
    height: int
    width: int


def is_channels_last(output: Tensor, otherwise: bool = False) -> bool:
    """Return whether a 4-d output of a square picture has its channels last. (B, h, w, C) or (B, C, h, w).

    ``otherwise`` is the answer for as many channels as rows and columns, whose shape does not tell.
    """
    if output.ndim != 4 or output.shape[1] != output.shape[2]:
        return False
    return otherwise or output.shape[2] != output.shape[3]


def as_map(output: object, network: nn.Module, last: bool = False) -> Tensor | None:
    """Return a module's output as (B, C, h, w), or None where it has no places.

    Tokens (B, N, C) lose those that stand for no place (class token, registers) and are laid out on the grid of the
    network's patches. ``last`` says where channels are in a map of as many channels as rows and columns.
    """
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return None
    if output.ndim == 4:
        return output.permute(0, 3, 1, 2) if is_channels_last(output, last) else output
    if output.ndim != 3:
        return None
    grid = _grid(output.shape[1], network)
    if grid is None:
        return None
    places = output[:, output.shape[1] - grid[0] * grid[1] :]
    return places.transpose(1, 2).unflatten(2, grid)  # (B, h * w, C) -> (B, C, h, w)


def _rolled_back(values: Tensor, network: nn.Module, name: str) -> Tensor | None:
    """Return the places of a Hiera's block in their order, (B, h, w, C), or None for what is inside a block.

    It keeps the tokens of a window together, until its own ``reroll`` undoes that for the output of a block.
    """
    if name.startswith("patch_embed"):
        return values
    block = re.fullmatch(r"blocks\.(\d+)", name)
    return network.reroll(values, int(block[1])) if block else None  # type: ignore[operator]


def _grid(tokens: int, network: nn.Module) -> tuple[int, int] | None:
    """Return (h, w) of the places among the tokens, or None where they form no grid."""
    prefix = int(getattr(network, "num_prefix_tokens", 0) or 0)
    known = getattr(getattr(network, "patch_embed", None), "grid_size", None)
    if known is not None and tokens - known[0] * known[1] in (0, prefix):
        return int(known[0]), int(known[1])
    for extra in (prefix, 0):
        side = math.isqrt(max(0, tokens - extra))
        if side and side * side == tokens - extra:
            return side, side
    return None


def has_channels_last(network: nn.Module, otherwise: bool = False) -> bool:
    """Return whether a network of timm's says that its maps are (B, h, w, C); ``otherwise`` where it says nothing."""
    return bool(getattr(network, "output_fmt", "NHWC" if otherwise else "NCHW") == "NHWC")


class Outputs(dict[str, Tensor]):
    """Outputs of modules by name, in the order in which they finish, and whether their maps have channels last."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.votes = 0  # maps of the pass with their channels last, less those with channels first

    def count(self, _: nn.Module, __: object, output: object) -> None:
        """Let a map whose shape tells where its channels are speak for those whose shape does not; a hook."""
        if isinstance(output, Tensor) and output.ndim == 4 and len(set(output.shape[1:])) == 2:
            self.votes += 1 if is_channels_last(output) else -1

    def map_of(self, name: str, values: Tensor | None = None) -> Tensor | None:
        """Return a module's output, or its gradient ``values``, as (B, C, h, w); None where it has no places."""
        values = self.get(name) if values is None else values
        if values is not None and hasattr(self.network, "reroll"):
            return as_map(_rolled_back(values, self.network, name), self.network, last=True)
        last = has_channels_last(self.network, self.votes > 0)
        is_convolution = isinstance(self.network.get_submodule(name), nn.Conv2d)  # always channels first
        return as_map(values, self.network, last and not is_convolution)


@contextmanager
def recorded(network: nn.Module, names: Sequence[str]) -> Iterator[Outputs]:
    """Collect the outputs of some modules while the context is open, in the order in which they finish.

    The hooks are gone when it closes, whatever happens inside. A module that runs twice keeps its last output.
    """
    outputs = Outputs(network)

    def hook_for(name: str) -> Callable[[nn.Module, object, object], Tensor | None]:
        def hook(_: nn.Module, __: object, output: object) -> Tensor | None:
            if not isinstance(output, Tensor):
                return None
            outputs.pop(name, None)
            outputs[name] = output
            return output.clone()  # goes on in its place: the next operation may write into what it gets

        return hook

    handles = [network.get_submodule(name).register_forward_hook(hook_for(name)) for name in names]
    handles += [network.get_submodule(name).register_forward_hook(outputs.count) for name in candidate_names(network)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def candidate_names(network: nn.Module) -> list[str]:
    """Return the names of stages and blocks, whose outputs may be maps; dropout hands on what it gets."""
    return [
        name
        for name, module in network.named_modules()
        if name and name.count(".") < DEPTH and not isinstance(module, nn.Identity | nn.Dropout)
    ]


def features_of(network: nn.Module, images: Tensor) -> Tensor:
    """Return ``forward_features``; raises UserError where the network does not split into features and head."""
    if not hasattr(network, "forward_features") or not hasattr(network, "forward_head"):
        raise UserError(
            f"{type(network).__name__} does not split into forward_features and forward_head, as timm's networks do: "
            "take occlusion or gradients, which need only its output"
        )
    features: Tensor = network.forward_features(images)  # type: ignore[operator]
    return features


@torch.no_grad()
def map_layers(network: nn.Module, images: Tensor) -> list[Layer]:
    """Return the layers whose outputs are maps of at least 2 x 2 places, in the order in which they finish.

    A module that only hands on or reshapes the map before it, such as a container, stands for both. ``images`` is a
    batch (B, 3, H, W).
    """
    with recorded(network, candidate_names(network)) as outputs:
        features_of(network, images[:1])
    layers: list[Layer] = []
    before: Tensor | None = None
    for name in outputs:
        found = outputs.map_of(name)
        if found is None or min(found.shape[2:]) < 2:
            continue
        if before is not None and torch.equal(found, before):
            layers.pop()
        layers.append(Layer(name, *found.shape[1:]))
        before = found
    return layers


def several(layers: Sequence[Layer], count: int) -> list[Layer]:
    """Return ``count`` layers spread evenly from the first to the last."""
    if len(layers) <= count:
        return list(layers)
    return [layers[round(place * (len(layers) - 1) / (count - 1))] for place in range(count)]


def check_layer(network: nn.Module, name: str, images: Tensor) -> Layer:
    """Return a layer by its name; raises UserError where it is none, or its output is no map of 2 x 2 places."""
    modules = dict(network.named_modules())
    known = [layer.name for layer in map_layers(network, images)]
    if name not in modules or not name:
        raise UserError(f"the network has no layer {name!r}{did_you_mean(name, known)}; maps: {first_few(known, 12)}")
    with torch.no_grad(), recorded(network, [name]) as outputs:
        network(images[:1])
    found = outputs.map_of(name)
    if found is None:
        raise UserError(f"layer {name!r} makes no map of places; take one of {first_few(known, 12)}")
    if min(found.shape[2:]) < 2:
        places = f"{found.shape[2]} x {found.shape[3]}"
        raise UserError(f"layer {name!r} has {places} place at this image size; take one of {first_few(known, 12)}")
    return Layer(name, *found.shape[1:])
