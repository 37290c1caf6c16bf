"""Muon that takes matrices of one shape together, against timm's, which takes them one by one."""

import copy

import pytest
import torch

from competition.generative.muon import Muon, orthogonalize
from competition.torchvision_operators import declare_missing_operators

SHAPES = ((6, 4), (4, 6), (6, 4), (8, 3, 3, 3), (4, 16, 1, 1), (4, 16, 1, 1), (5,), (7,), (3, 5))
INSIDE = 6  # of the shapes, from the first on; the rest is left to NAdam


def weights():
    noise = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=noise)) for shape in SHAPES]


def give_gradients(parameters, step):
    noise = torch.Generator().manual_seed(step + 1)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape, generator=noise)


def timms(parameters):
    declare_missing_operators()
    from timm.optim import Muon as Timms

    groups = [{"params": parameters[:INSIDE], "use_muon": True}, {"params": parameters[INSIDE:], "use_fallback": True}]
    return Timms(groups, lr=0.1, momentum=0.95, nesterov=True, ns_steps=3, betas=(0.9, 0.99))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_it_moves_weights_as_timms_does(memory_format):
    own, reference = weights(), weights()
    for parameter in own:
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=memory_format)
    optimizers = Muon(own[:INSIDE], own[INSIDE:], 0.1, (0.9, 0.99)), timms(reference)
    for step in range(3):
        for parameters, optimizer in zip((own, reference), optimizers, strict=True):
            give_gradients(parameters, step)
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            optimizer.step()
    for one, other in zip(own, reference, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-3)  # a hundredth of a step: bfloat16, batched or not


def test_a_rate_in_a_tensor_is_the_same():
    moved = []
    for rate in (0.05, torch.tensor(0.05)):
        own = weights()
        optimizer = Muon(own[:INSIDE], own[INSIDE:], 0.1, (0.9, 0.99))
        give_gradients(own, 0)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        moved.append(own)
    for one, other in zip(*moved, strict=True):
        torch.testing.assert_close(one, other)


def test_it_goes_on_from_its_state():
    own = weights()
    optimizer = Muon(own[:INSIDE], own[INSIDE:], 0.1, (0.9, 0.99))
    give_gradients(own, 0)
    optimizer.step()
    other = copy.deepcopy(own)
    again = Muon(other[:INSIDE], other[INSIDE:], 0.1, (0.9, 0.99))
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for parameters, each in ((own, optimizer), (other, again)):
        give_gradients(parameters, 1)
        each.step()
    for one, two in zip(own, other, strict=True):
        assert torch.equal(one, two)


def test_a_weight_without_a_gradient_stays():
    own = weights()
    before = [parameter.detach().clone() for parameter in own]
    give_gradients(own, 0)
    own[0].grad = own[6].grad = None
    Muon(own[:INSIDE], own[INSIDE:], 0.1, (0.9, 0.99)).step()
    assert [bool((now == old).all()) for now, old in zip(own, before, strict=True)] == [
        place in (0, 6) for place in range(len(SHAPES))
    ]


@pytest.mark.parametrize("shape", [(2, 16, 40), (2, 40, 16)])
def test_singular_values_come_near_one(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = torch.linalg.svdvals(matrices / matrices.norm(dim=(1, 2), keepdim=True))
    after = torch.linalg.svdvals(orthogonalize(matrices).float())
    assert after.max() < 1.3
    assert (after > 2.5 * before).all()  # the least are the last to come


def test_a_matrix_without_a_gradient_stays_finite():
    assert not orthogonalize(torch.zeros(1, 4, 6)).any()
