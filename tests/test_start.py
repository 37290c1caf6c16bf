"""What a fold starts from."""

import json

import pytest
import torch

from competition.checkpoint import Checkpoint, save_checkpoint
from competition.config import TrainSettings
from competition.errors import UserError
from competition.inference import Preprocessing
from competition.models.factory import create_network
from competition.precision import Precision
from competition.training.start import check_earlier_run, starting_network, starting_share


def share(model, size, **settings):
    network = create_network(model, 3, image_size=size)
    return starting_share(TrainSettings(model=model, **settings), network, size)


@pytest.mark.parametrize(
    ("model", "size", "settings", "expected"),
    [
        ("mycnn", 64, {}, 0.5),
        ("mycnn", 32, {}, 1.0),  # too small to begin smaller
        ("mycnn", 64, {"weights": "w.pth"}, 1.0),  # the weights know one size
        ("mycnn", 64, {"grow_from": 0.75}, 0.75),
        ("mlp", 64, {}, 1.0),  # takes one size only
    ],
)
def test_growing_where_it_helps_and_works(model, size, settings, expected):
    assert share(model, size, **settings) == expected


def test_a_network_that_some_size_on_the_way_does_not_fit_does_not_grow():
    class Picky(torch.nn.Linear):
        def forward(self, images):
            if images.shape[-1] == 48:
                raise RuntimeError("cannot concatenate")
            return super().forward(images.mean((2, 3)))

    assert starting_share(TrainSettings(), Picky(3, 2), 64) == 1.0  # 32, 48, 64
    assert starting_share(TrainSettings(), Picky(3, 2), 128) == 0.5  # 64, 96, 128


def test_growing_a_network_of_one_size_is_refused_when_asked_for():
    with pytest.raises(UserError, match="mlp cannot take images of 32 px"):
        share("mlp", 64, grow_from=0.5)


def test_fresh_layers_come_from_the_current_seed():
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        network = starting_network(TrainSettings(model="mycnn"), 3, 32, 0)
        weights.append(next(network.parameters()).clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_pruning_source_of_another_network_is_refused(tmp_path):
    description = {
        "model": "resnet_ab", "model_options": {}, "class_names": ["a", "b"], "dropout": 0.0,
        "preprocessing": {"image_size": 32, "resize": "squash", "mean": [0.5] * 3, "std": [0.5] * 3},
        "precision": {"number_format": "fp32", "channels_last": True},
    }  # fmt: skip
    for fold in (0, 1):
        folder = tmp_path / f"fold_{fold}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"")
        (folder / "model.json").write_text(json.dumps(description | {"sha256": "e3b0c44298fc1c14"}))
    settings = TrainSettings(model="mycnn", folds=2, prune_from=tmp_path, max_parameters=10)
    with pytest.raises(UserError, match="its --model is resnet_ab, this run's is mycnn"):
        check_earlier_run(settings, ("a", "b"), 32)
    with pytest.raises(UserError, match="its --image-size is 32"):
        check_earlier_run(settings.replace(model="resnet_ab", image_size=64), ("a", "b"), 32)


@pytest.mark.parametrize("flags", [{"weights": "RUN"}, {"prune_from": "RUN", "max_parameters": 10**6}])
def test_each_fold_starts_from_the_same_fold_of_the_earlier_run(tmp_path, flags):
    """Another fold's network has seen what this fold is scored on."""
    (tmp_path / "run.json").write_text("{}")
    preprocessing = Preprocessing(32, "squash", (0.5,) * 3, (0.5,) * 3)
    earlier = []
    for fold in range(3):
        folder = tmp_path / f"fold_{fold}"
        folder.mkdir()
        torch.manual_seed(fold)
        network = create_network("mycnn", 2, image_size=32)
        save_checkpoint(folder, network, Checkpoint("mycnn", {}, ("a", "b"), preprocessing, Precision()))
        (folder / "predictions.npz").touch()  # marks it as finished
        earlier.append(network.state_dict())
    named = {name: str(tmp_path) if value == "RUN" else value for name, value in flags.items()}
    settings = TrainSettings(model="mycnn", folds=3, prune_method="magnitude", **named)
    for fold in range(3):
        found = starting_network(settings, 2, 32, fold).state_dict()
        assert all(torch.equal(tensor, earlier[fold][name]) for name, tensor in found.items())
