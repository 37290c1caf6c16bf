"""A trained network on disk: ``model.safetensors`` and ``model.json``.

It opens without the command that made it: name and options of the network, class names and preprocessing are
in the JSON file. Nothing is ever unpickled.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from competition.data.loader import Loader
from competition.errors import UserError
from competition.inference import Preprocessing, View, predict_probabilities
from competition.precision import Precision
from competition.runs import counted_seed, hash_file, read_json, write_atomically, write_json


@dataclass(frozen=True)
class Checkpoint:
    """Everything about a trained network but its weights."""

    model: str
    model_options: dict[str, Any]
    class_names: tuple[str, ...]
    preprocessing: Preprocessing
    precision: Precision
    dropout: float | None = None  # None: the network's own

    def predict(
        self,
        network: nn.Module,
        loader: Loader,
        device: torch.device,
        views: Sequence[View],
        on_batch: Callable[[int], None] = lambda images: None,
    ) -> NDArray[np.float32]:
        """Place the network that `open_checkpoint` returned and predict as it was trained: (N, K), K in its own order.

        See `competition.inference.predict_probabilities`.
        """
        precision = self.precision.on(device)
        return predict_probabilities(
            precision.place(network, device),
            loader,
            len(self.class_names),
            self.preprocessing,
            precision,
            device,
            views,
            on_batch=on_batch,
        )


def save_checkpoint(folder: Path, network: nn.Module, checkpoint: Checkpoint) -> None:
    """Write weights, then the description that vouches for them."""
    from safetensors.torch import save

    # Cloned: safetensors refuses tensors that share memory, as those of layers used twice do.
    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in network.state_dict().items()
    }
    write_atomically(folder / "model.safetensors", save(weights))
    description = dataclasses.asdict(checkpoint) | {"sha256": hash_file(folder / "model.safetensors")}
    write_json(folder / "model.json", description)


def open_checkpoint(folder: Path) -> tuple[nn.Module, Checkpoint]:
    """Rebuild a network and load its weights.

    Raises:
        UserError: no checkpoint here, a damaged one, or one in a format that could run code.
    """
    from competition.models.budget import reshape_to
    from competition.models.factory import create_network
    from competition.models.weights import read_state

    checkpoint = read_checkpoint(folder)
    network = create_network(
        checkpoint.model,
        len(checkpoint.class_names),
        image_size=checkpoint.preprocessing.image_size,
        dropout=checkpoint.dropout,
        options=checkpoint.model_options,
    )
    return reshape_to(network, read_state(folder / "model.safetensors")).eval(), checkpoint


def read_checkpoint(folder: Path) -> Checkpoint:
    """Read the description of a checkpoint and check that its weights are the ones it was written for."""
    if not (folder / "model.json").exists():
        pickled = [
            path.name for path in sorted(folder.glob("*")) if path.suffix in (".pt", ".pth", ".pkl", ".bin", ".ckpt")
        ]
        hint = f"; {pickled[0]} may hold a pickle, which could run code, and is not opened" if pickled else ""
        if folds := sorted(folder.glob("fold_*")):
            hint = f"; it is a run: name one of its folds, such as {folds[0].name}"
        raise UserError(f"{folder} holds no checkpoint (model.json and model.safetensors){hint}")
    values = read_json(folder / "model.json")
    try:
        if values.pop("sha256") != hash_file(folder / "model.safetensors"):
            raise UserError(f"{folder}/model.safetensors is not the file that model.json was written for")
        preprocessing = {**values.pop("preprocessing")}
        for name in ("mean", "std"):
            preprocessing[name] = tuple(preprocessing[name])
        return Checkpoint(
            **{**values, "class_names": tuple(values["class_names"]), "precision": Precision(**values["precision"])},
            preprocessing=Preprocessing(**preprocessing),
        )
    except (KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{folder}/model.json does not describe a checkpoint: {error!r}") from None


def hash_weights(run: Path, folds: int) -> str:
    """Return 16 hex digits that change with the weights of any fold of a run."""
    weights = "".join(hash_file(run / f"fold_{fold}" / "model.safetensors") for fold in range(folds))
    return f"{counted_seed(weights):016x}"
