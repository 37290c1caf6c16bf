"""The few classes that can win, and counts against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition.ensemble.shortlist import CELLS, KEPT_CLASSES, best_of, best_singles
from tests.synthetic_members import make_stack


@pytest.mark.parametrize(("classes", "rows"), [(2, 40), (4, 60), (12, 300), (3, 2 * CELLS // 5)])
def test_counts_give_scikit_learns_macro_f1(classes, rows):
    stack = make_stack(5, rows, classes)
    shortlist = stack.shortlist
    assert shortlist.classes.shape == (rows, classes)  # up to twelve classes all are kept
    which = np.random.default_rng(1).permutation(rows)[: rows * 3 // 4]
    totals = shortlist.values[which, :, 2]
    scores = shortlist.count_each(which, totals).macro_f1(shortlist.true_counts(which))
    for member, score in enumerate(scores):
        both = stack.probabilities[2].astype(np.float32) + stack.probabilities[member].astype(np.float32)
        predicted = both[which].argmax(axis=1)
        expected = f1_score(
            stack.labels[which], predicted, average="macro", labels=list(range(classes)), zero_division=0
        )
        assert score == pytest.approx(expected, abs=1e-12)


def test_of_many_classes_those_that_win_are_kept():
    stack = make_stack(6, 500, 26, skill=(2, 4))
    shortlist = stack.shortlist
    assert shortlist.classes.shape == (500, KEPT_CLASSES)
    assert (np.diff(shortlist.classes) > 0).all()
    weights = np.random.default_rng(0).dirichlet(np.ones(6)).astype(np.float32)
    full = np.tensordot(weights, stack.probabilities.astype(np.float32), 1).argmax(axis=1)
    short = shortlist.winners(np.arange(500), shortlist.values @ weights)
    assert (full == short).mean() > 0.995


def test_the_shortlist_does_not_look_at_the_labels():
    stack = make_stack(3, 50, 26)
    before = stack.shortlist
    other = type(stack)(
        stack.names, stack.class_names, stack.image_ids, (stack.labels + 1) % 26, stack.folds, stack.probabilities
    )
    np.testing.assert_array_equal(other.shortlist.classes, before.classes)


def test_equal_values_go_to_the_lower_number():
    classes = np.array([[3, 5, 9]])
    additions = np.array([[[0.5, 0.0, 0.1], [0.5, 0.5, 0.2], [0.5, 0.5, 0.3]]], np.float32)
    assert best_of(classes, np.zeros((1, 3), np.float32), additions).tolist() == [[3, 5, 9]]


def test_the_best_singles_come_first():
    stack = make_stack(5, 2000, 4, skill=(0.5, 3))
    assert best_singles(stack.shortlist, np.arange(2000), 3).tolist() == [4, 3, 2]
