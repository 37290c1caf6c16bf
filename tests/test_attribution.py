"""Integrated gradients: captum's own, complete, and refused in words without captum."""

import pytest
import torch
from torch import nn

from competition.analysis import extras
from competition.analysis.attribution import integrated_gradients
from competition.errors import UserError
from competition.models.factory import create_network
from tests.planted import Small

torch.set_num_threads(1)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_shares_add_up_to_the_difference_of_the_logits_and_are_captums(name):
    pytest.importorskip("captum")
    from captum.attr import IntegratedGradients

    torch.manual_seed(0)
    options = {"patch_size": 8} if name == "test_vit" else {}
    network = create_network(name, 3, image_size=32, options=options).eval()
    images, targets = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    shares = integrated_gradients(network, images, targets, steps=24)
    with torch.no_grad():
        rise = (network(images) - network(torch.zeros_like(images))).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(shares.sum(dim=(1, 2, 3)), rise, rtol=0.05, atol=0.02)
    own = IntegratedGradients(network).attribute(images, target=targets, n_steps=24)
    torch.testing.assert_close(shares, own.float(), rtol=1e-3, atol=1e-6)


def test_a_linear_network_is_attributed_exactly():
    pytest.importorskip("captum")
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 2, bias=False))
    images = torch.randn(1, 3, 2, 2)
    expected = images * network[1].weight[1].detach().reshape(1, 3, 2, 2)
    torch.testing.assert_close(integrated_gradients(network, images, torch.tensor([1])), expected)


def test_where_memory_runs_out_fewer_steps_are_made_at_once():
    pytest.importorskip("captum")
    images, targets, network = torch.randn(2, 3, 8, 8), torch.tensor([0, 2]), Small(5)
    found = integrated_gradients(network, images, targets)
    network.room = 64
    torch.testing.assert_close(found, integrated_gradients(network, images, targets))


def test_without_captum_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"captum, which is not installed: pip install -e '\.\[analysis\]'"):
        integrated_gradients(nn.Identity(), torch.zeros(1, 3, 2, 2), torch.tensor([0]))
