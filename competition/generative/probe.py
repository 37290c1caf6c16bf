"""Which number format and memory layout train a generative model fastest on this machine: timed, not guessed."""

import copy
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor

from competition.errors import UserError
from competition.generative.learner import Learner
from competition.generative.model import GenerativeModel
from competition.generative.replay import LAUNCHED
from competition.generative.settings import GenerateSettings
from competition.precision import Precision, fastest, has_bf16

# How much faster than the first candidate another must be: the times of small steps are noisy, fp32 is the safest.
LEAD = 1.1
SECONDS = 3.0  # all the time the probe may take, about
IMAGES = 32  # a CPU's probe steps are smaller than its training steps


def candidates(requested: str, device: torch.device) -> list[Precision]:
    """Return the combinations worth timing, the one that is taken without a clear winner first."""
    formats = [requested] if requested != "auto" else ["fp32"]
    if requested == "auto" and has_bf16(device):
        formats = ["fp32", "bf16"]
    return [Precision(name, layout) for name in formats for layout in (True, False)]


def probe_precision(
    model: GenerativeModel, settings: GenerateSettings, pictures: Tensor, device: torch.device
) -> tuple[Precision, dict[str, float]]:
    """Time training steps of copies of the model and return the fastest finite combination.

    Args:
        model: on the CPU; it is not changed.
        settings: what the steps are made of, and the number format that is asked for.
        pictures: (B, S, S, 3) uint8.
        device: where to run.

    Returns:
        The choice, and images per second of every combination that was timed.
    """
    pictures = pictures if device.type == "cuda" else pictures[:IMAGES]
    best: dict[Precision, float] = {}
    steps: dict[Precision, Callable[[], float]] = {}
    deadline = time.perf_counter() + SECONDS
    warm_up = LAUNCHED + 1 if device.type == "cuda" else 1  # a GPU's later steps are replayed
    for precision in candidates(settings.precision, device):
        steps[precision] = _timed_step(Learner(copy.deepcopy(model), settings, 1000, precision, device), pictures)
        best[precision] = max(steps[precision]() for _ in range(warm_up))
    steps = {precision: step for precision, step in steps.items() if best[precision] < math.inf}
    if not steps:
        raise UserError(f"--precision {settings.precision}: the first loss is not finite; try --precision fp32")
    best = {precision: steps[precision]() for precision in steps}
    # In turn, so that a busy moment does not fall on one of them; the best time is the least disturbed one.
    while time.perf_counter() < deadline:
        for precision, step in steps.items():
            best[precision] = min(best[precision], step())
    return fastest(best, LEAD), {str(item): round(len(pictures) / seconds, 1) for item, seconds in best.items()}


def _timed_step(learner: Learner, pictures: Tensor) -> Callable[[], float]:
    labels = torch.zeros(len(pictures), dtype=torch.long)

    def step() -> float:
        """Return the seconds a step takes, or infinity where a loss is not finite."""
        start = time.perf_counter()
        losses = learner.take_step(pictures, labels, 0)
        is_finite = all(math.isfinite(loss.item()) for loss in losses.values())  # also waits for a GPU
        return time.perf_counter() - start if is_finite else math.inf

    return step
