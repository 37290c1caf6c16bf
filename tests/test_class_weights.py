"""Coordinate ascent on counts finds what trying every threshold with scikit-learn's metric finds."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition.class_weights import LIMIT, ascend


def score(scores, labels, weights):
    predicted = (scores + weights.astype(np.float32)).argmax(axis=1)
    return f1_score(labels, predicted, average="macro", labels=list(range(scores.shape[1])), zero_division=0)


def problem(seed, rows=60, classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, rows)
    scores = rng.normal(0, 0.5, (rows, classes)) + 0.5 * np.eye(classes)[labels] + rng.normal(0, 0.4, classes)
    return scores.astype(np.float32), labels


def best_single_move(scores, labels, weights, start):
    """Try, for every class, a weight between each two rows that change hands."""
    best = 0.0
    for k in range(scores.shape[1]):
        others = np.delete(scores + weights, k, axis=1).max(axis=1)
        thresholds = np.sort(others - scores[:, k])
        for weight in (thresholds[1:] + thresholds[:-1]) / 2:
            if abs(weight - start[k]) < LIMIT:
                best = max(best, score(scores, labels, np.where(np.arange(len(weights)) == k, weight, weights)))
    return best


@pytest.mark.parametrize("seed", range(4))
def test_at_the_top_no_single_weight_gains_anything(seed):
    scores, labels = problem(seed)
    start = np.zeros(4)
    weights = ascend(scores, labels, start, caution=0)
    found = score(scores, labels, weights)
    assert found > score(scores, labels, start) + 0.01
    assert best_single_move(scores, labels, weights, start) <= found + 1e-12


def test_a_hand_worked_step():
    # Argmax says 0 everywhere: F1 is 2*3/(3+6) and 0. Raising class 1 past 0.4 takes three rows that are right, which
    # makes both 1; the path to there is all gain.
    scores = np.array([[0, -0.1], [0, -0.2], [0, -0.4], [0, -2], [0, -3], [0, -4]], np.float32)
    weights = ascend(scores, np.array([1, 1, 1, 0, 0, 0]), np.zeros(2))
    assert (scores + weights).argmax(axis=1).tolist() == [1, 1, 1, 0, 0, 0]


def test_one_lucky_row_moves_nothing():
    scores = np.array([[0, -0.1], [0, -2], [0, -3], [-3, 0], [-2, 0]], np.float32)
    labels = np.array([1, 0, 0, 1, 1])
    assert ascend(scores, labels, np.zeros(2)).tolist() == [0, 0]
    assert (scores + ascend(scores, labels, np.zeros(2), caution=0)).argmax(axis=1).tolist() == labels.tolist()


def test_rows_that_are_equal_move_together():
    # Of four equal rows of class 0 and 1 none can be had alone; to take all gains nothing.
    scores = np.array([[0, -0.1]] * 4 + [[0, -3]] * 4 + [[-3, 0]] * 4, np.float32)
    labels = np.array([1, 0, 0, 0] + [0] * 4 + [1] * 4)
    assert ascend(scores, labels, np.zeros(2), caution=0).tolist() == [0, 0]


def test_a_class_without_rows_stays_out():
    scores, labels = problem(0)
    wide = np.column_stack([scores, np.full(len(scores), -16, np.float32)])
    weights = ascend(wide, labels, np.zeros(5), caution=0)
    assert np.isfinite(weights).all()
    assert not ((wide + weights).argmax(axis=1) == 4).any()


def test_no_weight_goes_past_the_limit():
    # Class 1 would gain from any weight above 5.
    scores = np.array([[0, -5]] * 30 + [[0, -9]] * 30, np.float32)
    labels = np.repeat([1, 0], 30)
    weights = ascend(scores, labels, np.zeros(2), caution=0)
    assert np.abs(weights).max() <= LIMIT + 1e-9
    far = ascend(scores, labels, np.array([0, 4.0]), caution=0)
    assert (scores + far).argmax(axis=1).tolist() == labels.tolist()
