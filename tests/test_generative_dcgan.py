"""The GAN's stages and losses, by hand."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from competition.generative import dcgan as module
from competition.generative.dcgan import stage_widths
from competition.generative.factory import create_model, parameter_count
from competition.generative.model import Batch
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


REAL, FAKE = torch.tensor([0.5, 2.0]), torch.tensor([-0.5, 0.3])
YES, NO = torch.ones(2), torch.zeros(2)
LOSSES = {  # of the discriminator, of the generator
    "bce": (bce(REAL, YES) + bce(FAKE, NO), bce(FAKE, YES)),
    "hinge": (torch.tensor((0.5 + 0.0) / 2 + (0.5 + 1.3) / 2), torch.tensor((0.5 - 0.3) / 2)),
}


@pytest.mark.parametrize("kind", LOSSES)
def test_losses(kind):
    model = create_model(design_for("dcgan", gan_loss=kind))
    found = model._discriminator_loss(REAL, FAKE), model._generator_loss(FAKE)
    torch.testing.assert_close(found, LOSSES[kind])


@pytest.mark.parametrize(("diffaug", "offset"), [(True, 5.0), (False, 0.0)])
def test_the_discriminator_sees_all_pictures_augmented_or_none(diffaug, offset, monkeypatch):
    monkeypatch.setattr(module, "augment", lambda images, noise: images + 5)
    model = create_model(design_for("dcgan", diffaug=diffaug))
    made, judged, decode, judge = [], [], model.decode, model.judge
    model.decode = lambda *given: made.append(decode(*given)) or made[0]
    model.judge = lambda images, labels: judged.append(images) or judge(images, labels)
    images = torch.rand(4, 3, 8, 8)
    model.train_step(
        Batch(images, torch.arange(4) % 3, torch.Generator().manual_seed(0), torch.tensor(0.0), lambda name, loss: None)
    )
    # Real ones, the generator's while the discriminator learns, and the same while the generator does.
    for seen, plain in zip(judged, (images, made[0], made[0]), strict=True):
        torch.testing.assert_close(seen, plain + offset)
    assert [seen.requires_grad for seen in judged] == [False, False, True]


def test_spectral_norm_bounds_every_layer_and_leaves_room_for_a_threshold():
    discriminator = create_model(design_for("dcgan", image_size=32, spectral_norm=True)).discriminator.train()
    images = torch.rand(6, 3, 32, 32) * 2 - 1
    classes = torch.eye(3)[torch.arange(6) % 3]
    for _ in range(50):  # the norm is found step by step
        discriminator(images, classes)
    layers = [discriminator.features[0], discriminator.features[2], discriminator.features[4], discriminator.head]
    weights = [layer.weight for layer in [*layers, discriminator.embedding]]
    assert len(weights) == 5  # three stages, the head, the classes
    for weight in weights:
        assert torch.linalg.matrix_norm(weight.flatten(1), 2).item() == pytest.approx(1, abs=0.02)
    assert all((layer.bias == 0).all() for layer in layers)


def test_without_spectral_norm_the_discriminator_is_the_seeds():
    discriminator = create_model(design_for("dcgan", image_size=32)).discriminator
    assert all(layer.bias is None for layer in discriminator.modules() if isinstance(layer, torch.nn.Conv2d))


def test_no_class_drowns_the_latent_by_a_long_vector_of_its_own():
    torch.manual_seed(0)
    model = create_model(design_for("dcgan")).eval()
    latents, labels = torch.randn(3, 5), torch.arange(3)
    with torch.no_grad():
        before = model.decode(latents, labels)
        model.generator.embedding.weight[1] *= 100
        torch.testing.assert_close(model.decode(latents, labels), before)


def test_settled_statistics_are_those_of_the_weights():
    """What a moving average of weights makes has other statistics than what the weights it follows made."""
    torch.manual_seed(0)
    model = create_model(design_for("dcgan")).eval()
    latents, labels = torch.randn(256, 5), torch.arange(256) % 3
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(3)
        model.settle(latents, labels)
        settled = model.decode(latents, labels)
        wanted = model.train().decode(latents, labels)
    torch.testing.assert_close(settled, wanted, atol=0.1, rtol=0)
    norms = [layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert all(norm.momentum == 0.1 for norm in norms)


def test_settled_statistics_do_not_depend_on_the_order_of_the_classes():
    """Latents that come class after class must not be measured class by class: training batches are mixed."""
    torch.manual_seed(0)
    model = create_model(design_for("dcgan"))
    norms = [layer for layer in model.generator.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    first = next(layer for layer in model.generator.layers if isinstance(layer, torch.nn.ConvTranspose2d))
    with torch.no_grad():  # the same at every place, so that all that differs is the class
        first.weight.copy_(first.weight.mean(dim=(2, 3), keepdim=True).expand_as(first.weight))
    latents, labels = torch.randn(192, 5) / 10, torch.arange(3).repeat_interleave(64)
    variances = []
    for rows in (torch.arange(192), torch.randperm(192)):
        with torch.no_grad():
            model.settle(latents[rows], labels[rows])
        variances.append(torch.cat([norm.running_var for norm in norms]))
    torch.testing.assert_close(variances[0], variances[1], rtol=0.2, atol=1e-6)
