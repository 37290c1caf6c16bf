"""The optimisers of generative models: Muon for their inside, or Adam for a GAN as its paper has it."""

from typing import Any

import torch
from torch import nn

from competition.generative.model import GenerativeModel
from competition.generative.settings import Recipe
from competition.torchvision_operators import declare_missing_operators

NEWTON_SCHULZ_STEPS = 3  # as the classifiers' Muon takes: half the cost of 5
MOMENTUM = 0.95


def create_optimizer(
    model: GenerativeModel, parameters: list[nn.Parameter], recipe: Recipe, learning_rate: float
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over one group of a model's parameters.

    Muon (Jordan et al. 2024) moves the weights of linear layers and convolutions; vectors and the layers that
    `GenerativeModel.edges` names are left to NAdam, timm's choice, as Muon's author advises. On a GPU its step can be
    captured, if the learning rate is then given as a tensor: see `Replay`.
    """
    is_captured = parameters[0].is_cuda
    if not recipe.is_muon:
        return torch.optim.Adam(parameters, lr=learning_rate, betas=recipe.betas, fused=True, capturable=is_captured)
    declare_missing_operators()  # timm imports torchvision
    from timm.optim import Muon

    at_edges = {id(weight) for name, weight in model.named_parameters() if name.startswith(model.edges)}
    groups: list[dict[str, Any]] = [{"params": []}, {"params": [], "use_fallback": True}]
    for weight in parameters:
        groups[weight.ndim == 1 or id(weight) in at_edges]["params"].append(weight)
    return Muon(
        groups,
        lr=learning_rate,
        momentum=MOMENTUM,
        nesterov=True,
        ns_steps=NEWTON_SCHULZ_STEPS,
        betas=recipe.betas,
        capturable=is_captured,
    )
