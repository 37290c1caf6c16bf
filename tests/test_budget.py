"""Budgets are kept, pruned networks work, zeros stay zero, and what was saved opens bit for bit."""

import pytest
import torch

from competition.errors import UserError
from competition.models import budget
from competition.models.budget import apply_masks, count_nonzero, masks, prune, reshape_to
from competition.models.factory import count_parameters, create_network, own_networks
from competition.models.freezing import freeze

torch.set_num_threads(1)
CLASSES = 4
NARROW = {
    "base_cnn": {"width": 8, "dense_widths": (32,)},
    "dilated_cnn": {"dense_widths": (64,), "widths": (16, 32, 32)},
    "plain_cnn": {"widths": (16, 32, 32)},
    "resnet_fast": {"widths": (32, 48, 64)},
}
TIMM = ["resnet18", "mobilenetv3_small_050", "efficientnet_lite0"]


def build(name):
    torch.manual_seed(0)
    return create_network(name, CLASSES, image_size=16, options=NARROW.get(name)).eval()


def images():
    return torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", [*own_networks(), *TIMM])
def test_structured_pruning_keeps_the_budget_and_opens_again(name):
    network = build(name)
    budget = count_parameters(network) // 3
    before = network(images())
    pruned = prune(network, budget, "structured", images())
    assert budget * 0.8 < count_parameters(pruned) <= budget
    assert torch.equal(network(images()), before)  # the original is left alone
    opened = reshape_to(build(name), pruned.state_dict()).eval()
    assert not pruned.training
    assert pruned(images()).shape == (2, CLASSES)
    assert torch.equal(opened(images()), pruned(images()))


@pytest.mark.parametrize("name", ["mycnn", "imp_cnn", "mlp", "mobilenetv3_small_050"])
def test_magnitude_pruning_counts_zeros_out_and_keeps_shapes(name):
    network = build(name)
    budget = count_parameters(network) // 3
    pruned = prune(network, budget, "magnitude", images())
    assert count_nonzero(pruned) == budget or count_nonzero(network) < budget
    assert count_parameters(pruned) == count_parameters(network)
    assert all(kept.flatten(1).any(1).all() for kept in masks(pruned).values())  # every output keeps a weight
    opened = reshape_to(build(name), pruned.state_dict()).eval()
    assert torch.equal(opened(images()), pruned(images()))


def test_magnitude_keeps_the_largest_by_hand():
    layer = torch.nn.Linear(3, 2, bias=False)
    layer.weight.data = torch.tensor([[0.1, -3.0, 2.0], [0.4, 0.3, -0.2]])
    pruned = prune(layer, 3, "magnitude", torch.zeros(1, 3))
    assert pruned.weight.tolist() == pytest.approx(torch.tensor([[0, -3.0, 2.0], [0.4, 0, 0]]))


@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)])
def test_masks_survive_optimiser_steps(optimizer):
    pruned = prune(build("mycnn"), 30_000, "magnitude", images()).train()
    kept = masks(pruned)
    stepper = optimizer(pruned.parameters())
    start = pruned.blocks[0].body[1][0].weight.clone()
    for _ in range(2):
        pruned(images()).square().sum().backward()
        stepper.step()
        apply_masks(pruned, kept)
    assert all((pruned.get_parameter(name)[~mask] == 0).all() for name, mask in kept.items())
    assert not torch.equal(pruned.blocks[0].body[1][0].weight, start)


def test_an_unpruned_network_has_no_masks_and_comes_back_as_it_is():
    network = build("mycnn")
    assert masks(network) == {}
    for method in ("magnitude", "structured"):
        same = prune(network, 10**6, method, images())
        assert torch.equal(same(images()), network(images()))


def test_a_pruned_network_trains_and_takes_a_new_classifier():
    network = build("mycnn").train()
    freeze(network, "all")
    pruned = prune(network, 40_000, "structured", images())
    assert pruned.training
    assert [name for name, p in pruned.named_parameters() if p.requires_grad] == [
        "classifier.weight",
        "classifier.bias",
    ]
    pruned.reset_classifier(9)
    assert pruned(images()).shape == (2, 9)
    opened = reshape_to(build("mycnn"), prune(network, 40_000, "structured", images()).state_dict())
    opened.reset_classifier(9)
    assert opened(images()).shape == (2, 9)


def test_grouped_convolutions_can_be_shrunk():
    torch.manual_seed(0)
    small, large = (torch.nn.Sequential(torch.nn.Conv2d(w, 2 * w, 3, groups=4)) for w in (8, 16))
    for network in (small, large):
        network.get_classifier = torch.nn.Identity
    x = torch.randn(1, 8, 5, 5)
    assert torch.equal(reshape_to(large, small.state_dict())(x), small(x))


@pytest.mark.parametrize("method", ["magnitude", "structured"])
def test_an_impossible_budget_is_refused(method):
    with pytest.raises(UserError, match="a budget of 100 parameters is too small"):
        prune(build("mycnn"), 100, method, images())


def test_weights_of_another_network_are_refused_by_name():
    with pytest.raises(UserError, match="do not fit a MyCNN.*stem.* and .* more.* train it again") as refusal:
        reshape_to(build("mycnn"), build("resnet18").state_dict())
    assert len(str(refusal.value)) < 600, "hundreds of weights are listed"
    layer = torch.nn.PReLU(2)
    with pytest.raises(UserError, match="layer  .PReLU. differs in size.*use magnitude pruning"):
        reshape_to(layer, {"weight": torch.zeros(3)})


def test_layer_norms_and_a_blocks_own_scales_open_again():
    networks = [create_network("test_convnext", CLASSES, image_size=32).eval() for _ in range(2)]
    pictures = torch.rand(2, 3, 32, 32)
    pruned = prune(networks[0], 150_000, "structured", pictures)
    assert count_parameters(pruned) <= 150_000 < count_parameters(networks[0])
    assert torch.equal(reshape_to(networks[1], pruned.state_dict())(pictures), pruned(pictures))


def test_what_would_open_as_another_network_is_refused_before_it_is_trained(monkeypatch):
    network = build("mycnn")
    pruned = prune(network, 40_000, "structured", images())
    pruned.register_forward_hook(lambda module, inputs, outputs: outputs / 2)  # no tensor, so no file holds it
    monkeypatch.setattr(budget, "_remove_channels", lambda *arguments: pruned)
    with pytest.raises(UserError, match="without channels opens as another network; use magnitude pruning"):
        prune(network, 40_000, "structured", images())
