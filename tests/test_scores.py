"""The baseline, comparisons and the table of classes."""

import numpy as np
import pandas as pd
import pytest

from competition.analysis.scores import baseline_f1, class_rows, compare, per_fold
from competition.predictions import Predictions


def predictions_of(ids, answers, labels, names=("a", "b"), folds=None):
    probabilities = np.full((len(ids), len(names)), 0.1, np.float32)
    probabilities[np.arange(len(ids)), answers] = 0.9
    folds = np.zeros(len(ids), np.int64) if folds is None else np.asarray(folds)
    return Predictions(np.asarray(ids), names, probabilities, np.asarray(labels), folds)


def test_each_class_names_what_it_is_taken_for():
    rows = class_rows(np.array([[3, 1, 2], [0, 4, 0], [0, 0, 5]]), ["a", "b", "c"])
    assert (rows[0]["class"], rows[0]["taken_for"], rows[0]["times"], rows[0]["rows"]) == ("a", "c", 2, 6)
    assert rows[0]["f1"] == pytest.approx(2 * 3 / (6 + 3))
    assert "taken_for" not in rows[1]


def test_each_fold_is_scored_alone():
    found = predictions_of(["p", "q", "r", "s"], [0, 1, 0, 0], [0, 1, 0, 1], folds=[0, 0, 1, 1])
    assert per_fold(found) == {"0": 1.0, "1": pytest.approx(1 / 3)}


def test_runs_are_compared_on_shared_images_by_id_and_class_name():
    labels = [0, 1] * 20
    ids = [f"i{number:02}" for number in range(40)]
    first = predictions_of(ids, [0] * 40, labels)
    # The other run lists its classes and images in another order, knows one image more, and is always right.
    other = predictions_of([*ids[::-1], "x"], [*labels, 0], [*labels, 0], names=("b", "a"))
    found = compare(first, other)
    assert found.images == 40
    assert found.macro_f1 == 1.0
    assert found.gain == pytest.approx(1 - 1 / 3)
    assert 0 < found.interval.low <= found.gain <= found.interval.high


def test_a_run_compared_with_itself_gains_nothing_and_strangers_are_not_compared():
    first = predictions_of(["p", "q"], [0, 0], [0, 1])
    found = compare(first, first)
    assert (found.gain, found.interval.low, found.interval.high) == (0, 0, 0)
    assert compare(first, predictions_of(["y", "z"], [0, 0], [0, 1])) is None


def test_the_baseline_reads_colours_and_nothing_of_its_own_fold():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    thumbnails = rng.integers(0, 100, (60, 64, 3), dtype=np.uint8)
    thumbnails[labels == 1, :, 0] += 100
    facts = pd.DataFrame({"thumbnail": [row.tobytes() for row in thumbnails]})
    assert baseline_f1(facts, labels, np.arange(60) % 3, 2) == 1.0
    assert baseline_f1(facts, rng.permutation(labels), np.arange(60) % 3, 2) < 0.75
    assert baseline_f1(facts, labels, np.zeros(60, int), 2) is None
