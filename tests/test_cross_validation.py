"""The steps of train.py that decide something: folder identity, fold table names, pooled scores."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from competition.config import TrainSettings
from competition.errors import UserError
from competition.predictions import load_predictions
from competition.training import cross_validation as steps
from competition.training.rates import weight_decay


def test_a_folder_keeps_its_identity(tmp_path):
    settings, identity = TrainSettings(), {"epochs": 3, "fold_hash": "a", "class_names": []}
    steps.claim_folder(tmp_path / "run", settings, identity, {"data": "here"})
    steps.claim_folder(tmp_path / "run", settings, identity, {"data": "elsewhere"})  # moved, not changed
    with pytest.raises(UserError) as refusal:
        steps.claim_folder(tmp_path / "run", settings, {**identity, "fold_hash": "b"}, {})
    assert "fold_hash: 'a' then, 'b' now" in str(refusal.value)
    assert "epochs" not in str(refusal.value)


def test_folds_without_a_run_are_not_taken_over(tmp_path):
    (tmp_path / "run" / "fold_0").mkdir(parents=True)
    with pytest.raises(UserError, match="holds folds but no run.json"):
        steps.claim_folder(tmp_path / "run", TrainSettings(), {}, {})


def test_what_auto_stands_for_is_the_same_run_when_it_is_given():
    data = SimpleNamespace(class_names=("cat",), image_ids=["a"])
    material = SimpleNamespace(data=data, images_hash="i", fold_hash="f")
    spelled_out = TrainSettings(learning_rate=5e-3, weight_decay=weight_decay(TrainSettings(), images=1))
    open_, given = (
        steps.identity_of(settings, material, SimpleNamespace(image_size=32))
        for settings in (TrainSettings(), spelled_out)
    )
    assert open_ == given


def test_the_description_names_the_interval_and_a_picked_epoch():
    score = {"macro_f1": 0.5, "interval_95": [0.4, 0.6], "accuracy": 0.55, "per_fold": {"0": 0.5}, "warning": "picked"}
    text = steps.describe({**score, "holdout": {"macro_f1": 0.7, "interval_95": [0.6, 0.8]}})
    assert "out-of-fold macro F1 0.5000, 95 % interval [0.400, 0.600]" in text
    assert "holdout macro F1 0.7000" in text
    assert "note: picked" in text
    assert np.char.count(text, "\n") == 3


@pytest.mark.parametrize(
    ("count", "what"), [("copies", "exact copies of training images"), ("group_mates", "in groups of the training")]
)
def test_the_description_says_what_flatters_the_holdout(count, what):
    score = {"macro_f1": 0.5, "interval_95": [0.4, 0.6], "accuracy": 0.55, "per_fold": {"0": 0.5}}
    holdout = {"macro_f1": 0.7, "interval_95": [0.6, 0.8], "rows": 20}
    text = steps.describe({**score, "holdout": {**holdout, count: 3}})
    assert f"note: 3 of 20 images held out are {what}: that is flattered" in text
    assert "note" not in steps.describe({**score, "holdout": {**holdout, count: 0}})


def test_which_folds_a_command_trained_is_no_setting_of_the_run(tmp_path):
    steps.claim_folder(tmp_path / "run", TrainSettings(only_folds="0"), {"class_names": []}, {})
    assert yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())["only_folds"] is None


def test_the_holdout_is_scored_by_the_mean_of_all_folds(tmp_path, monkeypatch):
    answers = {"fold_0": [[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], "fold_1": [[0.7, 0.3], [0.2, 0.8], [0.1, 0.9]]}

    def open_checkpoint(folder):
        found = np.array(answers[folder.name], np.float32)
        return None, SimpleNamespace(predict=lambda *_: found)

    monkeypatch.setattr(steps, "open_checkpoint", open_checkpoint)
    table = pd.DataFrame({"image_id": list("xyz"), "label": ["cat", "dog", "dog"], "row": [2, 3, 4]})
    splits = {"val": table.assign(group=["p", "r", None]), "train": pd.DataFrame({"group": ["p", None]})}
    store = SimpleNamespace(facts=pd.DataFrame({"pixel_hash": np.array([5, 6, 7, 8, 6], np.uint64)}))
    run = SimpleNamespace(
        folder=tmp_path,
        settings=TrainSettings(folds=2),
        material=SimpleNamespace(images=SimpleNamespace(of=splits.get, store=store)),
        data=SimpleNamespace(class_names=("cat", "dog"), rows=np.array([0, 1])),
        machine=SimpleNamespace(device=None),
        fold_folder=lambda fold: tmp_path / f"fold_{fold}",
    )
    score = steps.score_holdout(run)
    saved = load_predictions(tmp_path / "holdout.npz")
    np.testing.assert_allclose(saved.probabilities[:, 0], [0.8, 0.4, 0.2], atol=1e-6)
    assert (score["copies"], score["group_mates"]) == (1, 1)
    assert (score["macro_f1"], score["rows"]) == (1.0, 3)  # fold 0 alone takes y for a cat
