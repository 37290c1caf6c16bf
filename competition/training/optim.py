"""Optimisers from timm, schedules as pure functions of the step, and the loss."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from competition.errors import UserError, did_you_mean
from competition.models.freezing import classifier_parameters

CYCLES = 4  # of the cyclic schedule
# Torch's own, which can move a weight in one pass: AdamW then takes a third of the time, some 3 % of resnet18's step.
FUSED = ("adam", "adamw", "sgd", "momentum", "nesterov")
NESTEROV = ("nesterov", "nesterovw", "nlars", "nlarc")  # by their names; timm's sgd is Nesterov's too, but by default


def create_optimizer(
    network: nn.Module, name: str, learning_rate: float, weight_decay: float, momentum: float | None, layer_decay: float
) -> torch.optim.Optimizer:
    """Return one of timm's optimisers over the parameters that are trained.

    Biases and norms are not decayed. Muon leaves the classifier to its fallback, AdamW, as its authors advise. With
    ``layer_decay`` below 1 each layer learns that much slower than the one above it; a group's own factor is kept in
    ``lr_scale``.

    Raises:
        UserError: an optimiser timm does not know, or that cannot run here.
    """
    from timm.optim import create_optimizer_v2, list_optimizers

    _refuse_optimizer(name, momentum, [str(item) for item in list_optimizers()])
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise UserError("no layer of the network is left to train: choose another --freeze")
    is_muon = "muon" in name.lower()
    fallback = sorted(classifier_parameters(network))
    # 3 Newton-Schulz steps in place of 5 cost half (macro F1 0.725 against 0.731, one run of 8 epochs each).
    options: dict[str, Any] = {"ns_steps": 3, "fallback_list": fallback} if is_muon else {}
    if name.lower() in FUSED:
        options["fused"] = True
    if momentum == 0 and "sgd" in name.lower():
        options["nesterov"] = False  # which torch refuses without a momentum: this is plain SGD
    try:
        return create_optimizer_v2(
            network,
            opt=name.lower(),
            lr=learning_rate,
            weight_decay=weight_decay,
            momentum=momentum if momentum is not None else 0.95 if is_muon else 0.9,
            layer_decay=None if layer_decay == 1.0 else layer_decay,
            **options,
        )
    except (AssertionError, ImportError) as error:  # timm asserts that a GPU and its packages are there
        raise UserError(f"--optimizer {name} cannot run here: {error}") from None


def _refuse_optimizer(name: str, momentum: float | None, known: list[str]) -> None:
    if name.lower() not in known:
        raise UserError(
            f"--optimizer {name!r} is not one of timm's{did_you_mean(name, known)}; there are {', '.join(known)}"
        )
    if name.lower() == "adahessian":
        raise UserError("--optimizer adahessian needs second derivatives, which are not computed here: choose another")
    if name.lower() in NESTEROV and momentum == 0:
        raise UserError(f"--optimizer {name} is Nesterov's and needs a --momentum above 0; or take sgd or lars")


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Assign the learning rate of this step; a group's ``lr_scale`` (layer decay) is kept."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group.get("lr_scale", 1.0)


def schedule_factor(schedule: str, step: int, total: int, warmup: float, drops: Sequence[float]) -> float:
    """Return the factor on the peak learning rate at a step: a pure function, nothing to save.

    Args:
        schedule: ``cosine``, ``onecycle`` (Smith & Topin 2018: up from 1/25, down to 1/10,000, both cosine),
            ``cyclic`` (Smith 2017: triangles between 0.1 and 1), ``step`` (a tenth at each of the drops),
            ``plateau`` and ``constant`` (1; the plateau's own factor follows the validation).
        step: number of the step, from 0.
        total: steps of the whole training.
        warmup: share of the training in which the rate rises; not used by ``cyclic``.
        drops: shares of the training; used by ``step`` alone.
    """
    position = (step + 0.5) / total
    if schedule == "cyclic":
        phase = (position * CYCLES) % 1.0
        return 0.1 + 0.9 * (1 - abs(2 * phase - 1))
    if position < warmup:
        risen = position / warmup
        return 0.04 + 0.96 * (1 - math.cos(math.pi * risen)) / 2 if schedule == "onecycle" else risen
    after = (position - warmup) / (1 - warmup)
    if schedule == "onecycle":
        return 1e-4 + (1 - 1e-4) * (1 + math.cos(math.pi * after)) / 2
    if schedule == "cosine":
        return (1 + math.cos(math.pi * after)) / 2
    if schedule == "step":
        return 10.0 ** -sum(position >= drop for drop in drops)
    return 1.0


def growing_size(share: float, step: int, total: int, image_size: int) -> int:
    """Return the side of the pictures at a step: small at first, then between, at last whole.

    Three stages as in progressive resizing (Tan & Le 2021, arXiv 2104.00298): the first 3/8 of the training at
    ``share``, the next 3/8 half-way, the last 1/4 at ``image_size``. Sides are multiples of 8 px.
    """
    position = step / total
    scale = share if position < 0.375 else (1 + share) / 2 if position < 0.75 else 1.0
    return image_size if scale == 1.0 else min(image_size, max(8, round(image_size * scale / 8) * 8))


@dataclass(frozen=True)
class Loss:
    """The mean loss of a batch, each picture weighted by its class.

    Whole pictures are weighted: torch's own weights would let label smoothing pull frequent classes towards rare ones.

    Attributes:
        of_rows: logits (B, K) and targets, class numbers (B,) or probabilities (B, K) -> losses (B,).
        weights: (K,) of the classes.
    """

    of_rows: Callable[[Tensor, Tensor], Tensor]
    weights: Tensor

    def __call__(self, logits: Tensor, targets: Tensor, whole: Tensor | None = None) -> Tensor:
        """Return the mean over ``targets``; of a part of a batch, its share of the mean over the ``whole`` batch's."""
        losses = self.of_rows(logits, targets) * self._weights_of(targets)
        return losses.sum() / self._weights_of(targets if whole is None else whole).sum()

    def _weights_of(self, targets: Tensor) -> Tensor:
        return self.weights[targets] if targets.ndim == 1 else targets @ self.weights


_cross_entropy = partial(nn.functional.cross_entropy, reduction="none")


def create_loss(kind: str, label_smoothing: float, class_counts: Tensor) -> Loss:
    """Return the loss of a kind; ``class_counts`` (K,) are the images of each class.

    ``balanced`` weights a class by the inverse of its count; ``focal`` is Lin et al. 2017 (arXiv 1708.02002) with
    gamma 2.
    """
    counts = class_counts.clamp(min=1).float()
    of_rows = partial(_focal if kind == "focal" else _cross_entropy, label_smoothing=label_smoothing)
    return Loss(of_rows, counts.mean() / counts if kind == "balanced" else torch.ones_like(counts))


def _focal(logits: Tensor, targets: Tensor, label_smoothing: float) -> Tensor:
    losses = _cross_entropy(logits, targets, label_smoothing=label_smoothing)
    probabilities = logits.softmax(dim=1)
    if targets.ndim == 1:
        sure = probabilities.gather(1, targets[:, None]).squeeze(1)
    else:
        sure = (probabilities * targets).sum(dim=1)
    return (1 - sure) ** 2 * losses
