"""Flow matching: the path's velocity, the solvers, guidance."""

import math

import pytest
import torch
from torch import nn

from competition.generative.factory import create_model
from competition.generative.flow import learning_times, sampling_times
from competition.generative.model import Batch
from competition.generative.unet import sinusoids
from tests.generative_data import CLASSES, SIZE, design_for


def flow(velocity, **changes):
    """A model whose network is a given function of pictures, times and class weights."""
    model = create_model(design_for("flow", **changes))
    model.network = Network(velocity)
    return model


class Network(torch.nn.Module):
    def __init__(self, velocity):
        super().__init__()
        self.velocity = velocity

    def forward(self, images, times, weights):
        return self.velocity(images, times, weights)


LATENTS, LABELS = torch.ones(2, 3, SIZE, SIZE), torch.tensor([0, 2])


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_a_straight_path_is_exact_in_any_number_of_steps(solver):
    model = flow(lambda images, times, weights: torch.full_like(images, -3.0), solver=solver, sampling_steps=3)
    torch.testing.assert_close(model.decode(LATENTS, LABELS), torch.full_like(LATENTS, -2.0))


def test_heun_is_nearer_to_a_bent_path_than_euler():
    errors = {}
    for solver in ("euler", "heun"):
        model = flow(lambda images, times, weights: images, solver=solver, sampling_steps=10)
        errors[solver] = abs(model.decode(LATENTS, LABELS)[0, 0, 0, 0].item() - math.e)
    assert errors["heun"] < errors["euler"] / 5


def test_times_to_learn_from_are_spread_evenly_over_their_distribution():
    offset = torch.tensor([0.5])
    times = learning_times(1000, offset)
    logits = torch.logit(times.double())
    assert (times.diff() > 0).all()
    assert logits.mean().item() == pytest.approx(0.6, abs=1e-3)
    assert logits.std().item() == pytest.approx(1.2, abs=0.01)
    torch.testing.assert_close(learning_times(1, offset), torch.sigmoid(torch.tensor([0.6])))
    edges = learning_times(64, torch.tensor([0.0]))
    assert edges[0] == 0
    assert edges.isfinite().all()


def test_steps_are_shorter_near_the_noise():
    assert sampling_times(3) == pytest.approx([0, 3 / 11, 6 / 10, 1])
    assert sampling_times(7)[-1] == 1.0  # exactly: the last step knows itself by it


def test_guidance_goes_past_the_class():
    def velocity(images, times, weights):
        return torch.ones_like(images) * weights.sum(dim=1).view(-1, 1, 1, 1)  # 1 with a class, 0 without

    model = flow(velocity, guidance=2.5, sampling_steps=1, solver="euler")
    torch.testing.assert_close(model.decode(LATENTS, LABELS), LATENTS + 2.5)


def test_the_loss_is_zero_for_the_true_velocity():
    images = torch.rand(4, 3, SIZE, SIZE)
    seen = {}

    def velocity(noisy, times, weights):
        share = times[:, None, None, None]
        noise = (noisy - share * images) / (1 - share)
        seen.update(times=times)
        return images - noise

    model = flow(velocity)
    told = model.train_step(
        Batch(images, torch.arange(4) % 3, torch.Generator().manual_seed(0), torch.tensor(0.0), lambda name, loss: None)
    )
    assert told["velocity"].item() < 1e-8
    assert (seen["times"] > 0).all()
    assert (seen["times"] < 1).all()


def test_a_few_pictures_are_learned_from_without_their_class():
    seen, labels = [], torch.arange(200) % 3
    model = flow(lambda images, times, weights: seen.append(weights) or images)
    images = torch.zeros(200, 3, SIZE, SIZE)
    model.train_step(
        Batch(images, labels, torch.Generator().manual_seed(0), torch.tensor(0.0), lambda name, loss: None)
    )
    is_told = seen[0].sum(dim=1) > 0
    assert 5 <= (~is_told).sum() <= 40  # a tenth of 200, give or take
    assert (seen[0] == model.class_weights(labels) * is_told[:, None]).all()


def test_sinusoids_tell_times_apart():
    waves = sinusoids(torch.tensor([0.0, 0.5]), 8)
    assert waves.shape == (2, 8)
    assert waves[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert waves[1, 0].item() == pytest.approx(math.cos(500), abs=1e-3)


def test_an_untrained_network_says_zero():
    model = create_model(design_for("flow"))
    assert (model.network(LATENTS, torch.zeros(2), torch.zeros(2, 3)) == 0).all()


def test_every_multiple_of_four_is_a_width():
    for width in range(4, 81, 4):
        model = create_model(design_for("flow", width=width))
        images = torch.zeros(1, 3, SIZE, SIZE)
        assert model.network(images, torch.zeros(1), torch.zeros(1, len(CLASSES))).shape == images.shape
    norms = [layer for layer in create_model(design_for("flow", width=32)).modules() if isinstance(layer, nn.GroupNorm)]
    assert {layer.num_channels // layer.num_groups for layer in norms} == {16}
