"""Encoders mirror the classifiers' convolutions; latent maps have the side they should."""

import pytest
import torch
from torch import nn

import competition.models  # noqa: F401 (registers our networks)
from competition.generative.bodies import MIRRORS, latent_side, make_decoder, make_encoder, with_classes
from tests.generative_data import design_for


def shapes(network):
    return [
        (layer.in_channels, layer.out_channels, layer.kernel_size[0])
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    ]


@pytest.mark.parametrize("name", list(MIRRORS))
def test_the_encoder_has_the_classifiers_convolutions(name):
    from competition.models.factory import create_network

    classifier = create_network(name, 10, image_size=32)
    design = design_for("autoencoder", image_size=32, mirror=name)
    encoder, decoder = make_encoder(design, 7), make_decoder(design, 7)
    assert shapes(encoder)[:-1] == shapes(classifier)
    mirrored = [(outputs, inputs, kernel_size) for inputs, outputs, kernel_size in shapes(classifier)]
    assert shapes(decoder)[1:] == mirrored[::-1]
    assert not any("Pool" in type(layer).__name__ for layer in [*encoder.modules(), *decoder.modules()])


@pytest.mark.parametrize(
    ("changes", "side"), [({"latent_width": 4}, 4), ({"latent_width": 2}, 2), ({"mirror": "imp_cnn"}, 4)]
)
def test_sides(changes, side):
    design = design_for("autoencoder", image_size=32, **changes)
    assert latent_side(design) == side
    latents = make_encoder(design, 5)(torch.zeros(2, 3, 32, 32))
    assert latents.shape == (2, 5, side, side)
    assert make_decoder(design, 5)(latents).shape == (2, 3, 32, 32)


def test_the_papers_widths():
    """Berthelot et al. 2018: 1x1 to the width, blocks that double it, one more doubling, then the latent."""
    design = design_for("acai", image_size=32, width=16, latent_width=2)
    assert [shape[1] for shape in shapes(make_encoder(design, 16))] == [16, 16, 16, 32, 32, 64, 64, 128, 128, 256, 16]
    assert [shape[1] for shape in shapes(make_decoder(design, 16))] == [128, 128, 64, 64, 32, 32, 16, 16, 16, 3]


def test_class_vectors_stand_at_every_place():
    joined = with_classes(torch.zeros(2, 3, 4, 4), torch.tensor([[1.0], [2.0]]))
    assert joined.shape == (2, 4, 4, 4)
    assert (joined[1, 3] == 2).all()
    assert with_classes(torch.zeros(2, 3, 4, 4), None).shape == (2, 3, 4, 4)


def test_the_papers_first_weights():
    """Berthelot et al. 2018: zero-mean normal with deviation 1 / sqrt(inputs of a value * (1 + 0.2^2)); zero biases."""
    encoder = make_encoder(design_for("acai", image_size=32, width=64), 64)
    layers = [layer for layer in encoder if isinstance(layer, nn.Conv2d)][1:]  # the first has too few to measure
    for layer in layers:
        wanted = (layer.in_channels * 9 * 1.04) ** -0.5
        assert layer.weight.std().item() == pytest.approx(wanted, rel=0.03)
        assert (layer.bias == 0).all()
