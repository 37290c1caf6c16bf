"""Number formats, layouts and devices."""

import pytest
import torch
from torch import nn

from competition.errors import UserError
from competition.precision import Precision, has_bf16, pick_device

CPU = torch.device("cpu")
IMITATIONS = [("x86_64", True, False, False), ("x86_64", True, True, True), ("aarch64", True, False, True)]


def test_placing_sets_the_layout_of_the_weights():
    network = Precision(channels_last=True).place(nn.Sequential(nn.Conv2d(3, 4, 3)), CPU)
    assert network[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_autocast_runs_in_the_format():
    with Precision("bf16").autocast(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    with Precision("fp32").autocast(CPU):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


@pytest.mark.parametrize(
    ("trained", "device", "has_bf16", "runs"),
    [
        ("fp32", "cpu", True, "fp32"),
        ("bf16", "cpu", True, "bf16"),
        ("bf16", "cpu", False, "fp32"),
        ("bf16", "cuda", False, "fp32"),
        ("fp16", "cuda", True, "fp16"),
        ("fp16", "cpu", True, "fp32"),
    ],
)
def test_a_format_that_a_device_only_imitates_becomes_float32(trained, device, has_bf16, runs, monkeypatch):
    monkeypatch.setattr("competition.precision.has_bf16", lambda device: has_bf16)
    for channels_last in (True, False):
        precision = Precision(trained, channels_last).on(torch.device(device))
        assert precision == Precision(runs, channels_last)


@pytest.mark.parametrize(("machine", "onednn", "avx512", "wanted"), IMITATIONS)
def test_onednn_imitates_bf16_on_avx512_without_it(machine, onednn, avx512, wanted, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512)
    assert has_bf16(CPU) is wanted


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_cuda_is_refused_where_there_is_none():
    with pytest.raises(UserError, match="--device cuda"):
        pick_device("cuda")
    assert pick_device("auto") == CPU
