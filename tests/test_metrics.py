"""Macro F1 against hand-worked tables and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from competition import metrics


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([[5, 0], [0, 5]], 1.0),
        ([[0, 5], [5, 0]], 0.0),
        # class 0: 2*3/(4+4), class 1: 2*2/(3+3)
        ([[3, 1], [1, 2]], (6 / 8 + 4 / 6) / 2),
        # class 2 is neither true nor predicted: it counts as 0
        ([[4, 0, 0], [0, 4, 0], [0, 0, 0]], 2 / 3),
        # class 1 is predicted but never true
        ([[3, 1], [0, 0]], (6 / 7) / 2),
    ],
)
def test_hand_worked_tables(counts, expected):
    assert metrics.macro_f1(np.array(counts)) == pytest.approx(expected, abs=1e-15)


def test_equals_scikit_learn_to_the_last_bit():
    rng = np.random.default_rng(0)
    for _ in range(200):
        classes = int(rng.integers(2, 40))
        true, predicted = rng.integers(0, classes, (2, int(rng.integers(1, 300))))
        counts = metrics.confusion(true, predicted, classes)
        labels = list(range(classes))
        assert metrics.macro_f1(counts) == f1_score(true, predicted, average="macro", labels=labels, zero_division=0)
        assert metrics.accuracy(counts) == pytest.approx(accuracy_score(true, predicted))


def test_confusion_counts_rows_as_truth():
    counts = metrics.confusion(np.array([0, 0, 1, 2]), np.array([0, 1, 1, 0]), 3)
    assert counts.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 0]]


def test_the_interval_has_the_width_that_chance_gives():
    # One fixed model on many test sets of 500 rows: the spread of its scores is what the interval must show.
    rng = np.random.default_rng(1)
    cells = rng.dirichlet(np.full(10, 0.3), size=10) * 0.3 + 0.7 * np.eye(10)
    cells /= cells.sum()
    scores = [metrics.macro_f1(rng.multinomial(500, cells.ravel()).reshape(10, 10)) for _ in range(1000)]
    low, high = np.percentile(scores, [2.5, 97.5])
    widths = []
    for seed in range(20):
        interval = metrics.bootstrap_interval(rng.multinomial(500, cells.ravel()).reshape(10, 10), 400, seed)
        widths.append(interval.high - interval.low)
    assert np.mean(widths) == pytest.approx(high - low, rel=0.15)


def test_the_interval_of_a_perfect_score_is_a_point():
    interval = metrics.bootstrap_interval(np.diag([10, 20]), 50)
    assert (interval.low, interval.high) == (1.0, 1.0)


def test_summary_names_each_class():
    score = metrics.summary(np.array([[3, 1], [1, 2]]), ["cat", "dog"])
    assert score["per_class"]["cat"] == {"f1": 0.75, "precision": 0.75, "recall": 0.75, "rows": 4}
    assert score["rows"] == 7
