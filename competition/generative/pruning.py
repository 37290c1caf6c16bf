"""Magnitude pruning down to a parameter limit while training; Zhu & Gupta 2017, arXiv 1710.01878."""

import math
from typing import Any

import torch
from torch import Tensor, nn

BEGIN, END = 0.2, 0.6  # shares of the training between which the weights go
EVERY = 50  # steps between two choices of the weights that go

Groups = dict[str, list[nn.Parameter]]


class Pruner:
    """Sets the smallest weights of each parameter group to zero, its share of what must go; they stay zero.

    Biases, norms and vectors are kept. At t, from 0 at `BEGIN` to 1 at `END`, 1 - (1 - t)^3 of what must go is gone.

    Args:
        groups: all parameters by the name of their optimiser.
        limit: how many may be left.
    """

    def __init__(self, groups: Groups, limit: int) -> None:
        every = sum(weight.numel() for group in groups.values() for weight in group)
        prunable = sum(weight.numel() for group in groups.values() for weight in _prunable(group))
        self._share = max(0.0, (every - limit) / prunable)  # of the prunable weights, at the end
        self._chosen_at = -1.0  # position of the last choice
        self._masks: dict[str, list[Tensor]] = {}

    def apply(self, groups: Groups, step: int, progress: float) -> None:
        """Choose anew what goes, when it is time, and set it to zero."""
        position = min((progress - BEGIN) / (END - BEGIN), 1.0)
        if position >= 0 and self._chosen_at < 1 and (step % EVERY == 0 or position == 1):
            share = self._share * (1 - (1 - position) ** 3)
            self._masks = {name: choose_masks(_prunable(group), share) for name, group in groups.items()}
            self._chosen_at = position
        self.mask(groups)

    @torch.no_grad()
    def mask(self, groups: Groups) -> None:
        """Set to zero what is chosen, in these parameters or in a copy of them."""
        for name, masks in self._masks.items():
            weights = _prunable(groups[name])
            masks[:] = [mask.to(weight.device) for mask, weight in zip(masks, weights, strict=True)]  # once, if at all
            for weight, mask in zip(weights, masks, strict=True):
                weight.mul_(mask)

    def pruned(self) -> int:
        """Return how many weights are set to zero."""
        return sum(int((~mask).sum()) for masks in self._masks.values() for mask in masks)

    def state_dict(self) -> dict[str, Any]:
        """Return what a restart needs."""
        return {"masks": self._masks, "chosen_at": self._chosen_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._masks, self._chosen_at = state["masks"], state["chosen_at"]


def is_done(progress: float) -> bool:
    """Whether everything that must go is gone at a share of the training."""
    return progress >= END


def fixed_parameters(groups: Groups) -> int:
    """Return how many parameters are biases, norms and vectors, which always stay."""
    return sum(weight.numel() for group in groups.values() for weight in group if weight.dim() <= 1)


def _prunable(group: list[nn.Parameter]) -> list[nn.Parameter]:
    return [weight for weight in group if weight.dim() > 1]


@torch.no_grad()
def choose_masks(weights: list[nn.Parameter], share: float) -> list[Tensor]:
    """Return which weights stay when a share of them goes, the smallest of all layers together."""
    sizes = torch.cat([weight.abs().flatten() for weight in weights])
    keep = torch.ones(len(sizes), dtype=torch.bool, device=sizes.device)
    keep[torch.argsort(sizes, stable=True)[: math.ceil(share * len(sizes))]] = False
    parts = keep.split([weight.numel() for weight in weights])
    return [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
