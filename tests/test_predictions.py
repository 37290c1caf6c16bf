"""Predictions are joined by id and class name."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from competition.errors import UserError
from competition.predictions import Predictions, align, load_predictions, pool, save_csv, save_predictions


def predictions(ids, first, fold=0, names=("cat", "dog"), labels=None):
    probabilities = np.array([[p, 1 - p] for p in first], dtype=np.float32)
    return Predictions(np.array(ids), names, probabilities, np.array(labels or [0] * len(ids)), np.full(len(ids), fold))


def test_round_trip(tmp_path):
    saved = predictions(["b", "a"], [0.25, 0.75], fold=3)
    save_predictions(tmp_path / "p.npz", saved)
    loaded = load_predictions(tmp_path / "p.npz")
    assert (loaded.class_names, loaded.weights) == (saved.class_names, None)
    for name in ("image_ids", "probabilities", "labels", "folds"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(saved, name))


def test_the_hash_of_the_weights_is_kept(tmp_path):
    save_predictions(tmp_path / "p.npz", replace(predictions(["b"], [0.25]), weights="abc"))
    assert load_predictions(tmp_path / "p.npz").weights == "abc"


def test_csv_has_readable_columns(tmp_path):
    save_csv(tmp_path / "p.csv", predictions(["b"], [0.25], labels=[1]))
    table = pd.read_csv(tmp_path / "p.csv")
    assert table.to_dict("records") == [
        {"image_id": "b", "fold": 0, "label": "dog", "predicted": "dog", "p_cat": 0.25, "p_dog": 0.75}
    ]


def test_csv_quotes_what_needs_it_and_keeps_six_digits(tmp_path, monkeypatch):
    monkeypatch.setattr("competition.predictions.CSV_ROWS", 1)
    saved = predictions(['a "1", b.png', "猫\n.png", "c"], [1 / 3, 1e-7, 1], labels=[1, 1, 0], names=("a,b", "dög"))
    save_csv(tmp_path / "p.csv", saved)
    assert (tmp_path / "p.csv").read_bytes().decode() == (
        'image_id,fold,label,predicted,"p_a,b",p_dög\n'
        '"a ""1"", b.png",0,dög,dög,0.333333,0.666667\n'
        '"猫\n.png",0,dög,dög,1e-07,1\n'
        'c,0,"a,b","a,b",1,0\n'
    )


def test_pooling_orders_by_id_and_averages_repeats():
    pooled = pool([predictions(["c", "a"], [0.5, 1.0]), predictions(["b"], [0.0], 1), predictions(["a"], [0.5], 2)])
    assert pooled.image_ids.tolist() == ["a", "b", "c"]
    assert pooled.probabilities[:, 0].tolist() == [0.75, 0.0, 0.5]
    assert pooled.folds.tolist() == [0, 1, 0]  # of a repeated image, that of the first deal


def test_pooling_refuses_other_classes():
    with pytest.raises(UserError, match="different classes: dog, fox"):
        pool([predictions(["a"], [1]), predictions(["b"], [1], names=("cat", "fox"))])


def test_align_finds_rows_by_id():
    rows = align(predictions(["c", "a", "b"], [0.3, 0.1, 0.2]), np.array(["b", "a", "c"]))
    assert rows.image_ids.tolist() == ["b", "a", "c"]
    assert rows.probabilities[:, 0].tolist() == pytest.approx([0.2, 0.1, 0.3])
    with pytest.raises(UserError, match="1 images have no prediction: z"):
        align(rows, np.array(["a", "z"]))


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04broken"])
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(
        UserError, match=r"is not a predictions file \(no .npz, or one .*: remove it and give the command"
    ):
        load_predictions(tmp_path / "p.npz")
    (tmp_path / "truth.csv").write_bytes(content)  # the user's own: nothing to remove
    with pytest.raises(UserError, match=r"truth.csv is not a predictions file .*: name a run, or the .npz of one"):
        load_predictions(tmp_path / "truth.csv")


def test_a_pickle_inside_is_refused(tmp_path):
    np.savez(tmp_path / "p.npz", image_ids=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UserError, match="is not a predictions file"):
        load_predictions(tmp_path / "p.npz")
