"""The precision probe: finite, and fp32 unless another is clearly faster."""

import math

import pytest
import torch

from competition.errors import UserError
from competition.generative import probe as module
from competition.generative.factory import create_model
from competition.generative.probe import candidates, probe_precision
from competition.generative.settings import GenerateSettings
from competition.precision import Precision
from tests.generative_data import design_for

CPU = torch.device("cpu")
PICTURES = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)


def choose(monkeypatch, seconds):
    """Return the probe's choice where a step in each combination takes so long."""
    monkeypatch.setattr(module, "SECONDS", 0.0)
    monkeypatch.setattr(module, "has_bf16", lambda device: True)
    monkeypatch.setattr(module, "_timed_step", lambda learner, pictures: lambda: seconds[str(learner.precision)])
    model = create_model(design_for("vae"))
    return str(probe_precision(model, GenerateSettings(model="vae"), PICTURES, CPU)[0])


FIRST, SECOND, THIRD, FOURTH = (str(Precision(name, layout)) for name in ("fp32", "bf16") for layout in (True, False))


@pytest.mark.parametrize(
    ("seconds", "choice"),
    [
        ((1.0, 1.0, 0.95, 1.0), FIRST),  # not clearly faster
        ((1.0, 1.0, 0.6, 0.7), THIRD),
        ((1.0, 0.8, 1.2, 1.3), SECOND),
        ((math.inf, 0.8, 1.2, 1.3), SECOND),
    ],
)
def test_choice(monkeypatch, seconds, choice):
    assert choose(monkeypatch, dict(zip((FIRST, SECOND, THIRD, FOURTH), seconds, strict=True))) == choice


def test_no_finite_loss(monkeypatch):
    with pytest.raises(UserError, match="the first loss is not finite"):
        choose(monkeypatch, dict.fromkeys((FIRST, SECOND, THIRD, FOURTH), math.inf))


def test_a_requested_format_is_kept():
    assert candidates("fp32", CPU) == [Precision("fp32", True), Precision("fp32", False)]


def test_the_model_is_not_changed(monkeypatch):
    monkeypatch.setattr(module, "SECONDS", 0.0)
    model = create_model(design_for("dcgan"))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    probe_precision(model, GenerateSettings(model="dcgan", precision="fp32"), PICTURES, CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
