"""Gradient ascent: it climbs whatever the objective; its transforms move the pictures."""

import pytest
import torch

from competition.analysis.dream import class_logit, dream, filter_mean, frequencies, jittered, turned
from competition.errors import UserError
from competition.models.factory import create_network

torch.set_num_threads(1)
SIDE = 32


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_network("test_resnet", 3, image_size=SIDE).eval()


def normalise(pictures):
    return pictures * 2 - 1


@pytest.mark.parametrize("objective", [class_logit([0, 2]), filter_mean("layer2", [1, 5])])
def test_every_objective_is_climbed(network, objective):
    start, to_pictures = frequencies(2, SIDE, torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = objective(network, normalise(to_pictures(start)))
    found, after = dream(network, objective, 2, SIDE, normalise, steps=8)
    assert (after > before).all()
    assert found.shape == (2, 3, SIDE, SIDE)
    assert 0 <= found.min() <= found.max() <= 1


def test_pictures_start_near_grey_and_repeat_with_the_seed():
    first, to_pictures = frequencies(2, SIDE, torch.Generator().manual_seed(0))
    second, _ = frequencies(2, SIDE, torch.Generator().manual_seed(0))
    assert torch.equal(first, second)
    pictures = to_pictures(first)
    assert pictures.shape == (2, 3, SIDE, SIDE)
    assert abs(pictures.mean() - 0.5) < 0.1


@pytest.mark.parametrize("transform", [jittered, turned])
def test_transforms_keep_the_shape_and_do_move(transform):
    pictures = torch.rand(2, 3, SIDE, SIDE)
    moved = transform(pictures, torch.Generator().manual_seed(0))
    assert moved.shape == pictures.shape
    assert not torch.equal(moved, pictures)


def test_a_filter_is_climbed_before_what_is_done_in_place_after_it():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.ReLU(inplace=True))
    images = torch.randn(2, 3, 4, 4, requires_grad=True)
    values = filter_mean("0", [0, 1])(network, images)
    answers = network[0](images)
    torch.testing.assert_close(values, answers[[0, 1], [0, 1]].mean(dim=(1, 2)))
    (slopes,) = torch.autograd.grad(values.sum(), [images])
    torch.testing.assert_close(slopes[0, :, 0, 0], network[0].weight[0, :, 0, 0] / 16)


def test_a_layer_without_a_map_is_refused(network):
    with pytest.raises(UserError, match="'fc' makes no map"):
        dream(network, filter_mean("fc", [0]), 1, SIDE, normalise, steps=1)
