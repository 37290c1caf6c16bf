"""Contracts of the analysis tools over every own network and small ones of timm's of every kind."""

import pytest
import torch

from competition.analysis.activations import activation_maps, count_dead
from competition.analysis.cam import grad_cam
from competition.analysis.dream import class_logit, dream, filter_mean
from competition.analysis.layers import map_layers
from competition.analysis.occlusion import occlusion_map
from competition.errors import UserError
from competition.models.factory import create_network, own_networks

torch.set_num_threads(1)
SIDE, CLASSES = 32, 5
NARROW = {
    "base_cnn": {"width": 4, "dense_widths": (8,)},
    "dilated_cnn": {"dense_widths": (16,), "widths": (8, 8, 8)},
    "plain_cnn": {"dense_widths": (16,)},
    "resnet_fast": {"widths": (8, 8, 16)},
    "test_vit": {"patch_size": 8},
    "test_vit3": {"patch_size": 8},
}
# A residual network, depthwise convolutions, channels last, a class token, attention pooling, windows of attention.
TIMM = ["test_resnet", "mobilenetv3_small_050", "test_convnext", "test_mambaout", "test_vit", "test_vit3"]
WITHOUT_MAPS = {"mlp"}
every_network = pytest.mark.parametrize("name", [*own_networks(), *TIMM])


def network_of(name):
    torch.manual_seed(0)
    return create_network(name, CLASSES, image_size=SIDE, options=NARROW.get(name, {})).eval()


def batch():
    images = torch.randn(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    return images, torch.tensor([0, 3])


def hooks(network):
    return sum(len(module._forward_hooks) for module in network.modules())


@every_network
def test_every_tool_works_and_leaves_the_network_as_it_was(name):
    network, (images, targets) = network_of(name), batch()
    before, state = hooks(network), {key: value.clone() for key, value in network.state_dict().items()}
    falls = occlusion_map(network, images, targets, window=16, stride=16)
    assert falls.shape == (2, SIDE, SIDE)
    assert torch.isfinite(falls).all()
    layers = map_layers(network, images)
    maps = activation_maps(network, images, [layer.name for layer in layers])
    for layer in layers:
        assert maps[layer.name].shape == (2, layer.channels, layer.height, layer.width)
        assert min(layer.height, layer.width) >= 2
    dead = count_dead(network, [images])
    assert sum(item.filters for item in dead) > 0
    assert all(0 <= item.dead <= item.filters for item in dead)
    if name in WITHOUT_MAPS:
        with pytest.raises(UserError, match="no map of places"):
            grad_cam(network, images, targets)
    else:
        heat = grad_cam(network, images, targets)
        assert heat.shape == (2, SIDE, SIDE)
        assert heat.min() >= 0
        assert torch.isfinite(heat).all()
        check_filter_dream(network, layers[-1])
    check_class_dream(network)
    assert hooks(network) == before
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not images.requires_grad


def check_filter_dream(network, layer):
    found, values = dream(network, filter_mean(layer.name, [0, 1]), 2, SIDE, lambda x: x * 2 - 1, steps=1)
    assert found.shape == (2, 3, SIDE, SIDE)
    assert values.shape == (2,)


def check_class_dream(network):
    found, _ = dream(network, class_logit([2]), 1, SIDE, lambda x: x * 2 - 1, steps=1)
    assert found.shape == (1, 3, SIDE, SIDE)
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_an_image_is_treated_alike_alone_and_in_a_batch(name):
    network, (images, targets) = network_of(name), batch()
    for tool in (grad_cam, lambda *a: occlusion_map(*a, window=16, stride=16)):
        together = tool(network, images, targets)
        alone = torch.cat([tool(network, images[[i]], targets[[i]]) for i in range(2)])
        torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-5)


def test_no_hook_leaks_over_a_hundred_calls():
    network, (images, targets) = network_of("test_vit"), batch()
    for _ in range(100):
        grad_cam(network, images[:1], targets[:1])
    assert hooks(network) == 0
