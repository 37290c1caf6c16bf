"""Each tool's picture: one scale for all rows of an image, and its size in words."""

import numpy as np
import pytest
import torch

from competition.analysis import drawings
from competition.analysis.pictures import AGAINST, FOR
from competition.errors import UserError
from competition.models.factory import create_network

PICTURES = np.zeros((2, 8, 8, 3), np.uint8)


def drawn_falls(monkeypatch, falls):
    monkeypatch.setattr(drawings, "occlusion_map", lambda *_: torch.tensor(falls).reshape(-1, 1, 1).expand(-1, 8, 8))
    return drawings.draw_occlusion(torch.nn.Identity(), torch.zeros(2, 3, 8, 8), PICTURES, torch.tensor([0, 1]))


def strength(picture):
    """Return how far the first pixel is from white, 0 to 255."""
    return 255 - int(picture[0, 0].min())


@pytest.mark.parametrize("full", [FOR, AGAINST])
def test_a_small_effect_looks_small_beside_a_large_one_and_alone(monkeypatch, full):
    sign = 1.0 if full is FOR else -1.0
    large, small = drawn_falls(monkeypatch, [sign * 0.9, sign * 0.009]).pictures
    (alone, none) = drawn_falls(monkeypatch, [sign * 1e-9, 0.0]).pictures
    assert large[0, 0].tolist() == np.rint(0.6 * np.array(full)).tolist()
    assert strength(large) > strength(small) + 50
    assert (alone == none).all()


def test_the_words_say_how_large_the_effect_is(monkeypatch):
    assert drawn_falls(monkeypatch, [0.234, -0.1]).words == (
        "largest fall of the probability: 0.23 (rise 0.00), then 0.00 (rise 0.10)"
    )
    assert drawn_falls(monkeypatch, [0.0, 0.5]).words.endswith("the map is empty, then 0.50 (rise 0.00)")


def test_class_activation_maps_share_their_scale(monkeypatch):
    heat = torch.stack([torch.eye(8), torch.eye(8) * 0.1])
    monkeypatch.setattr(drawings, "grad_cam", lambda *_: heat)
    found = drawings.draw_cam(torch.nn.Identity(), torch.zeros(2, 3, 8, 8), PICTURES, torch.tensor([0, 1]))
    assert found.words == "largest class activation: 1, then 0.1"
    assert (found.pictures[0][0, 1] == found.pictures[1][0, 1]).all()
    assert not (found.pictures[0][0, 0] == found.pictures[1][0, 0]).all()


def test_a_network_without_maps_is_named_as_it_is_called():
    network = create_network("mlp", 3, image_size=8).eval()
    with pytest.raises(UserError, match="^MLP keeps no map of places: there is nothing to draw"):
        drawings.draw_activations(network, torch.zeros(3, 8, 8), PICTURES[0])
    with pytest.raises(UserError, match="^a class activation map of MLP cannot be drawn, since it keeps no map"):
        drawings.draw_cam(network, torch.zeros(2, 3, 8, 8), PICTURES, torch.tensor([0, 1]))
