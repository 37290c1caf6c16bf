"""The optimisers of generative models: Adam as their papers have it, Muon for the inside of the flow's network."""

import torch
from torch import nn

from competition.generative.model import GenerativeModel
from competition.generative.settings import Recipe
from competition.torchvision_operators import declare_missing_operators

NEWTON_SCHULZ_STEPS = 3  # as the classifiers' Muon takes: half the cost of 5


def create_optimizer(
    model: GenerativeModel, parameters: list[nn.Parameter], recipe: Recipe, learning_rate: float
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over one group of a model's parameters.

    Muon (Jordan et al. 2024) moves the weights of linear layers and convolutions; vectors and the layers that
    `GenerativeModel.edges` names are left to NAdam, timm's choice, as Muon's author advises.
    """
    if not recipe.is_muon:
        return torch.optim.Adam(parameters, lr=learning_rate, betas=recipe.betas, fused=True)
    declare_missing_operators()  # timm imports torchvision
    from timm.optim import Muon

    at_edges = {id(weight) for name, weight in model.named_parameters() if name.startswith(model.edges)}
    is_inside = [weight.ndim > 1 and id(weight) not in at_edges for weight in parameters]
    inside = [weight for weight, inner in zip(parameters, is_inside, strict=True) if inner]
    others = [weight for weight, inner in zip(parameters, is_inside, strict=True) if not inner]
    groups = [{"params": inside}, {"params": others, "use_fallback": True}]
    return Muon(groups, lr=learning_rate, nesterov=True, ns_steps=NEWTON_SCHULZ_STEPS, betas=recipe.betas)
