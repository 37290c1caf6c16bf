"""The ensemble and the decision that predict.py fits, and what they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition import metrics
from competition.config import TrainSettings
from competition.ensemble.combination import single
from competition.metrics import confusion
from competition.prediction.fitting import FittedEnsemble, fit_decision, fit_ensemble
from competition.prediction.members import Member
from competition.predictions import Predictions
from tests.synthetic_members import make_predictions, make_stack


def make_members(stack):
    return [
        Member(Path(name), [Path(name) / "fold_0"], stack.class_names, TrainSettings(), 32, "squash", 2,
               make_predictions(stack, number))
        for number, name in enumerate(stack.names)
    ]  # fmt: skip


def test_one_member_is_the_ensemble(capsys):
    stack = make_stack(1, 60, 3)
    ensemble = fit_ensemble(make_members(stack), "auto")
    assert "one member, runs/0: nothing to join but its folds" in capsys.readouterr().out
    assert ensemble.selection is None
    assert [member.folder.name for member in ensemble.used] == ["0"]
    np.testing.assert_array_equal(ensemble.nested.probabilities, stack.probabilities[0].astype(np.float32))


def test_a_score_that_is_not_the_test_predictions_own_is_told(capsys):
    (member,) = make_members(make_stack(1, 60, 3))
    member = replace(member, settings=member.settings.replace(stop_after=3, views=6))
    fit_ensemble([member], "auto")
    assert "runs/0: each fold's epoch was picked on the images" in capsys.readouterr().out  # rescored with its 2 views
    plain = replace(member, rescored=None, settings=member.settings.replace(stop_after=None))
    assert plain.cautions == ["scored with 6 views out of fold, test images get 2: --views auto scores both alike"]
    assert replace(plain, views=6).cautions == []


def test_several_members_are_joined_and_the_choice_is_explained(capsys):
    ensemble = fit_ensemble(make_members(make_stack(3, 200, 4, skill=(1, 1.2))), "auto")
    said = capsys.readouterr().out
    assert "3 members on 200 out-of-fold images, nested in 5 outer folds:" in said
    assert "weights: runs/" in said
    assert ensemble.selection.chosen.method in said


@pytest.mark.parametrize("method", ["weighted", "stacked"])
def test_the_ensembles_out_of_fold_rows_are_those_of_weights_that_did_not_see_them(method):
    stack = make_stack(4, 100, 4)
    turned = np.where(stack.folds == 0, (stack.labels + 1) % 4, stack.labels)
    before, after = (
        fit_ensemble(make_members(replace(stack, labels=labels)), method) for labels in (stack.labels, turned)
    )
    first = stack.folds == 0
    assert (before.combination.weights != after.combination.weights).any()
    np.testing.assert_array_equal(before.nested.probabilities[first], after.nested.probabilities[first])


def test_members_without_weight_are_not_used():
    ensemble = fit_ensemble(make_members(make_stack(4, 400, 3, skill=(-2, 2))), "greedy")
    assert "0" not in [member.folder.name for member in ensemble.used]


def biased(rows=3000, seed=0):
    """Nested predictions of a model that favours the first class far too much."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rows)
    logits = rng.normal(size=(rows, 3))
    logits[np.arange(rows), labels] += 1.5
    logits[:, 0] += 2
    odds = np.exp(logits)
    ids = np.array([str(number) for number in range(rows)])
    probabilities = (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)
    return Predictions(ids, ("a", "b", "c"), probabilities, labels, np.arange(rows) % 5)


def test_argmax_says_nothing_and_scores_the_ensemble(capsys):
    nested = biased(300)
    fitted = fit_decision(FittedEnsemble([], single(0, 1), nested, None), "argmax")
    assert capsys.readouterr().out == ""
    expected = f1_score(nested.labels, nested.probabilities.argmax(axis=1), average="macro")
    score = fitted.score()
    assert score["macro_f1"] == pytest.approx(expected, abs=1e-12)
    assert score["rows"] == 300
    assert score["interval_95"][0] < expected < score["interval_95"][1]
    assert sum(fitted.shares.values()) == 300


@pytest.mark.parametrize(("kind", "folds"), [("prior", 2), ("weights", 5)])
def test_no_row_is_decided_by_what_saw_its_label(kind, folds, monkeypatch):
    nested = biased(300)
    nested = replace(nested, folds=nested.folds % folds)
    first = nested.folds == 0
    turned = np.where(first, (nested.labels + 1) % 3, nested.labels)
    (before, whole), (after, turned_whole) = (
        decided(replace(nested, labels=labels), kind, monkeypatch) for labels in (nested.labels, turned)
    )
    assert (whole[first] != turned_whole[first]).any()  # what saw the labels decides otherwise
    np.testing.assert_array_equal(before[first], after[first])
    assert (before[~first] != after[~first]).any()


def decided(nested, kind, monkeypatch):
    """Return the classes that the score of a decision counts, and those by the decision fitted on all rows."""
    seen = []

    def count(truth, predicted, classes):
        seen.append(predicted)
        return confusion(truth, predicted, classes)

    monkeypatch.setattr(metrics, "confusion", count)
    fitted = fit_decision(FittedEnsemble([], single(0, 1), nested, None), kind)
    return seen[-1], fitted.decision.apply(nested.probabilities)


def test_a_decision_that_helps_is_scored_as_one(capsys):
    nested = biased()
    fitted = fit_decision(FittedEnsemble([], single(0, 1), nested, None), "prior")
    assert "decision: prior" in capsys.readouterr().out
    before = f1_score(nested.labels, nested.probabilities.argmax(axis=1), average="macro")
    seen = f1_score(nested.labels, fitted.decision.apply(nested.probabilities), average="macro")
    assert before + 0.03 < fitted.score()["macro_f1"] <= seen + 0.005
