"""Greedy selection against a reference that tries everything, one metric call at a time."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition.ensemble.greedy import MOST_MEMBERS, STEPS, WHOLE, bags_of, fit_greedy, lead, select
from tests.synthetic_members import make_stack


def macro_f1(stack, rows, total):
    labels = list(range(len(stack.class_names)))
    predicted = total.argmax(axis=1)
    return f1_score(stack.labels[rows], predicted, average="macro", labels=labels, zero_division=0)


def brute_force(stack, rows, members, steps):
    """Caruana's loop as written: every member at every step, scored by scikit-learn on every class."""
    values = stack.probabilities[:, rows].astype(np.float32)
    total, picks, best = np.zeros_like(values[0]), [], (-1.0, 0)
    for length in range(1, steps + 1):
        scores = [macro_f1(stack, rows, total + values[member]) for member in members]
        picks.append(members[int(np.argmax(scores))])
        total = total + values[picks[-1]]
        if max(scores) > best[0] + 1e-12:
            best = (max(scores), length)
    return np.bincount(picks[: best[1]], minlength=len(values)) / best[1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("members", "classes", "skill"), [(4, 3, (0.5, 1.5)), (7, 6, (1, 2)), (5, 12, (2, 6))])
def test_up_to_twelve_classes_it_is_the_exact_greedy(seed, members, classes, skill):
    stack = make_stack(members, 90, classes, seed, skill)
    rows = np.flatnonzero(stack.folds != 1)
    chosen = np.arange(members)
    found = select(stack.shortlist, rows, chosen, steps=8)
    np.testing.assert_allclose(found, brute_force(stack, rows, chosen.tolist(), 8), atol=1e-12)


def test_of_many_classes_it_scores_like_the_exact_greedy():
    differences = []
    for seed in range(4):
        stack = make_stack(6, 250, 26, seed, (1.5, 3))
        rows, values = np.arange(250), stack.probabilities.astype(np.float32)
        found = select(stack.shortlist, rows, np.arange(6), steps=6)
        exact = brute_force(stack, rows, list(range(6)), 6)
        scores = [macro_f1(stack, rows, np.tensordot(weights, values, 1)) for weights in (found, exact)]
        differences.append(scores[0] - scores[1])
    assert np.mean(differences) > -0.005
    assert min(differences) > -0.02


def test_only_the_bags_members_are_picked():
    stack = make_stack(8, 100, 3)
    found = select(stack.shortlist, np.arange(100), np.array([1, 6]))
    assert set(np.flatnonzero(found)) <= {1, 6}
    assert found.sum() == pytest.approx(1)


def test_weights_add_up_and_leave_out_what_does_not_help():
    stack = make_stack(8, 600, 4, skill=(-1, 2))
    weights = fit_greedy(stack.shortlist, np.arange(600))
    assert weights.sum() == pytest.approx(1)
    assert weights[:2].sum() < 0.05  # these two are worse than guessing
    np.testing.assert_array_equal(weights, fit_greedy(stack.shortlist, np.arange(600)))


def test_bags_are_halves_and_small_libraries_stay_whole():
    assert [bag.tolist() for bag in bags_of(WHOLE)] == [list(range(WHOLE))]
    bags = bags_of(20)
    assert {len(bag) for bag in bags} == {10}
    assert len({tuple(bag) for bag in bags}) == len(bags) > 1
    assert {len(bag) for bag in bags_of(6)} == {WHOLE}


def test_a_large_library_is_cut_to_its_best():
    stack = make_stack(MOST_MEMBERS + 20, 60, 3, skill=(-2, 2))
    weights = fit_greedy(stack.shortlist, np.arange(60))
    assert len(weights) == MOST_MEMBERS + 20
    assert not weights[:5].any()
    assert len(np.flatnonzero(weights)) <= STEPS * 5


def test_lead():
    np.testing.assert_allclose(lead(np.array([[0.5, 2.0, 1.25], [1.0, 1.0, 0.0]], np.float32)), [0.75, 0])
