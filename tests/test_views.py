"""Views chosen on out-of-fold data: when more of them are kept, and what is refused."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from competition.config import TrainSettings
from competition.errors import UserError
from competition.metrics import Interval
from competition.prediction import views as module
from competition.prediction.members import Member
from competition.prediction.settings import PredictSettings
from competition.prediction.views import ViewChoice, choose, choose_views
from competition.predictions import Predictions, save_predictions
from tests.synthetic_members import make_predictions, make_stack


def by_count(skills, rows=600, seed=0):
    """Out-of-fold predictions of the same images, one set for each number of views."""
    stack = make_stack(1, rows, 4, seed)
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(rows, 4))
    result = []
    for skill in skills:
        logits = noise.copy()
        logits[np.arange(rows), stack.labels] += skill
        odds = np.exp(logits)
        probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
        result.append(dataclasses.replace(make_predictions(stack, 0), probabilities=probabilities))
    return result


def test_views_that_help_beyond_chance_are_kept():
    choice = choose(by_count([1.0, 1.05, 1.6, 1.3]), own=1)
    assert choice.views == 3
    assert choice.kept
    assert 0 < choice.interval.low < choice.gain < choice.interval.high


def test_the_runs_own_views_win_a_tie():
    choice = choose(by_count([1.0, 1.0, 1.0]), own=2)
    assert (choice.views, choice.gain, choice.kept) == (2, 0, False)
    assert choice.describe(2) == "2 views, the run's own, are the best out of fold"
    assert dataclasses.replace(choice, views=1).describe(1) == "1 view, the run's own, is the best out of fold"


def test_a_gain_within_chance_is_not_kept():
    choices = [choose(by_count([1.0, 1.01], rows=100, seed=seed), own=1) for seed in range(5)]
    assert not any(choice.kept for choice in choices)


def test_the_gain_of_a_folds_images_is_that_of_views_chosen_on_the_others():
    """Two views are best in fold 0 and three in fold 1, so each fold gets what suits the other."""
    labels, folds = np.arange(400) % 4, np.arange(400) // 200
    rng = np.random.default_rng(0)

    def right(share):
        return np.eye(4, dtype=np.float32)[np.where(rng.random(400) < share, labels, (labels + 1) % 4)]

    ids = np.array([f"{number:03}" for number in range(400)])
    shares = [0.5, np.where(folds == 0, 0.95, 0.4), np.where(folds == 1, 0.95, 0.4)]
    choice = choose([Predictions(ids, tuple("abcd"), right(share), labels, folds) for share in shares], own=1)
    assert choice.views in (2, 3)  # best over all rows
    assert choice.gain < 0
    assert not choice.kept


def test_the_choice_in_words():
    assert ViewChoice(6, 0.0123, Interval(0.004, 0.019), True).describe(2) == (
        "6 views instead of 2: gain +0.0123 [0.004, 0.019], kept"
    )
    assert ViewChoice(1, -0.001, Interval(-0.01, 0.01), False).describe(2).endswith(", not kept")


@pytest.mark.parametrize(("skills", "rows", "views"), [([1.0, 1.05, 1.6, 1.3], 600, 3), ([1.0, 1.06], 100, 1)])
def test_a_member_gets_the_views_that_were_kept_and_is_scored_with_them(skills, rows, views, tmp_path, monkeypatch):
    rescored = by_count(skills, rows, seed=3)
    assert choose(rescored, own=1).views > 1  # better, though in the second case within chance
    monkeypatch.setattr(module, "_rescore", lambda settings, member: rescored)
    (tmp_path / "model.safetensors").touch()
    member = Member(Path("runs/a"), [tmp_path], tuple("abcd"), TrainSettings(views=1), 32, "squash", 4)
    (chosen,) = choose_views(PredictSettings(views="auto"), [member])
    assert chosen.views == views
    assert chosen.out_of_fold() is rescored[views - 1]
    assert chosen.cautions == []


def test_the_first_n_views_of_every_fold_are_averaged_by_class_name(tmp_path, monkeypatch):
    stored = make_predictions(make_stack(1, 20, 4, seed=0), 0)
    views = np.random.default_rng(0).random((8, 20, 4), dtype=np.float32)
    answers = iter(views[:, :, ::-1])
    monkeypatch.setattr(module, "run_network", lambda *_, **__: (next(answers), stored.class_names[::-1]))
    pictures = SimpleNamespace(of=lambda ids, folder: SimpleNamespace(image_ids=ids))
    monkeypatch.setattr(module, "TrainingPictures", lambda *_: pictures)
    save_predictions(tmp_path / "predictions.npz", stored)
    member = Member(Path("runs/a"), [tmp_path], stored.class_names, TrainSettings(), 32, "squash", 6)
    for number, found in enumerate(module._rescore(PredictSettings(device="cpu"), member), 1):
        np.testing.assert_allclose(found.probabilities, views[:number].mean(axis=0), rtol=1e-5)


def test_without_weights_views_cannot_be_chosen(tmp_path):
    member = Member(Path("runs/a"), [tmp_path / "fold_0"], ("a", "b"), TrainSettings(), 32, "squash", 2)
    assert choose_views(PredictSettings(views="4"), [member]) == [member]
    with pytest.raises(UserError, match="--views auto .* needs the networks; without weights: .*fold_0"):
        choose_views(PredictSettings(views="auto"), [member])
