"""Freezing: which parameters keep the weights they start from, and how such a network is trained."""

from itertools import groupby
from typing import Literal

from timm.models import group_parameters
from torch import nn

Freeze = Literal["none", "all", "all-but-last-block"]


def freeze(network: nn.Module, part: Freeze) -> None:
    """Set ``requires_grad`` of every parameter: "all" trains the classifier alone, "all-but-last-block" one block more.

    The last block is the last group of timm's ``group_matcher`` before the classifier that holds a matrix or kernel,
    with the norms after it: layer4's last block in a ResNet, the last convolution in a MobileNet or EfficientNet, the
    last transformer block in a ViT. Groups are split where they span several top-level modules. Without a
    group_matcher it is the last layer that has a matrix or kernel.
    Train such a network with ``set_train_mode``, not ``network.train()``.
    """
    trainable = {name for name, _ in network.named_parameters()}
    if part == "all":
        trainable = classifier_parameters(network)
    elif part == "all-but-last-block":
        trainable = classifier_parameters(network) | _last_block(network)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in trainable)


def set_train_mode(network: nn.Module) -> None:
    """Like ``network.train()``, but parts whose parameters are all frozen stay in eval mode.

    Their batch norms keep the statistics they came with, and their dropout stays off.
    """
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(parameter.requires_grad for parameter in parameters):
            module.eval()


def classifier_names(network: nn.Module) -> list[str]:
    """Names of the classifier's modules (distilled transformers have two); empty for a network without classes."""
    classifier = getattr(network, "get_classifier", nn.Identity)()
    parts = list(classifier) if isinstance(classifier, (tuple, list)) else [classifier]
    return [name for name, module in network.named_modules() if any(module is part for part in parts)]


def classifier_parameters(network: nn.Module) -> set[str]:
    """Names of the classifier's parameters."""
    prefixes = tuple(f"{name}." for name in classifier_names(network))
    return {name for name, _ in network.named_parameters() if name.startswith(prefixes)}


def _last_block(network: nn.Module) -> set[str]:
    """Parameters of the last group before the classifier that has a matrix or kernel, and of all groups after it."""
    shapes = {name: parameter.ndim for name, parameter in network.named_parameters()}
    head = classifier_parameters(network)
    last: set[str] = set()
    for group in reversed(_parameter_groups(network)):
        body = set(group) - head
        last |= body
        if any(shapes[name] > 1 for name in body):
            return last
    return last


def _parameter_groups(network: nn.Module) -> list[list[str]]:
    """Parameter names from input to output, in timm's groups or, without a group_matcher, layer by layer."""
    if not hasattr(network, "group_matcher"):
        names = [name for name, _ in network.named_parameters()]
        return [list(group) for _, group in groupby(names, key=lambda name: name.rpartition(".")[0])]
    groups = group_parameters(network, network.group_matcher(coarse=False))  # type: ignore[operator]
    return [
        list(part)
        for depth in sorted(groups)
        for _, part in groupby(groups[depth], key=lambda name: name.partition(".")[0])
    ]
