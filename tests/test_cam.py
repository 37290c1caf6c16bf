"""Grad-CAM: against captum's, and pointing at a planted square."""

import pytest
import torch

from competition.analysis.cam import grad_cam
from competition.errors import UserError
from competition.models.factory import create_network
from tests.planted import learned, planted, pointing_accuracy

torch.set_num_threads(1)


def test_agrees_with_captums():
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    network = create_network("test_resnet", 3, image_size=32).eval()
    images, targets = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    coarse = attr.LayerGradCam(network, network.layer3).attribute(images, target=targets, relu_attributions=True)
    expected = torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear").squeeze(1).detach()
    torch.testing.assert_close(grad_cam(network, images, targets, layer="layer3"), expected, rtol=1e-3, atol=1e-6)


def test_takes_the_deepest_layer_with_enough_places():
    network = create_network("test_resnet", 3, image_size=64).eval()  # 2 x 2 places at the end, 4 x 4 before
    images, targets = torch.randn(1, 3, 64, 64), torch.tensor([1])
    torch.testing.assert_close(grad_cam(network, images, targets), grad_cam(network, images, targets, layer="layer3"))


def test_a_class_token_is_followed_to_the_input_of_the_last_block():
    network = create_network("test_vit", 3, image_size=32, options={"patch_size": 8}).eval()
    images, targets = torch.randn(1, 3, 32, 32), torch.tensor([1])
    last = len(network.blocks) - 1
    expected = grad_cam(network, images, targets, layer=f"blocks.{last - 1}")
    torch.testing.assert_close(grad_cam(network, images, targets), expected)


# Attention moves what a place knows to other places, where no gradient tells it from what was there; so the transformer
# is one without attention, and a map that misses the square has laid the tokens out wrongly.
LOCAL = {"patch_size": 4, "depth": 1, "global_pool": "avg", "class_token": False, "fc_norm": False, "keep_local": True,
         "learning_rate": 2e-3}  # fmt: skip


@pytest.mark.parametrize(("name", "steps", "options"), [("mycnn", 16, {}), ("test_vit", 40, LOCAL)])
def test_points_at_the_planted_square(name, steps, options):
    network = learned(name, steps, **options)
    images, labels, corners = planted(30, seed=2)
    assert (network(images).argmax(dim=1) == labels).float().mean() > 0.9
    assert pointing_accuracy(grad_cam(network, images, labels), corners) > 0.95


class Placed(torch.nn.Module):
    """A module whose output is the same for every picture, as the position embedding of some networks is."""

    def __init__(self, shape):
        super().__init__()
        self.places = torch.nn.Parameter(torch.zeros(shape), requires_grad=False)

    def forward(self):
        return self.places


def test_what_no_picture_moves_is_no_map():
    network = create_network("test_resnet", 3, image_size=64).eval().requires_grad_(False)
    images, targets = torch.randn(1, 3, 64, 64), torch.tensor([1])
    expected, plain = grad_cam(network, images, targets), network.forward_features
    network.position = Placed((1, 3, 4, 4))
    network.forward_features = lambda images: plain(images) + network.position().mean()
    torch.testing.assert_close(grad_cam(network, images, targets), expected)
    with pytest.raises(UserError, match="nothing of its maps reaches the logit"):
        grad_cam(network, images, targets, layer="position")


def test_a_head_of_zeros_is_given_as_the_reason():
    network = create_network("test_resnet", 3, image_size=64).eval()
    torch.nn.init.zeros_(network.get_classifier().weight)
    with pytest.raises(UserError, match="ResNet cannot be drawn, since nothing of its maps reaches the logit"):
        grad_cam(network, torch.randn(1, 3, 64, 64), torch.tensor([1]))
