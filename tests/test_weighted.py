"""Weights by coordinate ascent: the line search against scikit-learn, and what it finds."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition.ensemble import weighted
from competition.ensemble.weighted import MOST_MEMBERS, fit_weighted, score_line
from tests.synthetic_members import make_stack


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classes", [2, 5, 12])
def test_the_line_search_counts_every_row(seed, classes):
    stack = make_stack(3, 150, classes, seed, (0.5, 2))
    shortlist, rows = stack.shortlist, np.flatnonzero(stack.folds != 0)
    totals, member = shortlist.values[rows, :, 0], shortlist.values[rows, :, 2]
    factors = np.array([0, 0.1, 0.35, 0.9, 2.5, 20.0])
    found = score_line(shortlist, rows, totals, member, factors)
    for factor, score in zip(factors.astype(np.float32), found, strict=True):
        predicted = (totals + factor * member).argmax(axis=1)
        expected = f1_score(
            stack.labels[rows], predicted, average="macro", labels=list(range(classes)), zero_division=0
        )
        assert score == pytest.approx(expected, abs=1e-12)


def score(stack, weights):
    predicted = np.tensordot(weights, stack.probabilities.astype(np.float64), 1).argmax(axis=1)
    return f1_score(stack.labels, predicted, average="macro")


def test_a_useless_member_gets_next_to_nothing():
    stack = make_stack(4, 800, 4, skill=(-1, 2))
    weights = fit_weighted(stack.shortlist, np.arange(800))
    assert weights.sum() == pytest.approx(1)
    assert (weights >= 0).all()
    assert weights[0] < 0.05
    assert score(stack, weights) > score(stack, np.full(4, 0.25)) + 0.02


def test_a_peak_of_one_grid_point_is_luck(monkeypatch):
    """Smoothed, 0.9 between two of 0.5 comes to 0.7, less than the broad 0.75 where the weights are."""

    def scores(*arguments):
        shares = arguments[-1] / (1 + arguments[-1])
        return np.where(np.isclose(shares, 0.04), 0.9, np.where(shares > 0.25, 0.75, 0.5))

    monkeypatch.setattr(weighted, "score_line", scores)
    assert fit_weighted(make_stack(2, 20, 3).shortlist, np.arange(20)).tolist() == [0.5, 0.5]


def test_no_more_than_so_many_members_are_weighted():
    stack = make_stack(MOST_MEMBERS + 10, 60, 3)
    assert len(np.flatnonzero(fit_weighted(stack.shortlist, np.arange(60)))) <= MOST_MEMBERS


def test_one_member_has_it_all():
    assert fit_weighted(make_stack(1, 20, 3).shortlist, np.arange(20)).tolist() == [1]
