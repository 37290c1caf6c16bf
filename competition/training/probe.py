"""Which number format and memory layout run a network fastest on this machine.

No single recipe wins: on a CPU bfloat16 helps dense convolutions and hurts depthwise ones, so a short timed
probe on the real network and batch decides.
"""

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from competition.errors import UserError
from competition.memory import in_halves
from competition.precision import Precision, fastest, has_bf16

# How much faster than the likeliest winner another combination must be: the probe's small batches favour the
# contiguous layout, by 1.1 for resnet18, whose whole batches run 1.1 times faster in channels_last.
LEAD = 1.15


def candidates(requested: str, device: torch.device) -> list[Precision]:
    """Return the combinations worth timing, the likeliest winner first."""
    if requested != "auto":
        formats = [requested]
    elif device.type == "cuda":
        formats = ["bf16" if has_bf16(device) else "fp16", "fp32"]
    else:
        formats = ["bf16", "fp32"] if has_bf16(device) else ["fp32"]
    return [Precision(name, layout) for layout in (True, False) for name in formats]


def probe_precision(
    network: nn.Module,
    images: Tensor,
    requested: str,
    device: torch.device,
    seconds: float = 1.2,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[Precision, dict[str, float]]:
    """Time training steps of a copy of the network and return the fastest finite combination.

    Args:
        network: float32, on any device; it is not changed.
        images: (B, C, H, W) float32, normalised; fewer are used where time or memory are short.
        requested: ``auto`` or one number format, of which the faster layout is taken.
        device: where to run.
        seconds: all the time the probe may take, after a GPU has been started.
        clock: tells the seconds.

    Returns:
        The choice, and images per second of every combination that was timed.
    """
    if device.type == "cuda":
        _start_gpu(network, images, candidates(requested, device)[0], device)
    timer = _Timer(network, device, clock, clock() + seconds)
    best, size = in_halves(
        lambda size: timer.best_seconds(images[:size], candidates(requested, device)),
        timer.affordable(images, seconds / 16),
        note=lambda text: None,  # the training halves its steps too, and says so
    )
    if not best:
        raise UserError(f"--precision {requested}: the loss is not finite in any layout; try --precision fp32")
    return fastest(best, LEAD), {str(item): round(size / seconds, 1) for item, seconds in best.items()}


def _start_gpu(network: nn.Module, images: Tensor, precision: Precision, device: torch.device) -> None:
    """Take a step outside of the time: the first one loads the GPU's libraries, for seconds."""
    in_halves(lambda size: next(_steps(network, images[:size], precision, device)), len(images), note=lambda text: None)
    torch.cuda.synchronize()


@dataclass(frozen=True)
class _Timer:
    """Times steps of a network until a deadline of its clock."""

    network: nn.Module
    device: torch.device
    clock: Callable[[], float]
    deadline: float

    def affordable(self, images: Tensor, seconds: float) -> int:
        """Return how many images a step of so many seconds may hold."""
        if self.device.type == "cuda":
            return len(images)

        def seconds_per_image(size: int) -> float:
            step = _steps(self.network, images[:size], Precision(), self.device)
            next(step)
            return self._seconds(step) / size

        each, _ = in_halves(seconds_per_image, min(8, len(images)), note=lambda text: None)
        return max(2, min(len(images), int(seconds / each))) if each > 0 else len(images)

    def best_seconds(self, images: Tensor, precisions: Sequence[Precision]) -> dict[Precision, float]:
        """Return the shortest step of each combination whose loss is finite, as far as the time goes."""
        begin = self.clock()
        steps: dict[Precision, Iterator[Tensor]] = {}
        for precision in precisions:
            if steps and self.clock() > self.deadline - (self.deadline - begin) / 4:
                break  # a slow machine: better a few combinations timed well
            runner = _steps(self.network, images, precision, self.device)
            if torch.isfinite(next(runner)):  # the first step also warms up
                steps[precision] = runner
        best = {precision: self._seconds(runner) for precision, runner in steps.items()}
        # In turn, so that a busy moment does not fall on one of them; the best time is the least disturbed one.
        while steps and self.clock() < self.deadline - sum(best.values()):
            for precision, runner in steps.items():
                best[precision] = min(best[precision], self._seconds(runner))
        return best

    def _seconds(self, steps: Iterator[Tensor]) -> float:
        """Return how long the next step takes."""
        start = self.clock()
        next(steps)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock() - start


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
