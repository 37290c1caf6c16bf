"""The probe: within its time and memory, without touching the network, finite combinations only."""

import pytest
import torch
from torch import nn

from competition.errors import UserError
from competition.precision import Precision, fastest
from competition.training.probe import LEAD, candidates, probe_precision

CPU = torch.device("cpu")
BF16, FP32 = Precision("bf16"), Precision("fp32")
BF16_CONTIGUOUS, FP32_CONTIGUOUS = Precision("bf16", False), Precision("fp32", False)


@pytest.mark.parametrize(
    ("seconds", "choice"),
    [
        ({FP32: 1.0}, FP32),
        ({BF16: 1.0, FP32: 2.0}, BF16),
        ({BF16: 2.0, FP32: 1.0}, FP32),
        ({BF16: 1.14, FP32: 1.0}, BF16),  # nearly as fast, and the likelier winner on whole batches
        ({BF16: 1.15, FP32: 1.0}, FP32),
        ({BF16: 2.0, FP32: 1.01, BF16_CONTIGUOUS: 1.9, FP32_CONTIGUOUS: 1.0}, FP32_CONTIGUOUS),
    ],
)
def test_the_fastest_wins_unless_the_likeliest_is_nearly_as_fast(seconds, choice):
    assert fastest(seconds, LEAD) == choice


class Clocked(nn.Module):
    """A network whose passes take what they say on a clock of their own.

    Args:
        per_image: seconds per image.
        most: images that memory has room for.
    """

    def __init__(self, per_image=0.0, most=1000):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 2))
        self.per_image, self.most = per_image, most
        self.now, self.sizes = [0.0], []  # lists: copies of the network share them

    def __deepcopy__(self, memo):
        twin = Clocked(self.per_image, self.most)
        twin.now, twin.sizes = self.now, self.sizes
        return twin

    def forward(self, images):
        self.sizes.append(len(images))
        self.now[0] += self.per_image * len(images)
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean((2, 3)) @ self.weight

    def clock(self):
        self.now[0] += 1e-6
        return self.now[0]


@pytest.mark.parametrize("most", [1000, 100, 30, 3])
@pytest.mark.parametrize("per_image", [0.0001, 0.005, 0.03])
def test_the_probe_keeps_to_its_time_and_memory(per_image, most):
    network = Clocked(per_image, most)
    choice, rates = probe_precision(network, torch.rand(256, 3, 8, 8), "auto", CPU, seconds=1.0, clock=network.clock)
    assert network.now[0] < 1.001
    assert network.sizes[-1] <= most
    assert str(choice) in rates


def test_the_probe_leaves_the_network_as_it_was():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    probe_precision(network, torch.rand(8, 3, 16, 16), "auto", CPU, seconds=0.1)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


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
