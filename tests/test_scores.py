"""The baseline, the folds and the table of classes."""

import numpy as np
import pandas as pd
import pytest

from competition.analysis.scores import baseline_f1, class_rows, per_fold
from competition.predictions import Predictions, save_predictions


def test_each_class_names_what_it_is_taken_for():
    rows = class_rows(np.array([[3, 1, 2], [0, 4, 0], [0, 0, 5]]), ["a", "b", "c"])
    assert (rows[0]["class"], rows[0]["taken_for"], rows[0]["times"], rows[0]["rows"]) == ("a", "c", 2, 6)
    assert rows[0]["f1"] == pytest.approx(2 * 3 / (6 + 3))
    assert "taken_for" not in rows[1]


def test_each_fold_is_scored_by_its_own_network(tmp_path):
    """With repeats two networks predict an image; the pooled predictions are their mean."""
    ids = np.asarray(["p", "q"])
    for fold, sure in ((0, [[0.9, 0.1], [0.1, 0.9]]), (2, [[0.4, 0.6], [0.1, 0.9]])):
        found = Predictions(ids, ("a", "b"), np.array(sure, np.float32), np.array([0, 1]), np.full(2, fold))
        (tmp_path / str(fold)).mkdir()
        save_predictions(tmp_path / str(fold) / "predictions.npz", found)
    assert per_fold({0: tmp_path / "0", 2: tmp_path / "2"}) == {"0": 1.0, "2": pytest.approx(1 / 3)}


def test_the_baseline_reads_colours_and_nothing_of_its_own_fold():
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    thumbnails = rng.integers(0, 100, (60, 64, 3), dtype=np.uint8)
    thumbnails[labels == 1, :, 0] += 100
    facts = pd.DataFrame({"thumbnail": [row.tobytes() for row in thumbnails]})
    assert baseline_f1(facts, labels, np.arange(60) % 3, 2) == 1.0
    assert baseline_f1(facts, rng.permutation(labels), np.arange(60) % 3, 2) < 0.75
    assert baseline_f1(facts, labels, np.zeros(60, int), 2) is None
    few = np.array([0, 1, 20, 21])  # of two classes, two images to fit on
    assert baseline_f1(facts.iloc[few], labels[few], np.array([0, 0, 1, 1]), 2) is None
