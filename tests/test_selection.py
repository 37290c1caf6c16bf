"""Nested estimates that do not see what they are scored on, and the choice of the simplest."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition.ensemble import selection as module
from competition.ensemble.selection import METHODS, estimate, fit, select_ensemble
from tests.synthetic_members import make_stack


@pytest.mark.parametrize("method", METHODS)
def test_no_row_is_scored_by_what_saw_its_label(method):
    stack = make_stack(6, 100, 4)
    before = estimate(stack, method).probabilities
    labels = stack.labels.copy()
    first = stack.folds == 0
    labels[first] = np.random.default_rng(0).permutation(labels[first])
    after = estimate(dataclasses.replace(stack, labels=labels), method).probabilities
    np.testing.assert_array_equal(before[first], after[first])
    np.testing.assert_allclose(before.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_estimates_are_scikit_learns_macro_f1(method):
    stack = make_stack(4, 120, 5)
    found = estimate(stack, method)
    expected = f1_score(stack.labels, found.probabilities.argmax(axis=1), average="macro", zero_division=0)
    assert found.macro_f1 == pytest.approx(expected, abs=1e-12)
    assert found.interval.low < found.macro_f1 < found.interval.high


@pytest.mark.parametrize("method", ["best", "weighted", "stacked"])
def test_members_that_know_nothing_stay_at_chance(method):
    """Fitted on the rows it is scored on, the same method would look better than guessing."""
    stack = make_stack(12, 120, 4, skill=(0, 0))
    rows = np.arange(120)
    fitted = fit(stack, method, rows).apply(stack.probabilities).argmax(axis=1)
    nested = estimate(stack, method)
    assert nested.interval.low < 0.25
    assert f1_score(stack.labels, fitted, average="macro") > nested.macro_f1 + 0.03


def test_members_that_are_all_the_same_need_no_ensemble():
    stack = make_stack(1, 300, 4)
    same = dataclasses.replace(stack, names=("a", "b", "c"), probabilities=np.repeat(stack.probabilities, 3, axis=0))
    selection = select_ensemble(same, "auto")
    assert selection.combination.method == "best"
    assert [item.method for item in selection.estimates] == list(METHODS)


def test_members_that_differ_are_joined_and_the_gain_is_beyond_noise():
    stack = make_stack(5, 1500, 5, skill=(1.2, 1.3))
    selection = select_ensemble(stack, "auto")
    # They are equally good, so no weights beat equal ones.
    assert selection.combination.method in ("mean", "geometric", "rank")
    assert selection.chosen.macro_f1 > selection.estimates[0].macro_f1 + 0.05
    difference = selection.differences[0]
    assert difference.interval.high < 0
    assert difference.value == pytest.approx(selection.estimates[0].macro_f1 - selection.chosen.macro_f1)


def test_members_of_very_different_skill_need_weights():
    stack = make_stack(5, 800, 4, skill=(-1.5, 2))
    selection = select_ensemble(stack, "auto")
    assert selection.combination.method in ("weighted", "greedy", "stacked")
    assert selection.chosen.macro_f1 >= max(item.macro_f1 for item in selection.estimates) - 0.02


@pytest.mark.parametrize(("wobble", "method"), [(0.9, "geometric"), (1.1, "mean")])
def test_the_simplest_within_one_standard_error_of_the_best_is_chosen(wobble, method, monkeypatch):
    """The geometric mean scores best; the plain mean's difference to it varies by a multiple of itself."""
    stack = make_stack(3, 150, 3, seed=1, skill=(1.0, 1.6))
    methods = ("best", "mean", "geometric")
    scores = {name: estimate(stack, name).macro_f1 for name in methods}
    assert max(scores, key=scores.get) == "geometric"
    shortfall = scores["geometric"] - scores["mean"]
    assert shortfall > 0

    def draw(stack, estimates):
        draws = np.tile([item.macro_f1 for item in estimates], (2, 1))
        draws[:, methods.index("mean")] += [wobble * shortfall, -wobble * shortfall]
        return draws

    monkeypatch.setattr(module, "METHODS", methods)
    monkeypatch.setattr(module, "_draws", draw)
    assert select_ensemble(stack, "auto").combination.method == method


def test_a_method_asked_for_is_compared_with_the_best_member():
    selection = select_ensemble(make_stack(3, 90, 3), "geometric")
    assert [item.method for item in selection.estimates] == ["best", "geometric"]
    assert selection.combination.method == "geometric"
    np.testing.assert_allclose(selection.combination.weights, 1 / 3)
    assert selection.differences[1].value == 0
    assert selection.differences[1].standard_error == 0


def test_two_outer_folds_are_enough():
    selection = select_ensemble(make_stack(3, 90, 3, folds=2), "auto")
    assert selection.chosen.macro_f1 > 0.4
