"""Out-of-fold predictions joined by id and class name, and those that cannot be."""

import dataclasses

import numpy as np
import pytest

from competition.ensemble import stack as module
from competition.ensemble.stack import join_members, outer_folds, refuse_different_classes
from competition.errors import UserError
from competition.predictions import Predictions


def predictions(ids, labels, probabilities, names=("cat", "dog"), folds=None):
    return Predictions(
        np.array(list(ids)), names, np.array(probabilities, np.float32),
        None if labels is None else np.array([names.index(label) for label in labels]),
        None if folds is None else np.array(folds),
    )  # fmt: skip


FIRST = predictions("abc", ["cat", "dog", "dog"], [[0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], folds=[0, 1, 1])
# The same images and another, in another order, with the classes in another order.
SECOND = predictions("cdba", ["dog", "cat", "dog", "cat"], [[1, 0], [0, 1], [0.5, 0.5], [0, 1]], ("dog", "cat"))


def join(*members):
    return join_members([f"runs/{n}" for n in range(len(members))], [lambda m=m: m for m in members])


@pytest.mark.parametrize("keep_bytes", [0, 1 << 20])
def test_members_are_joined_by_id_and_class_name(monkeypatch, keep_bytes):
    monkeypatch.setattr(module, "KEEP_BYTES", keep_bytes)
    joined = join(FIRST, SECOND)
    assert isinstance(joined.probabilities, np.memmap) == (keep_bytes == 0)
    assert joined.image_ids.tolist() == ["a", "b", "c"]
    assert joined.class_names == ("cat", "dog")
    assert joined.labels.tolist() == [0, 1, 1]
    assert joined.folds.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(joined.probabilities[1], [[1, 0], [0.5, 0.5], [0, 1]])


def test_only_images_common_to_all_stay():
    joined = join(SECOND, FIRST, FIRST.rows(np.array([2, 0])))
    assert joined.image_ids.tolist() == ["a", "c"]
    np.testing.assert_array_equal(joined.probabilities[:, 1, 0], [1, 0.75, 0.75])  # image c, class dog


def test_no_common_image_is_refused():
    with pytest.raises(UserError, match="runs/1: no image of its out-of-fold predictions is common"):
        join(FIRST.rows(np.array([0])), SECOND.rows(np.array([0])))


def test_other_labels_are_refused_by_image():
    other = dataclasses.replace(SECOND, labels=np.array([0, 1, 1, 1]))
    with pytest.raises(UserError, match="runs/1 and runs/0 were trained with different labels for 1 images: b"):
        join(FIRST, other)


def test_predictions_without_labels_are_refused():
    with pytest.raises(UserError, match="runs/1: its out-of-fold predictions have no labels"):
        join(FIRST, dataclasses.replace(SECOND, labels=None))


def test_runs_with_other_classes_are_refused_by_name():
    refuse_different_classes(["a", "b"], [("cat", "dog"), ("dog", "cat")])
    with pytest.raises(UserError, match="only runs/b knows fox; only runs/a knows dog"):
        refuse_different_classes(["runs/a", "runs/b"], [("cat", "dog"), ("cat", "fox")])
    with pytest.raises(UserError, match="only runs/1 knows fox"):
        join(FIRST, predictions("a", ["fox"], [[1, 0]], ("fox", "cat")))


@pytest.mark.parametrize(
    ("folds", "expected"), [([4, 2, 2, 9], [1, 0, 0, 2]), ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 0, 1])]
)
def test_outer_folds_are_the_folds_merged(folds, expected):
    rows = len(folds)
    given = predictions([str(n) for n in range(rows)], ["cat"] * rows, np.ones((rows, 2)), folds=folds)
    assert outer_folds(given).tolist() == expected


@pytest.mark.parametrize("folds", [None, np.zeros(50, np.int64)])
def test_without_two_folds_they_are_dealt_by_id(folds):
    ids = np.array([f"{n}.png" for n in range(50)])
    given = Predictions(ids, ("cat", "dog"), np.ones((50, 2), np.float32), np.zeros(50, np.int64), folds)
    dealt = outer_folds(given)
    assert np.bincount(dealt).tolist() == [10] * 5
    order = np.random.default_rng(0).permutation(50)
    np.testing.assert_array_equal(outer_folds(given.rows(order)), dealt[order])
