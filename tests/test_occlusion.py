"""Occlusion maps: by hand, against captum, and pointing at a planted square."""

import pytest
import torch
from torch import nn

from competition.analysis.occlusion import occlusion_map
from tests.planted import PATCH, Small, learned, planted, pointing_accuracy

torch.set_num_threads(1)


class Corner(nn.Module):
    """Class 1 as far as the top left pixel is bright."""

    def forward(self, x):
        return torch.stack([torch.zeros(len(x)), x[:, 0, 0, 0]], dim=1)


def test_only_squares_over_the_pixel_that_counts_lower_the_probability():
    images = torch.full((1, 3, 4, 4), 2.0)
    falls = occlusion_map(Corner(), images, torch.tensor([1]), window=2, stride=2)[0]
    drop = torch.sigmoid(torch.tensor(2.0)) - 0.5
    expected = torch.zeros(4, 4)
    expected[:2, :2] = drop
    torch.testing.assert_close(falls, expected)
    torch.testing.assert_close(occlusion_map(Corner(), images, torch.tensor([0]), window=2, stride=2)[0], -expected)


def test_every_pixel_is_covered_where_the_stride_does_not_divide_the_side():
    falls = occlusion_map(Corner(), torch.ones(1, 3, 7, 5), torch.tensor([1]), window=3, stride=2)
    assert falls.shape == (1, 7, 5)
    assert torch.isfinite(falls).all()


def test_agrees_with_captums_where_squares_do_not_overlap():
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3))
    images, targets = torch.randn(2, 3, 8, 8), torch.tensor([0, 2])
    found = occlusion_map(network, images, targets, window=4, stride=4)
    probabilities = nn.Sequential(network, nn.Softmax(dim=1))
    expected = attr.Occlusion(probabilities).attribute(
        images, sliding_window_shapes=(3, 4, 4), strides=(3, 4, 4), target=targets
    )
    torch.testing.assert_close(found, expected[:, 0].float(), rtol=1e-4, atol=1e-6)


def test_where_memory_runs_out_fewer_are_covered_at_once(capsys):
    images, targets, network = torch.randn(2, 3, 8, 8), torch.tensor([0, 2]), Small(7)
    found = occlusion_map(network, images, targets, window=2, stride=1)
    network.room = 256
    torch.testing.assert_close(found, occlusion_map(network, images, targets, window=2, stride=1))
    assert "memory ran out with 8 images at once; going on with 4" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "steps", "options"), [("test_resnet", 30, {}), ("test_vit", 40, {"patch_size": 4, "depth": 2})]
)
def test_points_at_the_planted_square(name, steps, options):
    network = learned(name, steps, learning_rate=1e-3, **options)
    images, labels, corners = planted(30, seed=2)
    assert (network(images).argmax(dim=1) == labels).float().mean() > 0.95
    assert pointing_accuracy(occlusion_map(network, images, labels, window=PATCH, stride=4), corners) > 0.95
