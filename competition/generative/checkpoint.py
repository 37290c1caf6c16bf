"""A trained generative model on disk: ``generator.safetensors`` and ``generator.json``; nothing is ever unpickled."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from competition.data.decode import Resize
from competition.errors import UserError
from competition.generative.design import Design
from competition.generative.factory import create_model
from competition.generative.model import GenerativeModel
from competition.generative.settings import unowned
from competition.precision import Precision
from competition.runs import hash_file, read_json, write_atomically, write_json

WEIGHTS, DESCRIPTION = "generator.safetensors", "generator.json"


@dataclass(frozen=True)
class Generator:
    """Everything about a trained generative model but its weights."""

    design: Design
    step: int  # optimisation steps it has had
    resize: Resize  # how a picture became square
    source: str  # the data it learned from
    precision: Precision  # how it was trained, and makes its pictures
    sha256: str = ""


def save_generator(folder: Path, model: GenerativeModel, generator: Generator) -> None:
    """Write weights, then the description that vouches for them."""
    from safetensors.torch import save

    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(weights))
    write_json(folder / DESCRIPTION, {**dataclasses.asdict(generator), "sha256": hash_file(folder / WEIGHTS)})


def open_generator(
    folder: Path, device: torch.device, changes: dict[str, Any] | None = None
) -> tuple[GenerativeModel, Generator]:
    """Rebuild a model, load its weights and place it; ``changes`` replace parts of its design: ``sampling_steps``.

    Raises:
        UserError: no such checkpoint here, a damaged one, or changes that it has no use for.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    generator = read_generator(folder)
    _refuse_useless(folder, generator.design, changes or {})
    generator = dataclasses.replace(generator, design=dataclasses.replace(generator.design, **(changes or {})))
    model = create_model(generator.design)
    try:
        model.load_state_dict(load_file(folder / WEIGHTS))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise UserError(f"{folder / WEIGHTS} does not hold these weights: {str(error).splitlines()[0]}") from None
    model.place(generator.precision.on(device), device)
    return model.eval().requires_grad_(False), generator


def _refuse_useless(folder: Path, design: Design, changes: Mapping[str, Any]) -> None:
    useless = list(unowned(design.model, changes))
    if "guidance" in changes and design.model == "flow" and not design.is_conditional:
        useless.append("--guidance weighs the class, which the model was not told")
    if useless:
        raise UserError(f"{folder}: " + "; ".join(useless))


def read_generator(folder: Path) -> Generator:
    """Read the description of a checkpoint and check that its weights are the ones it was written for."""
    if not (folder / DESCRIPTION).exists():
        other = " (it holds a classifier's run)" if (folder / "oof.npz").exists() or any(folder.glob("fold_*")) else ""
        hint = "no such folder" if not folder.exists() else f"no {DESCRIPTION} there{other}"
        raise UserError(f"{folder}: {hint}; name the folder of a `generate train` run")
    values = read_json(folder / DESCRIPTION)
    try:
        if values["sha256"] != hash_file(folder / WEIGHTS):
            raise UserError(f"{folder / WEIGHTS} is not the file that {DESCRIPTION} was written for")
        built, precision = {**values.pop("design")}, Precision(**values.pop("precision"))
        design = Design(**{**built, "class_names": tuple(built["class_names"])})
        return Generator(design=design, precision=precision, **values)
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{folder / DESCRIPTION} does not describe a generative model: {error!r}") from None
