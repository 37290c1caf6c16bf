"""Magnitude pruning: the smallest go, the limit is met, zeros stay zero."""

import torch
from torch import nn

from competition.generative.pruning import Pruner, choose_masks


def test_the_smallest_of_all_layers_go():
    weights = [nn.Parameter(torch.tensor([[1.0, -4.0]])), nn.Parameter(torch.tensor([[-2.0, 0.5]]))]
    masks = choose_masks(weights, 0.5)
    assert [mask.tolist() for mask in masks] == [[[False, True]], [[True, False]]]


def test_the_limit_is_met_and_held():
    torch.manual_seed(0)
    groups = {"model": [nn.Parameter(torch.randn(10, 10)), nn.Parameter(torch.randn(10))]}
    pruner = Pruner(groups, 50)
    left = []
    for step in range(100):
        pruner.apply(groups, step, (step + 0.5) / 100)
        left.append(sum(int((weight != 0).sum()) for weight in groups["model"]))
        with torch.no_grad():
            groups["model"][0] += 0.01  # what an optimiser may do to zeros
    assert left[0] == 110
    assert left[-1] == 50 == 110 - pruner.pruned()
    assert left == sorted(left, reverse=True)
    assert (groups["model"][1] != 0).all()  # vectors stay


def test_a_copy_is_masked_alike_and_the_state_comes_back():
    groups = {"model": [nn.Parameter(torch.randn(4, 4))]}
    pruner = Pruner(groups, 8)
    pruner.apply(groups, 0, 1.0)
    other = Pruner({"model": [nn.Parameter(torch.randn(4, 4))]}, 8)
    other.load_state_dict(pruner.state_dict())
    copy = {"model": [nn.Parameter(torch.ones(4, 4))]}
    other.mask(copy)
    assert torch.equal(copy["model"][0] != 0, groups["model"][0] != 0)
