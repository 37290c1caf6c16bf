"""The part of a training that changes weights: optimisers, moving average, pruning, and one step of them."""

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from competition.generative.model import Batch, GenerativeModel
from competition.generative.optim import create_optimizer
from competition.generative.pictures import to_input
from competition.generative.pruning import Pruner, is_done
from competition.generative.replay import Replay
from competition.generative.settings import GenerateSettings
from competition.precision import Precision
from competition.runs import counted_seed


def schedule_factor(schedule: str, progress: float) -> float:
    """Return the factor on the peak learning rate at a share of the training: a pure function, nothing to save.

    ``cosine`` falls to 1/100 after a rise over the first 2 %; ``step`` is halved at 1/2 and at 3/4.
    """
    if schedule == "cosine":
        return min(1.0, progress / 0.02) * (0.01 + 0.99 * (1 + math.cos(math.pi * progress)) / 2)
    if schedule == "step":
        return 1.0 if progress < 0.5 else 0.5 if progress < 0.75 else 0.25
    return 1.0


class Learner:
    """A model under training.

    Args:
        model: float32, on any device; it is moved.
        settings: learning rate, schedule, average, pruning, seed.
        total_steps: length of the training, for the schedules.
        precision: number format and layout.
        device: where to run.
    """

    def __init__(
        self,
        model: GenerativeModel,
        settings: GenerateSettings,
        total_steps: int,
        precision: Precision,
        device: torch.device,
    ) -> None:
        self.settings, self.total_steps, self.precision, self.device = settings, total_steps, precision, device
        model.place(precision, device)
        self.model = model.train()
        self._peak_rate = settings.learning_rate or settings.recipe.learning_rate
        self._schedule = settings.schedule or settings.recipe.schedule
        self._groups = model.parameter_groups()
        self._optimizers = {
            name: create_optimizer(model, group, settings.recipe, self._peak_rate)
            for name, group in self._groups.items()
        }
        # What a step reads beside its batch stays where it is, so that it can be replayed: see `Replay`.
        self._noise = torch.Generator(device)
        self._progress, self._rate = torch.zeros((), device=device), torch.zeros((), device=device)
        self._replay = Replay(self._noise) if device.type == "cuda" else None
        self._average = copy.deepcopy(model).eval().requires_grad_(False) if settings.ema_decay else None
        self._followed, self._copied = self._pairs()
        self._pruner = Pruner(self._groups, settings.max_parameters) if settings.prune == "magnitude" else None

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        return self._peak_rate * schedule_factor(self._schedule, (step + 0.5) / self.total_steps)

    def take_step(self, pictures: Tensor, labels: Tensor, step: int) -> dict[str, Tensor]:
        """Take one training step.

        Args:
            pictures: (B, S, S, 3) uint8.
            labels: (B,) class numbers.
            step: number of the step, from 0; all randomness is counted by it.

        Returns:
            The losses, by name.
        """
        progress = (step + 0.5) / self.total_steps
        self._noise.manual_seed(counted_seed(self.settings.seed, "step", step))
        self._progress.fill_(progress)
        rate = self.learning_rate(step)
        for optimizer in self._optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = rate if self._replay is None else self._rate
        if self._replay is None:
            losses = self._launch(pictures, labels)
        else:
            self._rate.fill_(rate)
            losses = self._replay.take(self._launch, pictures, labels)
        if self._pruner is not None:
            self._pruner.apply(self._groups, step, progress)
        if self._average is not None:
            self._follow(step)
        return losses

    def _launch(self, pictures: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Move the weights by a batch on the device; returns the losses."""
        images = to_input(pictures, self.device, self.precision.memory_format)
        if self.settings.flips:
            is_flipped = torch.rand(len(images), 1, 1, 1, generator=self._noise, device=self.device) < 0.5
            images = torch.where(is_flipped, images.flip(3), images)
        with self.precision.autocast(self.device):
            return self.model.train_step(Batch(images, labels, self._noise, self._progress, self._minimize))

    def _minimize(self, name: str, loss: Tensor) -> None:
        """Take one step of one optimiser; the other groups get no gradient."""
        optimizer = self._optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, enabled=False):
            loss.backward(inputs=self._groups[name])
        optimizer.step()
        torch.clear_autocast_cache()  # else the rest of the model's step would see bf16 copies of the old weights

    def _pairs(self) -> tuple[tuple[list[Tensor], list[Tensor]], list[tuple[Tensor, Tensor]]]:
        """Return (averages, what they follow), and (copy, original) of counts and of what only criticises."""
        averages: list[Tensor] = []
        currents: list[Tensor] = []
        copied: list[tuple[Tensor, Tensor]] = []
        if self._average is None:
            return (averages, currents), copied
        current_state = self.model.state_dict()
        for name, average in self._average.state_dict().items():
            current = current_state[name]
            if name.partition(".")[0] in self.model.adversaries or not average.is_floating_point():
                copied.append((average, current))
            else:
                averages.append(average)
                currents.append(current)
        return (averages, currents), copied

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """Move the average towards the weights; early on it follows faster, to forget the random start."""
        assert self.settings.ema_decay is not None
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(*self._followed, 1 - decay)

    @contextmanager
    def evaluated(self) -> Iterator[GenerativeModel]:
        """Lend the model that is sampled and kept: the average where there is one, in evaluation mode."""
        if self._average is not None:
            for average, current in self._copied:
                average.copy_(current)
            if self._pruner is not None:
                self._pruner.mask(self._average.parameter_groups())
            yield self._average
            return
        self.model.eval()
        try:
            with torch.no_grad():
                yield self.model
        finally:
            self.model.train()

    def is_pruned(self, steps: int) -> bool:
        """Whether the model of so many steps has no more parameters than the limit."""
        return self._pruner is None or is_done((steps - 0.5) / self.total_steps)

    def nonzero_parameters(self) -> int:
        """Return how many parameters are not zero by pruning."""
        every = sum(parameter.numel() for group in self._groups.values() for parameter in group)
        return every if self._pruner is None else every - self._pruner.pruned()

    def state_dict(self) -> dict[str, Any]:
        """Return everything a restart needs, as tensors and plain values."""
        return {
            "model": self.model.state_dict(),
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self._optimizers.items()},
            "average": None if self._average is None else self._average.state_dict(),
            "pruner": None if self._pruner is None else self._pruner.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        for name, optimizer in self._optimizers.items():
            # The options are the settings' and this device's; what was gathered is all that comes back.
            options = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": state["optimizers"][name]["state"], "param_groups": options})
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        if self._pruner is not None:
            self._pruner.load_state_dict(state["pruner"])
