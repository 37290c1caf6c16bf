"""Optimisers, schedules and the moving average."""

import pytest
import torch

from competition.generative.factory import create_model
from competition.generative.learner import Learner, schedule_factor
from competition.generative.settings import GenerateSettings
from competition.precision import Precision
from tests.generative_data import design_for

PICTURES = torch.randint(0, 256, (8, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8) % 3


def learner(model, **changes):
    torch.manual_seed(0)
    settings = GenerateSettings(model=model, **changes)
    return Learner(create_model(design_for(model)), settings, 10, Precision(), torch.device("cpu"))


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("constant", 0.9, 1.0),
        ("step", 0.49, 1.0),
        ("step", 0.5, 0.5),
        ("step", 0.75, 0.25),
        ("cosine", 0.5, 0.505),
        ("cosine", 1.0, 0.01),
        ("cosine", 0.01, 0.5),
    ],
)
def test_schedules(schedule, progress, factor):
    assert schedule_factor(schedule, progress) == pytest.approx(factor, rel=1e-2)


@pytest.mark.parametrize("model", ["vae", "dcgan"])
def test_a_steps_learning_rate_is_the_schedules(model):
    own = learner(model, schedule="step", learning_rate=0.4)
    own.model.train_step = lambda batch: {}
    for step, rate in ((0, 0.4), (4, 0.4), (5, 0.2), (7, 0.1), (9, 0.1)):
        own.take_step(PICTURES, LABELS, step)
        groups = [group for optimizer in own._optimizers.values() for group in optimizer.param_groups]
        assert [group["lr"] for group in groups] == pytest.approx([rate] * len(groups))
        assert own.learning_rate(step) == pytest.approx(rate)


def test_the_average_follows_as_slowly_as_it_was_told():
    own = learner("vae", ema=0.75)
    weight = own.model.decoder[0].weight
    start = weight.detach().clone()
    own.take_step(PICTURES, LABELS, 1000)
    with own.evaluated() as kept:
        torch.testing.assert_close(kept.decoder[0].weight, start + 0.25 * (weight.detach() - start))


def test_the_average_follows_faster_at_first():
    own = learner("dcgan", ema=0.9)
    start = own.model.generator.layers[0].weight.detach().clone()
    own.take_step(PICTURES, LABELS, 0)
    after = own.model.generator.layers[0].weight.detach().clone()
    own.take_step(PICTURES, LABELS, 1)
    last = own.model.generator.layers[0].weight.detach()
    average = start + 0.9 * (after - start)  # decay 1 / 10, then 2 / 11
    average = average + (9 / 11) * (last - average)
    with own.evaluated() as kept:
        torch.testing.assert_close(kept.generator.layers[0].weight, average)
        torch.testing.assert_close(kept.discriminator.head.weight, own.model.discriminator.head.weight)
        assert not kept.training


def test_without_an_average_the_model_itself_is_lent_in_evaluation_mode():
    own = learner("vae")
    with own.evaluated() as kept:
        assert kept is own.model
        assert not kept.training
    assert own.model.training


def test_steps_depend_on_their_number_alone():
    first, second = learner("vae"), learner("vae")
    first.take_step(PICTURES, LABELS, 3)
    torch.rand(5)  # the global generator does not matter
    second.take_step(PICTURES, LABELS, 3)
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_what_follows_a_networks_step_in_bf16_sees_its_new_weights():
    own, seen = learner("dcgan"), []
    own.precision = Precision("bf16")

    def train_step(batch):
        batch.minimize("discriminator", own.model.judge(batch.images, batch.labels).mean())
        seen.extend([batch.images, own.model.judge(batch.images, batch.labels)])
        return {}

    own.model.train_step = train_step
    own.take_step(PICTURES, LABELS, 0)
    with own.precision.autocast(own.device):
        assert torch.equal(seen[1], own.model.judge(seen[0], LABELS))


def test_flips_can_be_left_out():
    seen = []
    for flips in (True, False):
        own = learner("autoencoder", flips=flips)
        own.model.train_step = lambda batch: seen.append(batch.images) or {}
        own.take_step(PICTURES, LABELS, 0)
    mirrored = (seen[0] != seen[1]).flatten(1).any(dim=1)
    assert 0 < mirrored.sum() < 8
    torch.testing.assert_close(seen[0][mirrored], seen[1][mirrored].flip(3))


def test_the_flow_is_moved_by_muon_inside_and_by_nadam_at_its_edges():
    own = learner("flow")
    head, inside = own.model.network.head[2].weight, own.model.network.shrink.weight
    before = head.detach().clone()
    own.take_step(PICTURES, LABELS, 0)
    steps = (head.detach() - before).abs()
    assert steps.max() < 1.01 * steps.min()  # NAdam's first step is the sign of the gradient
    own.take_step(PICTURES, LABELS, 1)  # the layers that start at zero kept all gradient from those below them
    before = inside.detach().clone()
    own.take_step(PICTURES, LABELS, 2)
    values = torch.linalg.svdvals((inside.detach() - before).flatten(1))
    assert values.max() < 5 * values.min()  # orthogonal, but for the few Newton-Schulz steps; Adam: a factor 8


@pytest.mark.parametrize("name", ["autoencoder", "acai", "vae"])
def test_an_autoencoders_first_and_last_layers_are_left_to_nadam(name):
    own = learner(name)
    parts = [own.model.encoder, own.model.decoder, *([own.model.critic] if name == "acai" else [])]
    layers = [[layer for layer in part if hasattr(layer, "weight")] for part in parts]
    before = [[layer.weight.detach().clone() for layer in part] for part in layers]
    own.take_step(PICTURES, LABELS, 0)
    for part, weights in zip(layers, before, strict=True):
        moved = [layer.weight.detach() - weight for layer, weight in zip(part, weights, strict=True)]
        sizes = [(move.abs().max() / move.abs().median()).item() for move in moved]
        # NAdam's first step is the sign of the gradient: all of one size.
        assert sizes[0] < 1.1
        assert sizes[-1] < 1.1
        assert max(sizes[1:-1]) > 1.5
