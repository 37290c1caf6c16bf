"""Checkpoints of generative models: whole or refused."""

import json

import pytest
import torch

from competition.errors import UserError
from competition.generative.checkpoint import Generator, open_generator, save_generator
from competition.generative.factory import MODELS, create_model
from competition.precision import Precision
from tests.generative_data import design_for

CPU = torch.device("cpu")


def saved(folder, name="dcgan"):
    torch.manual_seed(0)
    model = create_model(design_for(name))
    save_generator(folder, model, Generator(design_for(name), 7, "squash", "data", Precision()))
    return model


@pytest.mark.parametrize("name", list(MODELS))
def test_everything_comes_back(name, tmp_path):
    model = saved(tmp_path, name)
    opened, generator = open_generator(tmp_path, CPU)
    assert (generator.design, generator.step, generator.source) == (model.design, 7, "data")
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(opened.state_dict()[key], tensor)
    assert not opened.training


def test_parts_of_the_design_can_be_changed(tmp_path):
    saved(tmp_path, "flow")
    assert open_generator(tmp_path, CPU, {"sampling_steps": 3})[0].design.sampling_steps == 3


def test_other_weights_are_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "generator.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match="is not the file that generator.json was written for"):
        open_generator(tmp_path, CPU)


@pytest.mark.parametrize(
    ("change", "said"), [({"design": {"model": "x"}}, "does not describe"), ({"sha256": None}, "is not the file")]
)
def test_a_damaged_description_is_refused(change, said, tmp_path):
    saved(tmp_path)
    values = json.loads((tmp_path / "generator.json").read_text())
    (tmp_path / "generator.json").write_text(json.dumps({**values, **change}))
    with pytest.raises(UserError, match=said):
        open_generator(tmp_path, CPU)


def test_a_folder_without_a_generator(tmp_path):
    with pytest.raises(UserError, match="no generator.json there; name the folder of a `generate train` run"):
        open_generator(tmp_path, CPU)
    with pytest.raises(UserError, match="no such folder"):
        open_generator(tmp_path / "nowhere", CPU)


@pytest.mark.parametrize(("has_bf16", "wanted"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_flow_trained_in_bf16_samples_in_bf16_where_the_machine_has_it(has_bf16, wanted, tmp_path, monkeypatch):
    model, precision = create_model(design_for("flow")), Precision("bf16")
    save_generator(tmp_path, model, Generator(model.design, 7, "squash", "data", precision))
    monkeypatch.setattr("competition.precision.has_bf16", lambda device: has_bf16)
    opened, generator = open_generator(tmp_path, CPU, {"sampling_steps": 1})
    seen = []
    opened.network.stem.register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    pictures = opened.decode(torch.zeros(1, *opened.latent_shape), torch.zeros(1, dtype=torch.long))
    assert (seen, pictures.dtype, generator.precision) == ([wanted], torch.float32, precision)
