"""The probe: within its time, without touching the network, finite combinations only."""

import time

import pytest
import torch
from torch import nn

from competition.errors import UserError
from competition.training.probe import candidates, probe_precision

CPU = torch.device("cpu")


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )


def test_the_probe_leaves_the_network_as_it_was():
    network = small()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    choice, rates = probe_precision(network, torch.rand(8, 3, 16, 16), "auto", CPU, seconds=0.5)
    assert str(choice) in rates
    assert rates[str(choice)] == max(rates.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


class Slow(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))

    def forward(self, images):
        time.sleep(0.005 * len(images))
        return images.mean((2, 3)) @ self.weight


def test_the_probe_keeps_to_its_time_with_a_slow_network():
    start = time.perf_counter()
    probe_precision(Slow(), torch.rand(256, 3, 8, 8), "auto", CPU, seconds=1.0)
    assert time.perf_counter() - start < 1.0


class OnlyFloat32IsFinite(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, images):
        logits = self.layer(images.mean((2, 3)))
        return logits if logits.dtype == torch.float32 else logits / 0.0


def test_a_combination_with_an_infinite_loss_is_not_taken():
    choice, rates = probe_precision(OnlyFloat32IsFinite(), torch.rand(8, 3, 8, 8), "auto", CPU, seconds=0.3)
    assert choice.number_format == "fp32"
    assert not [name for name in rates if "bf16" in name]
    with pytest.raises(UserError, match="--precision bf16: the loss is not finite"):
        probe_precision(OnlyFloat32IsFinite(), torch.rand(8, 3, 8, 8), "bf16", CPU, seconds=0.3)


def test_a_format_asked_for_is_the_only_candidate():
    assert {item.number_format for item in candidates("fp32", CPU)} == {"fp32"}
    assert len(candidates("fp32", CPU)) == 2
