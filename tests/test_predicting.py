"""Probabilities of chosen pictures: those of training, by the right fold, changed or not."""

import numpy as np
import pytest
import torch

from competition.analysis.predicting import Changed, predict_held_out, predict_rows, sample_f1, sample_of
from competition.analysis.settings import ReportSettings
from competition.analysis.source import open_source
from competition.errors import UserError
from tests.finished_run import CLASSES, finished_run  # noqa: F401


@pytest.fixture
def source(finished_run):  # noqa: F811
    run, (_, cache) = finished_run
    return open_source(ReportSettings(cache_dir=cache), str(run), torch.device("cpu"))


TOLERANCE = 1e-3 if torch.cuda.is_available() else 1e-5  # a GPU trains and predicts in TF32


def test_held_out_predictions_are_those_of_the_run(source):
    which = np.arange(len(source.predictions.image_ids))
    found = predict_held_out(source, which)
    np.testing.assert_allclose(found, source.predictions.probabilities, atol=TOLERANCE)
    np.testing.assert_allclose(predict_held_out(source, which[::-3]), found[::-3], atol=1e-5)


def test_rows_belong_to_their_ids(source):
    table = source.catalog.table
    assert table["image_id"].to_numpy()[source.rows].tolist() == source.predictions.image_ids.tolist()
    assert [CLASSES[number] for number in source.labels] == table["label"].to_numpy()[source.rows].tolist()


def test_a_change_reaches_the_network(source):
    black = predict_rows(source, 0, source.rows[:4], lambda picture, row: np.zeros_like(picture))
    assert np.abs(black - black[0]).max() < 1e-6
    assert np.abs(predict_rows(source, 0, source.rows[:4]) - black).max() > 1e-3


def test_a_changed_store_leaves_the_store_alone(source):
    before = source.pictures(source.rows[:2])
    seen = []
    changed = Changed(source.store, lambda picture, row: (seen.append(row), 255 - picture)[1])
    assert (changed.gather(source.rows[:2]) == 255 - before).all()
    assert seen == source.rows[:2].tolist()
    assert (source.pictures(source.rows[:2]) == before).all()


def test_a_sample_holds_every_class_evenly(source):
    assert len(sample_of(source, 1000)) == 42
    some = sample_of(source, 12)
    assert len(set(some.tolist())) == 12
    assert np.bincount(source.labels[some]).tolist() == [4, 4, 4]


def test_classes_without_an_image_in_a_sample_count_nowhere():
    probabilities = np.eye(4, dtype=np.float32)[[0, 0, 1, 3]]
    # Class 0: 2 of 2; class 1: one right, one taken for class 3; class 2 and 3 have no image.
    assert sample_f1(np.array([0, 0, 1, 1]), probabilities) == pytest.approx((1 + 2 / 3) / 2)


def test_an_unknown_fold_is_refused(source):
    with pytest.raises(UserError, match="no finished fold 5; finished: 0, 1"):
        source.open_network(5)
