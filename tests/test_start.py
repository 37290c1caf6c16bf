"""What a fold starts from."""

import json

import pytest
import torch

from competition.config import TrainSettings
from competition.errors import UserError
from competition.models.factory import create_network
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
