"""The one door to networks: every name of timm's registry, our own among them."""

import inspect
import re
import warnings
from collections.abc import Mapping
from typing import Any

import timm
from torch import nn

from competition.errors import UserError, did_you_mean
from competition.models import resnet_fast, seed_cnns, seed_resnets

OWN_MODULES = (seed_cnns, seed_resnets, resnet_fast)  # importing them registers their networks
# Arguments of timm's that have a setting of their own here, or that would reach for a network or a pickle.
RESERVED_OPTIONS = {
    "num_classes": "the number of classes comes from the data",
    "img_size": "use --image-size",
    "in_chans": "images are read as RGB",
    "pretrained": "use --weights",
    "checkpoint_path": "use --weights",
    "pretrained_cfg": "use --weights",
    "pretrained_cfg_overlay": "use --weights",
    "cache_dir": "use --weights",
    "features_only": "a classifier is needed",
}

# What networks answer to options that they cannot be built with, such as a division by ratio=0.
REFUSALS = (TypeError, ValueError, AssertionError, RuntimeError, AttributeError, LookupError, ArithmeticError)


def create_network(
    name: str,
    num_classes: int,
    *,
    image_size: int,
    dropout: float | None = None,
    options: Mapping[str, object] | None = None,
    max_parameters: int | None = None,
) -> nn.Module:
    """Build the network registered under ``name``, randomly initialised: (B, 3, H, W) -> (B, num_classes).

    ``image_size`` (px) is passed on to networks that are built for one size. ``dropout`` is the rate before the
    classifier; None keeps the network's own. ``options`` are further arguments of the network. Never touches the
    internet. Raises UserError for an unknown name, tag or option, an image size that the network cannot take, options
    that leave a layer empty, and more than ``max_parameters`` parameters.
    """
    check_network(name, options or {})
    arguments = dict(options or {})
    if dropout is not None:
        if "drop_rate" in arguments:
            raise UserError("the dropout is given twice: by --dropout and by the option drop_rate; leave one out")
        arguments["drop_rate"] = dropout
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # refused here, in words
        network = _build(name, num_classes, image_size, arguments)
    empty = next((weight for weight, values in network.named_parameters() if values.numel() == 0), None)
    if empty:
        raise UserError(_refusal(name, image_size, arguments, f"{empty} would have no channels"))
    if max_parameters is not None:
        _check_size(name, count_parameters(network), max_parameters)
    return network


def own_networks() -> list[str]:
    """The names of our own networks."""
    return sorted(name for module in OWN_MODULES for name in timm.list_models(module=module.__name__.split(".")[-1]))


def is_known(name: str) -> bool:
    """Whether ``create_network`` takes this name; a pretrained tag after a dot is allowed (``resnet18.a1_in1k``)."""
    return ":" not in name and bool(timm.is_model(name))  # a colon is timm's address of a remote or local folder


def count_parameters(network: nn.Module) -> int:
    """Number of parameters, trainable or frozen; buffers such as running means do not count."""
    return sum(parameter.numel() for parameter in network.parameters())


def check_network(name: str, options: Mapping[str, object]) -> None:
    """Refuse an unknown name, and options that can be told wrong before anything is built; raises UserError."""
    if not is_known(name):
        raise UserError(
            f"unknown network {name!r}{did_you_mean(name, timm.list_models())}: "
            f"take one of our own ({', '.join(own_networks())}) or any name of timm's"
        )
    known = own_options(name)
    for option in options:
        if option in RESERVED_OPTIONS:
            raise UserError(f"option {option!r} of network {name} cannot be set here: {RESERVED_OPTIONS[option]}")
        if known and option not in known:
            raise UserError(
                f"network {name} has no option {option!r}{did_you_mean(option, known)}: it has {', '.join(known)}"
            )


def own_options(name: str) -> dict[str, Any]:
    """Return the options of one of our own networks and their defaults, read off its class; none for timm's."""
    if name not in own_networks():
        return {}
    network_class = inspect.signature(timm.models.model_entrypoint(name)).return_annotation
    taken = inspect.signature(network_class).parameters.values()
    return {option.name: option.default for option in taken if option.name not in RESERVED_OPTIONS}


def _build(name: str, num_classes: int, image_size: int, arguments: dict[str, object]) -> nn.Module:
    """Call timm with ``img_size``, and without it if the network does not have that argument."""
    for sized in (True, False):
        try:
            every: dict[str, Any] = arguments | ({"img_size": image_size} if sized else {})
            return timm.create_model(name, pretrained=False, num_classes=num_classes, **every)
        except UserError:
            raise
        except REFUSALS as error:
            option = re.search(r"unexpected keyword argument(?:\(s\): \[| )'(\w+)'", str(error))
            if option is None:
                raise UserError(_refusal(name, image_size, arguments, error)) from error
            if option[1] == "img_size" and sized:
                continue  # binding failed, so nothing was built
            if option[1] == "drop_rate":
                raise UserError(f"network {name} has no dropout before its classifier: leave --dropout out") from error
            raise UserError(f"network {name} has no option {option[1]!r}: see timm's documentation of it") from error
    raise AssertionError("the second attempt returns or raises")


def _refusal(name: str, image_size: int, arguments: dict[str, object], reason: object) -> str:
    options = f" with {', '.join(f'{key}={value}' for key, value in arguments.items())}" if arguments else ""
    return f"network {name} cannot be built for images of {image_size} px{options}: {reason}"


def _check_size(name: str, parameters: int, max_parameters: int) -> None:
    if parameters > max_parameters:
        raise UserError(
            f"network {name} has {parameters:,} parameters, over the limit of {max_parameters:,}: "
            "take a smaller network, narrow it by its options, or train it without the limit and prune it down"
        )
