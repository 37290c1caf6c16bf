"""Checkpoints of generative models: whole or refused."""

import json

import pytest
import torch

from competition.errors import UserError
from competition.generative.checkpoint import Generator, open_generator, save_generator
from competition.generative.factory import MODELS, create_model
from tests.generative_data import design_for


def saved(folder, name="dcgan"):
    torch.manual_seed(0)
    model = create_model(design_for(name))
    save_generator(folder, model, Generator(design_for(name), 7, "squash", "data"))
    return model


@pytest.mark.parametrize("name", list(MODELS))
def test_everything_comes_back(name, tmp_path):
    model = saved(tmp_path, name)
    opened, generator = open_generator(tmp_path)
    assert (generator.design, generator.step, generator.source) == (model.design, 7, "data")
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(opened.state_dict()[key], tensor)
    assert not opened.training


def test_parts_of_the_design_can_be_changed(tmp_path):
    saved(tmp_path, "flow")
    assert open_generator(tmp_path, {"sampling_steps": 3})[0].design.sampling_steps == 3


def test_other_weights_are_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "generator.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="is not the file that generator.json was written for"):
        open_generator(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"), [({"design": {"model": "x"}}, "does not describe"), ({"sha256": None}, "is not the file")]
)
def test_a_damaged_description_is_refused(change, said, tmp_path):
    saved(tmp_path)
    values = json.loads((tmp_path / "generator.json").read_text())
    (tmp_path / "generator.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(UserError, match=said):
        open_generator(tmp_path)


def test_a_folder_without_a_generator(tmp_path):
    with pytest.raises(UserError, match="no generator.json there; name the folder of a `generate train` run"):
        open_generator(tmp_path)
    with pytest.raises(UserError, match="no such folder"):
        open_generator(tmp_path / "nowhere")
