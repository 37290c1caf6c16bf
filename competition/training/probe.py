"""Which number format and memory layout run a network fastest on this machine.

No single recipe wins: on a CPU bfloat16 helps dense convolutions and hurts depthwise ones, so a short timed
probe on the real network and batch decides.
"""

import copy
import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from competition.errors import UserError
from competition.precision import Precision

# How much faster than the likeliest winner another combination must be: the probe's small batches favour the
# contiguous layout, by 1.1 for resnet18, whose whole batches run 1.1 times faster in channels_last.
LEAD = 1.15


def candidates(requested: str, device: torch.device) -> list[Precision]:
    """Return the combinations worth timing, the likeliest winner first."""
    if requested != "auto":
        formats = [requested]
    elif device.type == "cuda":
        formats = ["bf16" if torch.cuda.is_bf16_supported() else "fp16", "fp32"]
    else:
        formats = ["bf16", "fp32"] if torch.ops.mkldnn._is_mkldnn_bf16_supported() else ["fp32"]
    return [Precision(name, layout) for layout in (True, False) for name in formats]


def probe_precision(
    network: nn.Module, images: Tensor, requested: str, device: torch.device, seconds: float = 1.2
) -> tuple[Precision, dict[str, float]]:
    """Time training steps of a copy of the network and return the fastest finite combination.

    Args:
        network: float32, on any device; it is not changed.
        images: (B, C, H, W) float32, normalised.
        requested: ``auto`` or one number format, of which the faster layout is taken.
        device: where to run.
        seconds: all the time the probe may take.

    Returns:
        The choice, and images per second of every combination that was timed.
    """
    deadline = time.perf_counter() + seconds
    images = images[: _affordable(network, images, device, seconds)]
    steps: dict[Precision, Iterator[Tensor]] = {}
    best: dict[Precision, float] = {}
    for precision in candidates(requested, device):
        if best and time.perf_counter() > deadline - seconds / 4:
            break  # a slow machine: better a few combinations timed well
        runner = _steps(network, images, precision, device)
        if torch.isfinite(next(runner)):  # the first step also warms up
            steps[precision], best[precision] = runner, math.inf
    if not steps:
        raise UserError(f"--precision {requested}: the loss is not finite in any layout; try --precision fp32")
    # In turn, so that a busy moment does not fall on one of them; the best time is the least disturbed one.
    while math.inf in best.values() or time.perf_counter() < deadline - sum(best.values()):
        for precision, runner in steps.items():
            best[precision] = min(best[precision], _seconds(runner, device))
    choice = min(best, key=lambda item: best[item])
    first = next(iter(best))
    if best[first] < LEAD * best[choice]:
        choice = first
    return choice, {str(item): round(len(images) / seconds, 1) for item, seconds in best.items()}


def _affordable(network: nn.Module, images: Tensor, device: torch.device, seconds: float) -> int:
    """Return how many images a probe step may hold so that all combinations fit into the time."""
    if device.type == "cuda":
        return len(images)
    few = images[:8]
    step = _steps(network, few, Precision(), device)
    next(step)
    return max(2, min(len(images), int(seconds / 16 / _seconds(step, device) * len(few))))


def _seconds(steps: Iterator[Tensor], device: torch.device) -> float:
    """Return how long the next step takes."""
    start = time.perf_counter()
    next(steps)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def _steps(network: nn.Module, images: Tensor, precision: Precision, device: torch.device) -> Iterator[Tensor]:
    """Run forward and backward passes for ever, one per ``next``; yields the loss."""
    network = precision.place(copy.deepcopy(network), device).train()
    images = images.to(device).contiguous(memory_format=precision.memory_format)
    scale = 1024.0 if precision.number_format == "fp16" else 1.0
    while True:
        with precision.autocast(device):
            logits = network(images)
            loss = torch.logsumexp(logits.float(), dim=1).mean()
        network.zero_grad(set_to_none=True)
        (loss * scale).backward()
        yield loss.detach()
