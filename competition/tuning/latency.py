"""A second objective: how long a network takes for one image."""

import statistics
import time

import torch
from torch import nn

from competition.training.inputs import Machine

WARM_UP, PASSES = 5, 30


@torch.inference_mode()
def measure_latency(network: nn.Module, machine: Machine, image_size: int) -> float:
    """Return the median milliseconds of a forward pass of one image, in the number format of the training."""
    device, precision = machine.device, machine.precision
    network = precision.place(network, device).eval()
    image = torch.zeros(1, 3, image_size, image_size, device=device).contiguous(memory_format=precision.memory_format)
    seconds = []
    for _ in range(WARM_UP + PASSES):
        start = time.perf_counter()
        with precision.autocast(device):
            network(image)
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds[WARM_UP:])
