"""Which modules make maps, and how each kind of output becomes channels over places."""

import pytest
import torch
from torch import nn

from competition.analysis.activations import activation_maps
from competition.analysis.cam import grad_cam
from competition.analysis.layers import Layer, as_map, check_layer, map_layers, recorded, several
from competition.errors import UserError
from competition.models.factory import create_network


class Tokens(nn.Module):
    """Stands for a transformer with some tokens before those of its places."""

    def __init__(self, prefix):
        super().__init__()
        self.num_prefix_tokens = prefix


def test_channels_first_stays_and_channels_last_is_turned():
    first = torch.arange(2 * 5 * 3 * 3.0).reshape(2, 5, 3, 3)
    assert as_map(first, nn.Identity()) is first
    torch.testing.assert_close(as_map(first.permute(0, 2, 3, 1), nn.Identity()), first)


class LastInside(nn.Module):
    """Keeps its maps as (B, h, w, C) after a convolution; 8 channels of a picture of 32 px have 8 x 8 places."""

    def __init__(self, says_so):
        super().__init__()
        self.proj, self.mixed, self.halved = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        if says_so:
            self.output_fmt = "NHWC"

    def forward_features(self, images):
        return self.halved(self.mixed(self.proj(images).permute(0, 2, 3, 1))[:, ::2, ::2])

    def forward_head(self, features):
        return self.head(features.mean(dim=(1, 2)))

    def forward(self, images):
        return self.forward_head(self.forward_features(images))


@pytest.mark.parametrize("says_so", [True, False])
def test_as_many_channels_as_rows_are_read_as_the_network_keeps_its_other_maps(says_so):
    network, images = LastInside(says_so).eval(), torch.randn(1, 3, 32, 32)
    maps = activation_maps(network, images, ["proj", "mixed"])
    with torch.no_grad():
        proj = network.proj(images)
        torch.testing.assert_close(maps["proj"], proj)
        torch.testing.assert_close(maps["mixed"], network.mixed(proj.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


def test_the_tokens_of_windows_are_put_in_the_order_of_the_picture():
    options = {"embed_dim": 8, "num_heads": 1, "stages": (1, 1, 1), "q_pool": 2, "mask_unit_size": (4, 4)}
    network = create_network("hiera_tiny_224", 3, image_size=64, options=options).eval()
    images = torch.randn(1, 3, 64, 64)
    changed = images.clone()
    changed[:, :, :8, 56:] += 3
    names = [layer.name for layer in map_layers(network, images)]
    assert names == ["patch_embed", "blocks.0", "blocks.1", "blocks.2"]
    for name in names[:2]:  # the last one's attention reaches every place
        before, after = (activation_maps(network, pictures, [name])[name] for pictures in (images, changed))
        moved = (after - before).abs().sum(dim=1)[0]
        side = moved.shape[-1]
        assert moved.argmax() % side >= 0.75 * side - 1
        assert moved.argmax() // side <= 0.25 * side


@pytest.mark.parametrize("prefix", [0, 1, 4])
def test_tokens_are_laid_out_row_by_row_without_those_of_no_place(prefix):
    tokens = torch.arange(prefix + 9.0).reshape(1, prefix + 9, 1)
    found = as_map(tokens, Tokens(prefix))
    assert found.shape == (1, 1, 3, 3)
    assert found.flatten().tolist() == [prefix + place for place in range(9)]


WITHOUT_PLACES = [
    torch.zeros(2, 7),
    torch.zeros(2, 7, 3),
    (torch.zeros(2, 3, 4, 4),),
    None,
    torch.zeros(2, 3, 4, 4).long(),
]


@pytest.mark.parametrize("output", WITHOUT_PLACES)
def test_what_has_no_places_is_no_map(output):
    assert as_map(output, Tokens(1)) is None


def test_a_container_and_its_last_child_count_once():
    network = create_network("test_resnet", 3, image_size=32).eval()
    names = [layer.name for layer in map_layers(network, torch.zeros(1, 3, 32, 32))]
    assert len(names) == len(set(names))
    assert names[-1] == "layer3"  # the last stage keeps a single place of a picture of 32 px
    assert not any(name.startswith("layer3.") for name in names)


def test_what_shows_the_map_before_it_once_more_is_no_layer_of_its_own():
    network = create_network("vit_tiny_patch16_224", 3, image_size=16, options={"patch_size": 8, "depth": 1}).eval()
    names = [layer.name for layer in map_layers(network, torch.zeros(1, 3, 16, 16))]
    assert names == ["patch_embed", "blocks", "norm"]  # no patch_embed.proj, pos_drop, blocks.0


def test_hooks_are_gone_after_an_error():
    network = nn.Sequential(nn.Conv2d(3, 2, 3))
    with pytest.raises(RuntimeError), recorded(network, ["0"]):
        network(torch.zeros(1, 5, 8, 8))
    assert not network[0]._forward_hooks


def test_several_are_spread_from_first_to_last():
    layers = [Layer(str(number), 1, 2, 2) for number in range(7)]
    assert [layer.name for layer in several(layers, 4)] == ["0", "2", "4", "6"]
    assert several(layers[:2], 4) == layers[:2]


def test_an_unknown_layer_is_refused_with_the_nearest_name():
    network = create_network("test_resnet", 3, image_size=32).eval()
    with pytest.raises(UserError, match="did you mean 'layer2'"):
        check_layer(network, "layr2", torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match="'fc' makes no map of places"):
        check_layer(network, "fc", torch.zeros(1, 3, 32, 32))
    assert check_layer(network, "layer3.0.conv1", torch.zeros(1, 3, 32, 32)).name == "layer3.0.conv1"


def test_a_layer_of_one_place_is_refused_with_those_that_have_more():
    network = create_network("test_resnet", 3, image_size=32).eval()
    with pytest.raises(UserError, match="'layer4' has 1 x 1 place at this image size; take one of .*layer3"):
        check_layer(network, "layer4", torch.zeros(1, 3, 32, 32))


def test_a_network_that_does_not_split_is_refused():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    with pytest.raises(UserError, match="does not split into forward_features and forward_head"):
        grad_cam(network, torch.zeros(1, 3, 2, 2), torch.tensor([0]))
