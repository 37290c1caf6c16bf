"""Curves over the folds, and overfitting named in words."""

from types import SimpleNamespace

import numpy as np
import pytest

from competition.analysis import learning, predicting
from competition.analysis.learning import Curve, Fit, curve, describe_learning, rise_at_the_end

NOTHING = Curve("valid_loss", [], [], [], [])


def test_curves_join_folds_and_the_last_record_of_an_epoch_counts():
    histories = {
        0: [{"epoch": 1, "macro_f1": 0.2}, {"epoch": 2, "train_loss": 1.0}, {"epoch": 2, "macro_f1": 0.4}],
        1: [{"epoch": 1, "macro_f1": 0.4}, {"epoch": 2, "macro_f1": 0.5}, {"epoch": 2, "macro_f1": 0.6}],
    }
    found = curve(histories, "macro_f1")
    assert found.epochs == [1, 2]
    assert found.mean == pytest.approx([0.3, 0.5])
    assert found.low == [0.2, 0.4]
    assert found.high == [0.4, 0.6]
    assert curve(histories, "valid_loss") == NOTHING


@pytest.mark.parametrize(
    ("fit", "word"),
    [
        (Fit(9, 0.99, 0.6), "It overfits"),
        (Fit(9, 0.6, 0.58), "It underfits"),
        (Fit(9, 0.84, 0.4), "It overfits"),  # whatever it has not learned yet
        (Fit(9, 0.9, 0.85), "It fits well"),
    ],
)
def test_fit_in_words(fit, word):
    (said,) = describe_learning(fit, NOTHING, NOTHING, None)
    assert said.startswith(word)
    assert f"{fit.seen:.3f}" in said
    assert f"{fit.held_out:.3f}" in said


def test_a_rising_loss_and_a_rising_score_are_named():
    loss = Curve("valid_loss", [1, 2, 3], [1.0, 0.8, 0.9], [], [])
    score = Curve("macro_f1", [1, 2, 3], [0.3, 0.5, 0.55], [], [])
    said = describe_learning(None, loss, score, rise_at_the_end(score, None))
    assert "lowest at epoch 2 (0.800) and has risen to 0.900" in said[0]
    assert "by 0.050 since epoch 2" in said[1]
    assert describe_learning(None, Curve("valid_loss", [1, 2], [0.8, 0.82], [], []), NOTHING, None) == []


def test_a_training_that_stopped_for_want_of_gain_did_not_rise_at_its_end():
    score = Curve("macro_f1", [1, 2], [0.3, 0.5], [], [])
    assert rise_at_the_end(score, None) == pytest.approx(0.2)
    assert rise_at_the_end(score, 3) is None
    assert rise_at_the_end(Curve("macro_f1", [1, 2], [0.3, 0.305], [], []), None) is None
    assert rise_at_the_end(NOTHING, None) is None


def test_what_a_later_repeat_held_out_was_seen_by_the_first(monkeypatch):
    """Folds 0 and 1 of three, and fold 3, the first of the second repeat, are finished."""
    asked = {}
    monkeypatch.setattr(
        predicting, "predict_rows", lambda source, fold, rows, _: asked.update({fold: rows}) or np.eye(2)[rows]
    )
    member = SimpleNamespace(settings=SimpleNamespace(folds=3))
    source = SimpleNamespace(
        folds_with_weights=lambda: [0, 1, 3],
        member=member,
        folds=np.array([0, 1, 3]),
        rows=np.array([0, 1, 1]),
        labels=np.array([0, 1, 1]),
        class_names=("a", "b"),
    )
    fit = learning.measure_fit(source, np.arange(3), np.full((3, 2), 0.5, np.float32))
    assert {fold: rows.tolist() for fold, rows in asked.items()} == {1: [0], 0: [1, 1]}
    assert (fit.images, fit.seen) == (3, 1.0)
