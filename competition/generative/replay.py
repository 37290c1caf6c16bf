"""Steps on a GPU, captured once as a CUDA graph and replayed.

The step of a small model is some thousand kernels. A processor needs ten times as long to launch them one after the
other as the GPU to run them; a graph is launched at once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

LAUNCHED = 3  # steps of a batch size before its capture: they choose algorithms and make the optimisers' state

Step = Callable[[Tensor, Tensor], dict[str, Tensor]]


@dataclass
class Capture:
    """The step for one batch size: where it reads its batch, and once it is captured, its graph and its losses."""

    pictures: Tensor
    labels: Tensor
    launched: int = 0
    graph: torch.cuda.CUDAGraph | None = None
    losses: dict[str, Tensor] = field(default_factory=dict)


class Replay:
    """Takes steps; one is captured for each batch size.

    Args:
        noise: the generator that the steps draw from; its seed may be set anew before each.
    """

    def __init__(self, noise: torch.Generator) -> None:
        self._noise = noise
        self._stream = torch.cuda.Stream(noise.device)
        self._captures: dict[torch.Size, Capture] = {}

    def take(self, step: Step, pictures: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Take a step.

        Args:
            step: takes pictures and labels on the device and returns losses; always the same. Whatever else changes
                from one of its calls to the next it reads from tensors that stay where they are.
            pictures: (B, S, S, 3) uint8, on the CPU.
            labels: (B,), on the CPU.

        Returns:
            The losses, by name.
        """
        if pictures.shape not in self._captures:
            device = self._noise.device
            self._captures[pictures.shape] = Capture(pictures.to(device), labels.to(device))
        capture = self._captures[pictures.shape]
        # From pinned memory, so that this process need not wait until the step before is done.
        capture.pictures.copy_(pictures.pin_memory(), non_blocking=True)
        capture.labels.copy_(labels.pin_memory(), non_blocking=True)
        if capture.launched < LAUNCHED:
            self._launch(step, capture)
        else:
            self._replay(step, capture)
        return {name: loss.clone() for name, loss in capture.losses.items()}

    def _launch(self, step: Step, capture: Capture) -> None:
        """Take the step kernel by kernel, on a stream of its own like the capture, as PyTorch's notes on graphs ask."""
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            capture.losses = step(capture.pictures, capture.labels)
        current.wait_stream(self._stream)
        capture.launched += 1

    def _replay(self, step: Step, capture: Capture) -> None:
        if capture.graph is None:
            capture.graph = torch.cuda.CUDAGraph()
            capture.graph.register_generator_state(self._noise)
            with torch.cuda.graph(capture.graph, stream=self._stream):
                capture.losses = step(capture.pictures, capture.labels)
        capture.graph.replay()
