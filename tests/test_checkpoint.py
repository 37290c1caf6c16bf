"""Checkpoints open without the command that made them, and never run code."""

import json
import pickle

import pytest
import torch

from competition.checkpoint import Checkpoint, open_checkpoint, save_checkpoint
from competition.errors import UserError
from competition.inference import Preprocessing
from competition.models.factory import create_network
from competition.models.weights import read_state
from competition.precision import Precision
from competition.runs import hash_file

OPTIONS = {"activation": "elu"}


@pytest.fixture
def saved(tmp_path):
    network = create_network("mycnn", 3, image_size=32, options=OPTIONS, dropout=0.2).eval()
    preprocessing = Preprocessing(32, "crop", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    checkpoint = Checkpoint(
        "mycnn", OPTIONS, ("cat", "<b>", "007"), preprocessing, Precision("bf16", channels_last=False), 0.2
    )
    save_checkpoint(tmp_path, network, checkpoint)
    return tmp_path, network, checkpoint


def test_a_checkpoint_opens_by_itself(saved):
    folder, network, checkpoint = saved
    opened, described = open_checkpoint(folder)
    assert described == checkpoint
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(opened(images), network(images))
    assert sorted(path.name for path in folder.iterdir()) == ["model.json", "model.safetensors"]


def test_weights_of_another_checkpoint_are_refused(saved):
    folder, _, _ = saved
    (folder / "model.safetensors").write_bytes(b"something else")
    with pytest.raises(UserError, match="is not the file that model.json was written for"):
        open_checkpoint(folder)


def write_bomb(path, target):
    """Write a pickle that makes a file when it is opened."""

    class Bomb:
        def __reduce__(self):
            return (open, (str(target), "w"))

    path.write_bytes(pickle.dumps(Bomb()))


@pytest.mark.parametrize("name", ["model.pt", "model.pth", "model.pkl"])
def test_a_pickle_is_refused_and_not_run(tmp_path, name):
    target = tmp_path / "executed"
    write_bomb(tmp_path / name, target)
    with pytest.raises(UserError, match=f"{name} may hold a pickle"):
        open_checkpoint(tmp_path)
    assert not target.exists()


def test_a_pickle_under_the_right_name_is_refused_and_not_run(saved, tmp_path):
    folder, _, _ = saved
    target = tmp_path / "executed"
    write_bomb(folder / "model.safetensors", target)
    description = json.loads((folder / "model.json").read_text())
    description["sha256"] = hash_file(folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(description))
    with pytest.raises(UserError, match="cannot be read as weights"):
        open_checkpoint(folder)
    assert not target.exists()


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"model": 1, "sha256": "x"}'])
def test_a_damaged_description_is_named(saved, text):
    folder, _, _ = saved
    (folder / "model.json").write_text(text)
    with pytest.raises(UserError, match="model"):
        open_checkpoint(folder)


def test_layers_that_share_their_weights_are_saved(tmp_path):
    network = create_network("plain_cnn", 3, image_size=32)
    network.again = network.get_classifier()
    preprocessing = Preprocessing(32, "crop", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    save_checkpoint(tmp_path, network, Checkpoint("plain_cnn", {}, ("a", "b", "c"), preprocessing, Precision()))
    stored = read_state(tmp_path / "model.safetensors")
    assert torch.equal(stored["again.weight"], network.again.weight)


def test_a_run_is_no_checkpoint_but_its_folds_are(tmp_path):
    (tmp_path / "fold_0").mkdir()
    with pytest.raises(UserError, match=r"holds no checkpoint .*; it is a run: name one of its folds, such as fold_0"):
        open_checkpoint(tmp_path)
