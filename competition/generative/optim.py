"""The optimisers of generative models: Muon for their inside, or Adam for a GAN as its paper has it."""

import torch
from torch import nn

from competition.generative.model import GenerativeModel
from competition.generative.muon import Muon
from competition.generative.settings import Recipe


def create_optimizer(
    model: GenerativeModel, parameters: list[nn.Parameter], recipe: Recipe, learning_rate: float
) -> torch.optim.Optimizer:
    """Return the recipe's optimiser over one group of a model's parameters.

    Muon (Jordan et al. 2024) moves the weights of linear layers and convolutions; vectors and the layers that
    `GenerativeModel.edges` names are left to NAdam, as Muon's author advises.
    """
    if not recipe.is_muon:
        # On a GPU its steps are captured: see `Replay`.
        return torch.optim.Adam(
            parameters, lr=learning_rate, betas=recipe.betas, fused=True, capturable=parameters[0].is_cuda
        )
    at_edges = {id(weight) for name, weight in model.named_parameters() if name.startswith(model.edges)}
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for weight in parameters:
        (others if weight.ndim == 1 or id(weight) in at_edges else matrices).append(weight)
    return Muon(matrices, others, learning_rate, recipe.betas)
