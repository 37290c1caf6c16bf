"""Steps that are captured on a GPU and replayed, against the same steps launched one by one."""

import copy

import pytest
import torch

from competition.generative.factory import create_model
from competition.generative.learner import Learner
from competition.generative.replay import LAUNCHED
from competition.generative.settings import GenerateSettings
from competition.precision import Precision
from tests.generative_data import SIZE, design_for

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

VARIANTS = [
    ("autoencoder", {}),
    ("acai", {"ema": 0.9}),
    ("vae", {"kl_schedule": "cyclic"}),
    ("dcgan", {}),
    ("dcgan", {"diffaug": True, "spectral_norm": True, "gan_loss": "hinge", "ema": 0.9}),
    ("dcgan", {"prune": "magnitude", "max_parameters": 700}),
    ("flow", {}),
]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def learner(model, changes, device="cuda"):
    torch.manual_seed(0)
    settings = GenerateSettings(model=model, **changes)
    return Learner(create_model(design_for(model)), settings, 20, Precision(), torch.device(device))


def take_steps(own, steps, device="cpu"):
    """Take steps with batches of two sizes, as an epoch has them."""
    losses = {}
    for step in steps:
        noise = torch.Generator().manual_seed(step)
        count = 8 - step % 2
        pictures = torch.randint(0, 256, (count, SIZE, SIZE, 3), dtype=torch.uint8, generator=noise)
        losses = own.take_step(pictures.to(device), (torch.arange(count) % 3).to(device), step)
    return losses


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_replayed_steps_are_the_launched_ones(model, changes):
    replayed, launched = learner(model, changes), learner(model, changes)
    launched._replay = None
    steps = range(2 * (LAUNCHED + 3))  # three replays of each batch size
    losses, expected = take_steps(replayed, steps), take_steps(launched, steps, "cuda")
    for name, loss in losses.items():
        torch.testing.assert_close(loss, expected[name], rtol=1e-3, atol=1e-4)
    for one, other in zip(replayed.model.parameters(), launched.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("model", "changes"), VARIANTS)
def test_a_state_goes_from_device_to_device(model, changes):
    first = learner(model, changes)
    take_steps(first, range(8))
    second = learner(model, changes, "cpu")
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    losses = take_steps(second, range(8, 10))
    third = learner(model, changes)
    third.load_state_dict(copy.deepcopy(second.state_dict()))
    take_steps(third, range(10, 18))
    assert all(loss.isfinite() for loss in losses.values())
    assert all(bool(weight.isfinite().all()) for weight in third.model.parameters())
