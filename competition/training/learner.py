"""The part of a fold that changes weights: network, optimiser, moving average, and one step of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from competition.memory import in_halves
from competition.models.budget import apply_masks, masks
from competition.runs import counted_seed
from competition.training.inputs import FoldJob
from competition.training.mixing import mix_batch, resized
from competition.training.optim import create_loss, growing_size, schedule_factor, set_learning_rate
from competition.training.rates import peak_learning_rate, weight_decay
from competition.training.start import starting_network, starting_optimizer, starting_share


class Learner:
    """A network under training.

    Args:
        job: the fold.
        total_steps: length of the training, for schedules.
        note: told when memory runs out.
    """

    def __init__(self, job: FoldJob, total_steps: int, note: Callable[[str], None]) -> None:
        self.job, self.settings, self.device = job, job.settings, job.machine.device
        self.total_steps, self._note = total_steps, note
        self.micro_batch = 0  # 0: the whole batch at once
        torch.manual_seed(counted_seed(job.seed, "weights"))
        settings, size = self.settings, job.preprocessing.image_size
        network = starting_network(settings, len(job.data.class_names), size, job.fold)
        self.grow_from = starting_share(settings, network, size)
        self.network = job.machine.precision.place(network, self.device)
        is_masked = settings.prune_from is not None and settings.prune_method == "magnitude"
        self._masks = masks(self.network) if is_masked else {}
        self._forward: nn.Module = torch.compile(self.network) if settings.compile else self.network  # type: ignore[assignment]
        decay = weight_decay(settings, len(job.data.image_ids))
        self.optimizer = starting_optimizer(settings, self.network, decay)
        self._average = self._moving_average()
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=job.machine.precision.number_format == "fp16")
        labels = torch.from_numpy(job.data.labels[job.train_rows])
        counts = torch.bincount(labels, minlength=len(job.data.class_names)).to(self.device)
        self._loss = create_loss(settings.loss, settings.label_smoothing, counts)
        self._targets = torch.from_numpy(job.targets()).to(self.device)

    def _moving_average(self) -> Any:
        if self.settings.ema is None:
            return None
        from timm.utils import ModelEmaV3

        return ModelEmaV3(self.network, decay=self.settings.ema, use_warmup=True)

    @property
    def evaluated(self) -> nn.Module:
        """The network that is validated and kept: the moving average where there is one."""
        return self.network if self._average is None else self._average.module

    def take_step(self, pictures: Tensor, positions: Tensor, step: int, plateau_factor: float) -> tuple[Tensor, Tensor]:
        """Take one optimisation step.

        Args:
            pictures: (B, H, W, 3) uint8.
            positions: (B,) positions in the training set and its copies.
            step: number of the step, from 0; all randomness is counted by it.
            plateau_factor: further factor on the learning rate.

        Returns:
            The mean loss and the number of pictures whose own label was the most probable.
        """
        settings = self.settings
        # Dropout and the like draw from here, so a restart cannot change them.
        _seed(self.device, counted_seed(self.job.seed, "step", step))
        images = self._to_input(pictures, step)
        targets = self._targets[positions.to(self.device, non_blocking=True) % len(self._targets)]
        images, partner, weight = mix_batch(
            images,
            settings.mix,
            settings.mix_probability,
            settings.mixup_alpha,
            settings.cutmix_alpha,
            np.random.default_rng(counted_seed(self.job.seed, "mix", step)),
        )
        factor = schedule_factor(settings.schedule, step, self.total_steps, settings.warmup, settings.drops)
        set_learning_rate(self.optimizer, peak_learning_rate(settings) * factor * plateau_factor)
        loss, hits = self._gradients(images, targets, targets if partner is None else targets[partner], weight)
        self._update(step)
        return loss, hits

    def _to_input(self, pictures: Tensor, step: int) -> Tensor:
        preprocessing = self.job.preprocessing
        images = preprocessing.to_input(pictures, self.device, self.job.machine.precision.memory_format)
        return resized(images, growing_size(self.grow_from, step, self.total_steps, preprocessing.image_size))

    def _gradients(self, images: Tensor, targets: Tensor, others: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Fill the gradients; when memory runs out, halve the micro-batch and begin the step again."""
        answer, fitting = in_halves(
            lambda size: self.accumulate(images, targets, others, weight, size),
            self.micro_batch or len(images),
            lambda text: self._note(f"{text} (the step stays the same; batch norm sees the smaller groups)"),
        )
        if fitting < len(images):
            self.micro_batch = fitting
        return answer

    def accumulate(
        self, images: Tensor, targets: Tensor, others: Tensor, weight: float, size: int
    ) -> tuple[Tensor, Tensor]:
        """Sum the gradients of a batch over micro-batches of ``size`` at most; returns the mean loss and the hits."""
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=self.device)
        hits = torch.zeros((), device=self.device)
        parts = math.ceil(len(images) / size)
        edges = [len(images) * number // parts for number in range(parts + 1)]  # even: no picture is left alone
        for part in map(slice, edges, edges[1:]):
            with self.job.machine.precision.autocast(self.device):
                logits = self._forward(images[part])
            logits = logits.float()
            loss = self._loss(logits, targets[part], targets)
            if weight < 1.0:
                loss = weight * loss + (1 - weight) * self._loss(logits, others[part], others)
            self._scaler.scale(loss).backward()
            total += loss.detach()
            hits += (logits.detach().argmax(dim=1) == _most_probable(targets[part])).sum()
        return total, hits

    def _update(self, step: int) -> None:
        if self.settings.clip_norm is not None:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.network.parameters(), self.settings.clip_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self._masks:
            apply_masks(self.network, self._masks)
        if self._average is not None:
            self._average.update(self.network, step=step)

    def state_dict(self) -> dict[str, Any]:
        """Return everything a restart needs, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": None if self._average is None else self._average.module.state_dict(),
            "scaler": self._scaler.state_dict(),
            "micro_batch": self.micro_batch,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._average is not None:
            self._average.module.load_state_dict(state["average"])
        if state["scaler"]:  # empty where the step before was not in fp16
            self._scaler.load_state_dict(state["scaler"])
        self.micro_batch = state["micro_batch"]


def _seed(device: torch.device, seed: int) -> None:
    """Do what `torch.manual_seed` does, for one device: it visits every kind there is, 0.7 ms of every step."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


def _most_probable(targets: Tensor) -> Tensor:
    """Return class numbers of (B,) class numbers or (B, K) probabilities."""
    return targets if targets.ndim == 1 else targets.argmax(dim=1)
