"""Number formats, layouts and devices."""

import pytest
import torch
from torch import nn

from competition.errors import UserError
from competition.precision import Precision, pick_device

CPU = torch.device("cpu")


def test_placing_sets_the_layout_of_the_weights():
    network = Precision(channels_last=True).place(nn.Sequential(nn.Conv2d(3, 4, 3)), CPU)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_autocast_runs_in_the_format():
    with Precision("bf16").autocast(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    with Precision("fp32").autocast(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="--device cuda"):
        pick_device("cuda")
    assert pick_device("auto") == CPU
