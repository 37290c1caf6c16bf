"""Where a run errs, on tables small enough to check by hand."""

import numpy as np
import pytest

from competition.analysis import extras, mistakes
from competition.errors import UserError
from competition.predictions import Predictions


def predictions_of(probabilities, labels):
    probabilities = np.asarray(probabilities, np.float32)
    names = tuple("abcd"[: probabilities.shape[1]])
    ids = np.array([f"i{row}" for row in range(len(labels))])
    return Predictions(ids, names, probabilities, np.asarray(labels), np.zeros(len(labels), np.int64))


def test_classes_that_are_confused_come_to_lie_together():
    counts = np.array([[8, 0, 2, 0], [0, 7, 0, 3], [3, 0, 7, 0], [0, 2, 0, 8]])
    order = mistakes.similarity_order(counts)
    assert sorted(order) == [0, 1, 2, 3]
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}


@pytest.mark.parametrize("classes", [1, 2])
def test_few_classes_need_no_order(classes):
    assert mistakes.similarity_order(np.eye(classes, dtype=int)) == list(range(classes))


def test_confused_pairs_count_both_directions():
    counts = np.array([[5, 1, 0], [4, 9, 0], [2, 0, 7]])
    first, second = mistakes.confused_pairs(counts, limit=3)
    assert (first.first, first.second, first.first_as_second, first.second_as_first, first.images) == (0, 1, 1, 4, 5)
    assert (second.first, second.second, second.images) == (0, 2, 2)
    assert len(mistakes.confused_pairs(counts, limit=1)) == 1
    assert mistakes.confused_pairs(np.eye(3, dtype=int), limit=5) == []


def test_top_losses_are_wrong_ones_with_the_least_probability_of_their_label():
    found = predictions_of([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55]], [1, 1, 1, 0])
    assert mistakes.top_losses(found, limit=5) == [0, 1, 3]
    assert mistakes.top_losses(found, limit=1) == [0]
    assert mistakes.true_probabilities(found).tolist() == pytest.approx([0.1, 0.4, 0.8, 0.45])


def test_examples_are_of_the_asked_cell_the_surest_first():
    found = predictions_of([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]], [0, 0, 1, 1])
    assert mistakes.examples_of(found, 0, 0, limit=5) == [0, 1]
    assert mistakes.examples_of(found, 1, 0, limit=5) == [3]
    assert mistakes.examples_of(found, 0, 1, limit=5) == []


def test_planted_wrong_labels_are_found_and_a_class_without_images_does_no_harm():
    pytest.importorskip("cleanlab")
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 3], 40)
    probabilities = 0.02 + 0.05 * rng.random((120, 4))
    probabilities[np.arange(120), truth] = 0.9
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    labels = truth.copy()
    labels[[5, 50, 100]] = [1, 3, 0]
    assert set(mistakes.likely_wrong_labels(predictions_of(probabilities, labels))) == {5, 50, 100}


def test_without_cleanlab_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="cleanlab, which is not installed"):
        mistakes.likely_wrong_labels(predictions_of([[1, 0], [0, 1]], [0, 1]))
