"""Schedules, optimisers and losses against hand-worked values."""

import pytest
import torch
from torch import nn

from competition.config import TrainSettings
from competition.errors import UserError
from competition.models.factory import create_network
from competition.training.optim import create_loss, create_optimizer, growing_size, schedule_factor, set_learning_rate
from competition.training.rates import automatic_batch_size, peak_learning_rate, steps_per_epoch, weight_decay

IMAGES = 12_800  # an epoch of 40 steps


@pytest.mark.parametrize(
    ("optimizer", "rate", "decay"),
    [
        *((name, 5e-3, 60 / 40) for name in ("nmuon", "AdaMuon")),
        *((name, 0.1, 5e-4) for name in ("sgd", "SGDW", "nesterov", "momentum")),
        *((name, 1e-3, 0.05) for name in ("adamw", "lion", "rmsprop")),
    ],
)
def test_learning_rate_and_weight_decay_suit_the_optimiser(optimizer, rate, decay):
    left_open = TrainSettings(optimizer=optimizer)
    assert (peak_learning_rate(left_open), weight_decay(left_open, IMAGES)) == (rate, decay)
    given = TrainSettings(optimizer=optimizer, learning_rate=0.3, weight_decay=0.0)
    assert (peak_learning_rate(given), weight_decay(given, IMAGES)) == (0.3, 0.0)
    assert weight_decay(left_open.replace(weights="pretrained"), IMAGES) == min(decay, 0.05)


@pytest.mark.parametrize(
    ("given", "images", "steps"),
    [
        ({}, 50_000, 157),
        ({}, 12_800, 40),
        ({}, 1_000, 25),
        ({"batch_size": 128}, 12_800, 80),
        ({"copies": 1}, 12_800, 80),
        ({"train_share": 0.25}, 12_800, 40),
        ({"folds": 2}, 12_800, 50),
        ({"batch_size": 256}, 100, 1),
        ({}, 1, 1),
    ],
)
def test_fresh_weights_forget_as_much_in_an_epoch_of_any_length(given, images, steps):
    settings = TrainSettings(**given)
    assert steps_per_epoch(settings, images) == steps
    assert weight_decay(settings, images) == pytest.approx(min(10, 60 / steps), rel=0.03)


def test_muon_is_slower_in_networks_without_norms():
    assert peak_learning_rate(TrainSettings(model="imp_cnn")) == 1e-3
    assert peak_learning_rate(TrainSettings(model="imp_cnn", optimizer="sgd")) == 0.1


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 50, 1.0),
        ("cosine", 99, 0.0),
        ("cosine", 0, 0.025),  # half a step into 20 steps of warm-up
        ("onecycle", 0, 0.04),
        ("onecycle", 99, 1e-4),
        ("step", 30, 1.0),
        ("step", 49, 1.0),
        ("step", 50, 0.1),
        ("step", 80, 0.01),
        ("cyclic", 0, 0.1),
        ("cyclic", 12, 1.0),  # the first of 4 peaks
        ("cyclic", 25, 0.1),
        ("plateau", 60, 1.0),
    ],
)
def test_schedules(schedule, step, expected):
    assert schedule_factor(schedule, step, 100, 0.2, (0.5, 0.75)) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("schedule", ["cosine", "onecycle", "cyclic", "step", "plateau", "constant"])
def test_factors_stay_between_0_and_1_and_reach_the_peak(schedule):
    factors = [schedule_factor(schedule, step, 1000, 0.1, (0.5, 0.75)) for step in range(1000)]
    assert min(factors) > 0
    assert 0.995 < max(factors) <= 1


def test_milestones_are_the_ends_of_their_epochs():
    drops = TrainSettings(schedule="step", milestones="7,20,35", epochs=49).drops
    factors = [schedule_factor("step", step, 49 * 13, 0.0, drops) for step in range(49 * 13)]  # 13 steps an epoch
    assert factors == [1.0] * 7 * 13 + [0.1] * 13 * 13 + [0.01] * 15 * 13 + [0.001] * 14 * 13


@pytest.mark.parametrize(("step", "size"), [(0, 32), (37, 32), (38, 48), (74, 48), (75, 64), (99, 64)])
def test_growing(step, size):
    assert growing_size(0.5, step, 100, 64) == size
    assert growing_size(1.0, step, 100, 60) == 60
    assert growing_size(0.99, step, 100, 77) <= 77


@pytest.mark.parametrize(
    ("images", "size"), [(100_000, 256), (10_400, 256), (10_239, 128), (2_600, 64), (1_600, 32), (50, 32)]
)
def test_small_sets_get_small_batches(images, size):
    assert automatic_batch_size(images) == size


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def get_classifier(self):
        return self.head

    def forward(self, images):
        return self.head(self.norm(self.body(images)).mean((2, 3)))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "muon", "nmuon", "lion"])
def test_optimisers_take_a_step_that_lowers_the_loss(name):
    torch.manual_seed(0)
    network, images = Small(), torch.rand(16, 3, 8, 8)
    labels = torch.arange(16) % 5
    optimizer = create_optimizer(network, name, 1e-2, 0.01, None, 1.0)
    losses = []
    for _ in range(15):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_norms_and_biases_are_not_decayed():
    optimizer = create_optimizer(Small(), "adamw", 1e-2, 0.1, None, 1.0)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    sizes = sorted(p.ndim for group in optimizer.param_groups for p in group["params"] if id(p) in decayed)
    assert sizes == [2, 4]


def test_the_learning_rate_keeps_each_groups_scale():
    optimizer = torch.optim.SGD([{"params": [nn.Parameter(torch.zeros(1))], "lr_scale": 0.5}], lr=1)
    set_learning_rate(optimizer, 0.3)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.15)


@pytest.mark.parametrize("name", ["mycnn", "deit_tiny_distilled_patch16_224", "levit_128s", "efficientformer_l1"])
def test_muon_leaves_every_classifier_to_its_fallback(name):
    network = create_network(name, 3, image_size=32 if name == "mycnn" else 224)
    left = set()
    for group in create_optimizer(network, "nmuon", 0.005, 0.05, None, 1.0).param_groups:
        left |= {id(parameter) for parameter in group["params"] if group.get("use_fallback")}
    heads = network.get_classifier()
    heads = heads if isinstance(heads, tuple) else (heads,)
    assert len(heads) == (1 if name == "mycnn" else 2)
    assert left >= {id(parameter) for head in heads for parameter in head.parameters()}


def test_unknown_optimisers_and_frozen_networks_are_refused():
    with pytest.raises(UserError, match="did you mean 'adamw'"):
        create_optimizer(Small(), "adamww", 1e-2, 0, None, 1.0)
    network = Small().requires_grad_(False)
    with pytest.raises(UserError, match="no layer"):
        create_optimizer(network, "sgd", 1e-2, 0, None, 1.0)


@pytest.mark.parametrize("name", ["sgd", "SGD", "sgdw", "sgdc", "csgdc", "csgdw", "momentum"])
def test_sgd_without_momentum_is_plain(name):
    network = nn.Linear(2, 1, bias=False)
    nn.init.ones_(network.weight)
    optimizer = create_optimizer(network, name, 0.1, 0.0, 0.0, 1.0)
    for _ in range(3):
        optimizer.zero_grad()
        network(torch.ones(1, 2)).sum().backward()  # gradients of 1
        optimizer.step()
    assert network.weight.tolist() == [[pytest.approx(0.7)] * 2]


@pytest.mark.parametrize("name", ["nesterov", "nesterovw", "nlars", "NLARC"])
def test_nesterov_without_momentum_is_refused(name):
    with pytest.raises(UserError, match=f"--optimizer {name} .* needs a --momentum above 0"):
        create_optimizer(Small(), name, 0.1, 0.0, 0.0, 1.0)
    create_optimizer(Small(), name, 0.1, 0.0, None, 1.0)


def test_losses():
    logits, labels = torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 0])
    one, two = torch.log(1 + torch.exp(torch.tensor(-2.0))), torch.log(1 + torch.exp(torch.tensor(2.0)))
    counts = torch.tensor([3, 1])
    assert create_loss("ce", 0.0, counts)(logits, labels).item() == pytest.approx(((one + two) / 2).item())
    sure = torch.sigmoid(torch.tensor(2.0))
    focal = ((1 - sure) ** 2 * one + sure**2 * two) / 2
    assert create_loss("focal", 0.0, counts)(logits, labels).item() == pytest.approx(focal.item())
    soft = torch.tensor([[0.75, 0.25], [0.75, 0.25]])  # as probable as that is the mean probability of its classes
    likely, focal = (
        (0.75 * sure + 0.25 * (1 - sure), 0.25 * sure + 0.75 * (1 - sure)),
        create_loss("focal", 0.0, counts),
    )
    wrong = (0.75 * one + 0.25 * two, 0.25 * one + 0.75 * two)
    expected = sum((1 - own) ** 2 * loss for own, loss in zip(likely, wrong, strict=True)) / 2
    assert focal(logits, soft).item() == pytest.approx(expected.item())
    # Weights in proportion to 1/3 and 1: of a batch of one picture each, the first has a quarter of the mean.
    whole, balanced = torch.tensor([0, 1]), create_loss("balanced", 0.0, counts)
    assert balanced(logits[:1], whole[:1], whole).item() == pytest.approx(one.item() / 4)
    assert balanced(logits[1:], whole[1:], whole).item() == pytest.approx(one.item() * 3 / 4)
    assert balanced(logits, whole).item() == pytest.approx(one.item())


@pytest.mark.parametrize("kind", ["ce", "balanced", "focal"])
def test_smoothed_labels_leave_every_class_its_own_even_where_one_is_rare(kind):
    """One row of logits per class, free to move: what it settles on is what a perfect network would predict."""
    logits, labels = (
        torch.zeros(5, 5, requires_grad=True),
        torch.arange(5).repeat_interleave(torch.tensor([50, 50, 50, 50, 1])),
    )
    loss = create_loss(kind, 0.1, labels.bincount())
    optimizer = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimizer.zero_grad()
        loss(logits[labels], labels).backward()
        optimizer.step()
    assert logits.argmax(dim=1).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("name", ["adam", "AdamW", "sgd", "momentum", "nesterov", "lamb", "adagrad"])
def test_torchs_own_optimisers_move_a_weight_in_one_pass(name):
    network = nn.Linear(3, 2)
    optimizer = create_optimizer(network, name, 0.1, 0.01, None, 1.0)
    is_own = name not in ("lamb", "adagrad")
    assert bool(optimizer.defaults.get("fused")) is is_own
    before = network.weight.detach().clone()
    network(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert (network.weight != before).all()
