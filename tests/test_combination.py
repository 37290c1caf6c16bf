"""A fitted ensemble applied: hand-worked values, ranks as scipy's, rows and blocks."""

import numpy as np
import pytest
from scipy.stats import rankdata

from competition.ensemble.combination import FLOOR, Combination, mean, single
from tests.synthetic_members import make_probabilities

TWO = np.array([[[0.2, 0.8]], [[0.6, 0.4]]], dtype=np.float32)


def test_mean_of_arrays():
    np.testing.assert_allclose(mean(list(TWO)), [[0.4, 0.6]], atol=1e-7)
    assert mean(list(TWO)).dtype == np.float32


@pytest.mark.parametrize(
    ("transform", "weights", "bias", "expected"),
    [
        ("probability", [0.5, 0.5], None, [0.4, 0.6]),
        ("probability", [3.0, 1.0], None, [0.3, 0.7]),
        ("probability", [0.0, 1.0], None, [0.6, 0.4]),
        # square roots of 0.12 and 0.32, over their sum
        ("log", [0.5, 0.5], None, [0.37979, 0.62021]),
        ("log", [1.0, 0.0], None, [0.2, 0.8]),
        ("log", [1.0, 0.0], [np.log(4), 0.0], [0.5, 0.5]),
        ("log", [1.0, -1.0], None, [1 / 7, 6 / 7]),
    ],
)
def test_weighted_sums(transform, weights, bias, expected):
    bias = None if bias is None else np.array(bias)
    combination = Combination("mean", transform, np.array(weights), bias)
    np.testing.assert_allclose(combination.apply(TWO), [expected], atol=1e-4)
    if bias is None and min(weights) == 0:
        np.testing.assert_array_equal(combination.of_used().apply(TWO[combination.used]), combination.apply(TWO))


def test_one_member_cannot_veto_a_class():
    members = np.array([[[0.0, 1.0]], [[1.0, 0.0]], [[1.0, 0.0]]], dtype=np.float16)
    found = Combination("geometric", "log", np.full(3, 1 / 3)).apply(members)
    assert found[0, 0] > 0.9
    assert found[0, 1] == pytest.approx(FLOOR ** (1 / 3) / (1 + FLOOR ** (1 / 3)), rel=0.1)


def test_ranks_are_scipys():
    members, _ = make_probabilities(3, 200, 40, seed=1)
    members[0, :50, 3] = members[0, 0, 3]  # ties share their mean rank
    weights = np.array([0.2, 0.3, 0.5])
    rows = np.arange(20, 180)
    ranks = sum(w * rankdata(m[rows], axis=0) for w, m in zip(weights, members.astype(float), strict=True)) / len(rows)
    expected = ranks / ranks.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(Combination("rank", "rank", weights).apply(members, rows), expected, rtol=1e-5)


@pytest.mark.parametrize("transform", ["probability", "log"])
def test_blocks_and_rows_do_not_matter(transform):
    members, _ = make_probabilities(4, 2500, 3)
    combination = Combination("mean", transform, np.array([0.1, 0.2, 0.3, 0.4]))
    whole = combination.apply(members)
    values = members.astype(np.float64)
    values = np.log(np.maximum(values, FLOOR)) if transform == "log" else values
    expected = np.tensordot(combination.weights, values, 1)
    expected = np.exp(expected) if transform == "log" else expected
    np.testing.assert_allclose(whole, expected / expected.sum(axis=1, keepdims=True), atol=1e-5)
    rows = np.random.default_rng(0).permutation(2500)[:1500]
    np.testing.assert_array_equal(combination.apply(members, rows), whole[rows])
    np.testing.assert_array_equal(combination.apply(members, np.arange(100, 1900)), whole[100:1900])
    assert combination.apply(members, np.arange(0)).shape == (0, 3)


def test_a_single_member_is_itself():
    members, _ = make_probabilities(3, 50, 4)
    np.testing.assert_allclose(single(1, 3).apply(members), members[1], atol=2e-3)
    assert single(1, 3).used.tolist() == [1]
