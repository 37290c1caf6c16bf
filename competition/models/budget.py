"""Pruning a trained network down to a number of parameters, and opening the result again."""

import copy
import warnings
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from competition.errors import UserError, first_few
from competition.models.factory import count_parameters
from competition.models.freezing import classifier_names

Method = Literal["magnitude", "structured"]
SEARCH_STEPS = 12  # bisections of the share of channels to remove: finer than one channel of 4,096


def prune(network: nn.Module, max_parameters: int, method: Method, example: Tensor) -> nn.Module:
    """Return a copy of ``network`` with at most ``max_parameters`` parameters; the original stays as it is.

    "magnitude" sets the smallest weights of convolutions and linear layers to zero, over all layers at once; zeros do
    not count, and the shapes stay. "structured" removes whole channels, so that the dense network is smaller.
    ``example`` is a batch (B, 3, H, W) that structured pruning traces the network with. A network within the budget
    comes back unchanged. Raises UserError when the budget is too small for the network, or it cannot be traced, or what
    is left could not be opened again.
    """
    pruned = copy.deepcopy(network)
    if method == "magnitude":
        _zero_smallest_weights(pruned, max_parameters)
        return pruned
    pruned = _remove_channels(pruned, max_parameters, example)
    _refuse_what_opens_as_another(network, pruned, example)
    return pruned


def count_nonzero(network: nn.Module) -> int:
    """Parameters that are not zero: what a network pruned by magnitude is counted by."""
    return sum(int(parameter.count_nonzero()) for parameter in network.parameters())


def masks(network: nn.Module) -> dict[str, Tensor]:
    """True where a weight of a convolution or linear layer is kept, for each such weight that was pruned, by name."""
    return {
        name: weight != 0
        for name, weight in _prunable(network).items()
        if 0 < int(weight.count_nonzero()) < weight.numel()  # all zero is an initialisation, not a pruning
    }


@torch.no_grad()
def apply_masks(network: nn.Module, kept: Mapping[str, Tensor]) -> None:
    """Set the weights that ``kept`` (from ``masks``) does not keep back to zero; call it after each optimiser step."""
    parameters = dict(network.named_parameters())
    for name, mask in kept.items():
        parameters[name].mul_(mask.to(parameters[name].device))


def _prunable(network: nn.Module) -> dict[str, Tensor]:
    """Weights of convolutions and linear layers by parameter name; norms and biases are few and stay."""
    return {
        f"{name}.weight" if name else "weight": module.weight
        for name, module in network.named_modules()
        if isinstance(module, (nn.Conv2d, nn.Linear))
    }


@torch.no_grad()
def _zero_smallest_weights(network: nn.Module, max_parameters: int) -> None:
    """Keep the largest weights, and of every layer the largest of each output, so that no layer dies."""
    if count_nonzero(network) <= max_parameters:
        return
    weights = list(_prunable(network).values())
    others = count_nonzero(network) - sum(int(weight.count_nonzero()) for weight in weights)
    scores = torch.cat([_scores(weight) for weight in weights])
    protected = int(scores.isinf().sum())
    keep = max_parameters - others
    if keep < protected:
        raise UserError(
            f"a budget of {max_parameters:,} parameters is too small: {others:,} biases and norms and one weight "
            f"for each of {protected:,} outputs must stay; allow at least {others + protected:,}, or prune by structure"
        )
    chosen = torch.zeros_like(scores, dtype=torch.bool)
    chosen[scores.topk(keep).indices] = True
    parts = chosen.split([weight.numel() for weight in weights])
    for weight, part in zip(weights, parts, strict=True):
        weight.mul_(part.view_as(weight))


def _scores(weight: Tensor) -> Tensor:
    """(outputs, ...) -> (numel): magnitudes, infinite for the largest of each output."""
    scores = weight.abs().flatten(1).float()
    return scores.scatter(1, scores.argmax(1, keepdim=True), float("inf")).flatten()


def _remove_channels(network: nn.Module, max_parameters: int, example: Tensor) -> nn.Module:
    """Find, by bisection, the smallest share of every layer's channels whose removal meets the budget."""
    if count_parameters(network) <= max_parameters:
        return network
    low, high = 0.0, 1.0
    best = None
    for _ in range(SEARCH_STEPS):
        share = (low + high) / 2
        candidate = _without_channels(network, share, example)
        if count_parameters(candidate) <= max_parameters:
            best, high = candidate, share
        else:
            low = share
    if best is None:
        raise UserError(
            f"a budget of {max_parameters:,} parameters is too small for this network: with one channel a layer "
            f"it still has {count_parameters(candidate):,}; allow more, or take a smaller network"
        )
    return best


def _without_channels(network: nn.Module, share: float, example: Tensor) -> nn.Module:
    """Copy ``network`` without ``share`` of the channels of each layer: those of least L2 norm over coupled layers.

    DepGraph (https://arxiv.org/abs/2301.12900) follows which channels depend on each other;
    the classifier's outputs stay.
    """
    import torch_pruning  # late: few runs prune

    candidate = copy.deepcopy(network)
    trainable = {name: parameter.requires_grad for name, parameter in candidate.named_parameters()}
    candidate.requires_grad_(True)  # the tracing follows gradients
    try:
        # A block's own scales, which it says it guesses about: a wrong guess is refused once the network is opened.
        warnings.filterwarnings("ignore", "Unwrapped parameters detected")
        pruner = torch_pruning.pruner.BasePruner(
            candidate,
            example.to(next(candidate.parameters()).device),
            importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=share,
            ignored_layers=[candidate.get_submodule(name) for name in classifier_names(candidate)],
        )
        pruner.step()
        with torch.no_grad():
            candidate.eval()(example.to(next(candidate.parameters()).device))
    except (RuntimeError, ValueError, AssertionError, AttributeError, KeyError, IndexError, TypeError) as error:
        raise UserError(
            f"channels cannot be removed from a {type(network).__name__} ({error}); use magnitude pruning, "
            "or a smaller network"
        ) from error
    candidate.train(network.training)
    for name, parameter in candidate.named_parameters():
        parameter.requires_grad_(trainable[name])
        parameter.grad = None
    _update_widths(candidate)
    return candidate


def _update_widths(network: nn.Module) -> None:
    """Let the network's record of its classifier's input follow the classifier, which ``reset_classifier`` reads."""
    classifier = network.get_classifier()  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear):
        return
    old = getattr(network, "head_hidden_size", None)
    for attribute in ("head_hidden_size", "num_features"):
        if getattr(network, attribute, None) == old:
            setattr(network, attribute, classifier.in_features)


def reshape_to(network: nn.Module, state: Mapping[str, Tensor]) -> nn.Module:
    """Shrink the layers of a full-size network to the shapes in ``state``, load it strictly, and return the network.

    Opens what structured pruning left without unpickling a network. Raises UserError naming what does not fit.
    """
    for name, module in network.named_modules():
        prefix = f"{name}." if name else ""
        shapes = {key: state[prefix + key].shape for key, _ in _own_tensors(module) if prefix + key in state}
        if any(shapes[key] != tensor.shape for key, tensor in _own_tensors(module) if key in shapes):
            _reshape_layer(module, name, shapes)
    try:
        network.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        # A line names every missing weight, another every one too many: hundreds of a deep network.
        problems = [first_few(line.strip("\t .").split(", "), 3) for line in str(error).splitlines()[1:]]
        raise UserError(
            f"the weights do not fit a {type(network).__name__}: {first_few(problems)}. They are of another network or "
            "of an earlier version of this one: train it again"
        ) from error
    _update_widths(network)
    return network


@torch.no_grad()
def _refuse_what_opens_as_another(network: nn.Module, pruned: nn.Module, example: Tensor) -> None:
    """Open what was pruned as from a file, before anybody trains it: it must answer as it did."""
    images = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    opened = reshape_to(copy.deepcopy(network), pruned.state_dict())
    answer, again = (copy.deepcopy(each).cpu().eval()(images) for each in (pruned, opened))
    if not torch.allclose(answer, again, rtol=1e-4, atol=1e-5):
        raise UserError(f"a {type(network).__name__} without channels opens as another network; use magnitude pruning")


def _own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    return [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]


def _reshape_layer(module: nn.Module, name: str, shapes: Mapping[str, torch.Size]) -> None:
    """Make room for tensors of these shapes, and let the layer's own record of its widths follow."""
    if isinstance(module, nn.Conv2d) and len(shapes.get("weight", ())) == 4:
        out_channels, channels_per_group = shapes["weight"][:2]
        if module.groups == module.in_channels:  # depthwise: as many groups as channels are left
            module.groups = out_channels // (module.out_channels // module.in_channels)
        module.out_channels, module.in_channels = out_channels, channels_per_group * module.groups
    elif isinstance(module, nn.Linear) and len(shapes.get("weight", ())) == 2:
        module.out_features, module.in_features = shapes["weight"]
    elif isinstance(module, nn.BatchNorm2d):
        module.num_features = shapes["running_mean"][0]
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = tuple(shapes["weight"])
    elif next(module.children(), None) is None:  # a block's own scales, ConvNeXt's gamma, have no record of their width
        raise UserError(
            f"layer {name} ({type(module).__name__}) differs in size from the weights and cannot be shrunk; "
            "use magnitude pruning"
        )
    for key, tensor in _own_tensors(module):
        if key in shapes and isinstance(tensor, nn.Parameter):
            setattr(module, key, nn.Parameter(tensor.new_zeros(shapes[key]), tensor.requires_grad))
        elif key in shapes:
            setattr(module, key, tensor.new_zeros(shapes[key]))
