"""Predicted shares against out-of-fold ones: silent under chance, loud when rows moved, never for a trifle."""

import numpy as np
import pytest

from competition.shares import share_problems, share_shift


def drawn(shares, rows, seed):
    return np.random.default_rng(seed).multinomial(rows, shares)


@pytest.mark.parametrize(("classes", "rows"), [(3, 60), (10, 300), (100, 300), (100, 5000)])
def test_shares_that_differ_by_chance_are_not_told(classes, rows):
    """The rule is kept by fewer than 1 in 1,000 such pairs; none of 40 should fail it."""
    shares = np.random.default_rng(classes).dirichlet(np.full(classes, 3.0))
    chances = [share_shift(drawn(shares, rows, s), drawn(shares, 2 * rows, 999 + s))[1] for s in range(40)]
    assert min(chances) > 0.001
    assert 0.3 < np.mean(chances) < 0.7  # a p-value is uniform under chance


def test_a_difference_that_is_sure_but_small_is_not_told():
    moved, chance = share_shift(np.array([51500, 48500]), np.array([50000, 50000]))
    assert chance < 0.001
    assert 0 < moved < 0.05
    assert share_problems(["a"] * 51500 + ["b"] * 48500, ["a", "b"], {"a": 50000, "b": 50000}) == []


def test_a_difference_that_is_large_but_may_be_chance_is_not_told():
    assert share_shift(np.array([8, 2]), np.array([50, 50]))[0] > 0.05
    assert share_problems(["a"] * 8 + ["b"] * 2, ["a", "b"], {"a": 50, "b": 50}) == []


def test_what_moved_is_named_most_first():
    (problem,) = share_problems(["a"] * 200 + ["b"] * 100, ["a", "b", "c"], {"a": 200, "b": 200, "c": 200})
    assert problem.severity == "warning"
    assert problem.rows == ["'a' 33.3% -> 66.7%", "'c' 33.3% -> 0.0%"]


def test_without_counts_only_a_collapse_is_seen():
    assert share_problems(["a"] * 99 + ["b"], ["a", "b"], None) == []
    assert share_problems(["a"] * 100, ["a"], None) == []  # there is only one class to predict
    (problem,) = share_problems(["a"] * 100, ["a", "b"], {})
    assert (problem.kind, problem.severity) == ("one class only", "error")


def test_the_same_counts_give_the_same_answer():
    assert share_shift(np.array([5, 9]), np.array([8, 7])) == share_shift(np.array([5, 9]), np.array([8, 7]))
