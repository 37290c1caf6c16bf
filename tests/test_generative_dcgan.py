"""The GAN's stages and losses, by hand."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from competition.generative.dcgan import stage_widths
from competition.generative.factory import create_model, parameter_count
from tests.generative_data import design_for


@pytest.mark.parametrize(("size", "widths"), [(8, [3]), (16, [6, 3]), (32, [12, 6, 3]), (64, [24, 12, 6, 3])])
def test_stage_widths(size, widths):
    assert stage_widths(size, 3) == widths


def test_the_seed_has_five_transposed_convolutions_at_64_px():
    generator = create_model(design_for("dcgan", ("a",), image_size=64)).generator
    layers = [layer for layer in generator.layers if isinstance(layer, torch.nn.ConvTranspose2d)]
    assert len(layers) == 5
    assert generator(torch.zeros(2, 5), None).shape == (2, 3, 64, 64)


def test_the_parameters_are_those_of_the_formula():
    width, latent = 4, 5
    design = design_for("dcgan", ("a",), image_size=64)
    maps = 16 * width**2 * (8 * 4 + 4 * 2 + 2 * 1)
    generator = 16 * latent * 8 * width + maps + 16 * width * 3 + 2 * width * (8 + 4 + 2 + 1)
    discriminator = 16 * 3 * width + maps + 16 * 8 * width + 2 * width * (2 + 4 + 8)
    assert parameter_count(design) == generator + discriminator


@pytest.mark.parametrize("kind", ["bce", "hinge"])
def test_losses(kind):
    model = create_model(design_for("dcgan", gan_loss=kind))
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-0.5, 0.3])
    if kind == "bce":
        wanted = binary_cross_entropy_with_logits(real, torch.ones(2)) + binary_cross_entropy_with_logits(
            fake, torch.zeros(2)
        )
    else:
        wanted = torch.tensor((0.5 + 0.0) / 2 + (0.5 + 1.3) / 2)
    torch.testing.assert_close(model._discriminator_loss(real, fake), wanted)
