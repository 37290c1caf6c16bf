"""Transfer: weights from a file, a folder, an installed package or timm's hub, checked name by name."""

import json
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from competition.errors import UserError, first_few
from competition.models.freezing import classifier_names
from competition.models.published import OFFLINE_PACKAGES, State, download, package_file, rename_efficientnet_keys
from competition.runs import is_finished

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
HALF = (0.5, 0.5, 0.5)  # as mean and spread: pixels to [-1, 1]

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class WeightsInfo:
    """What a set of weights wants (pixels in 0..1, RGB)."""

    mean: Colour
    std: Colour
    image_size: int  # px, side of the square the weights were trained on
    source: str
    options: dict[str, Any] = field(default_factory=dict)  # create_network must be given these, or layers will not fit


def load_weights(network: nn.Module, source: str, *, name: str) -> WeightsInfo:
    """Load weights into ``network``, which was created under ``name``; ``source`` is FILE, DIR or "pretrained".

    A classifier with another number of classes stays as it is in the network; everything else must fit exactly.
    Raises UserError for a source that is not there, a pickle, and layers missing, unexpected or of another shape.
    """
    info = describe_weights(source, name=name)
    if source != "pretrained":
        state = read_state(find_weights(source, name=name))
    elif (installed := package_file(name)) is not None:
        state = rename_efficientnet_keys(read_state(installed), network)
    else:
        state = download(network, name)
    load_fitting(network, state, info.source)
    return info


def describe_weights(source: str, *, name: str) -> WeightsInfo:
    """What ``source`` wants of images and of ``create_network``, before the network is there.

    A sidecar's word goes first, then what timm knows of ``name``; without either, pixels are scaled to [-1, 1].
    """
    known = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    mean, std, size = (known.mean, known.std, known.input_size[-1]) if known else (HALF, HALF, 224)
    info = WeightsInfo((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), size, f"{name} (pretrained)")
    if source != "pretrained":
        path = find_weights(source, name=name)
        return replace(info, source=str(path), **read_sidecar(path))
    if package_file(name) is not None:
        package, pixels = OFFLINE_PACKAGES[name]
        return WeightsInfo(HALF, HALF, pixels, package)
    return info


def find_weights(source: str, *, name: str) -> Path:
    """The weights file that ``source`` means: itself, or in a folder NAME.* or model.*.

    Raises UserError if there is none.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        candidates = [path / (stem + suffix) for stem in (name, "model") for suffix in SUFFIXES]
        found = [candidate for candidate in candidates if candidate.is_file()]
        if not found:
            wanted = first_few([f"{name}.safetensors", f"{name}.pth", "model.safetensors"])
            raise UserError(f"--weights {source}: no weights for {name} in this folder; put there one of {wanted}")
        path = found[0]
    if not path.is_file():
        raise UserError(f"--weights {source}: no such file or folder; give a weights file, a folder, or 'pretrained'")
    if path.suffix not in SUFFIXES:
        raise UserError(f"--weights {source}: unknown kind of file {path.suffix!r}; readable are {', '.join(SUFFIXES)}")
    return path


def refuse_fold(source: str, *, name: str) -> None:
    """Raise UserError for a fold of a run: other folds would start from weights that saw what they are scored on."""
    folder = find_weights(source, name=name).parent
    if is_finished(folder):
        raise UserError(
            f"--weights {source} is one fold of a run: it has seen images that other folds hold out, so the score "
            f"would be flattered. To start each fold from its own: --weights {folder.parent}. If it was trained on "
            f"other images, copy model.safetensors and model.json of {folder} into a folder of their own and name that"
        )


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


def read_sidecar(path: Path) -> dict[str, Any]:
    """Return what of `WeightsInfo` ``FILE.json``, timm's ``config.json`` or a fold's ``model.json`` beside it says."""
    own, hub, fold = (path.with_name(name) for name in (path.name + ".json", "config.json", "model.json"))
    if own.is_file():
        content = _read_json(own)
        options = content.get("options", {})
    elif hub.is_file() and isinstance(_read_json(hub).get("pretrained_cfg"), dict):
        own, content, options = hub, _read_json(hub)["pretrained_cfg"], _read_json(hub).get("model_args", {})
    elif fold.is_file() and isinstance(_read_json(fold).get("preprocessing"), dict):
        own, description = fold, _read_json(fold)
        content, options = description["preprocessing"], description.get("model_options", {})
        content["input_size"] = content.get("image_size")
    else:
        return {}
    if not isinstance(options, dict):
        raise UserError(f"{own}: 'options' must be names with values, not {options!r}")
    said: dict[str, Any] = {name: _colour(content, name, own) for name in ("mean", "std")}
    said |= {"image_size": _image_size(content, own), "options": options}
    return {name: value for name, value in said.items() if value is not None}


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


def load_fitting(network: nn.Module, state: State, source: str) -> None:
    """Load ``state`` strictly but for the classifier, which stays as it is where the state has none that fits."""
    state = _adapt(network, state)
    own = network.state_dict()
    heads = tuple(name + "." for name in classifier_names(network))
    left_out = {key for key in state if key.startswith(heads)}  # as a whole, for another number of classes
    if all(own[key].shape == state[key].shape for key in left_out & own.keys()):
        left_out -= own.keys()
    fitting = {key: value for key, value in state.items() if key not in left_out}
    missing = [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]
    _refuse_misfits(own, fitting, [key for key in missing if not key.startswith(heads)], source)
    network.load_state_dict(fitting, strict=False)


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
