"""The steps of train.py that decide something: folder identity, fold table names, pooled scores."""

import numpy as np
import pytest
import yaml

from competition.config import TrainSettings
from competition.errors import UserError
from competition.training import cross_validation as steps


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


def test_names_depend_on_settings_and_images():
    settings = TrainSettings(data="x/cats")
    names = {steps.run_name(settings, identity) for identity in ({"a": 1}, {"a": 2}, {"b": 1})}
    assert len(names) == 3
    assert all(name.startswith("cats-resnet_fast-") for name in names)


def test_the_description_names_the_interval_and_a_picked_epoch():
    score = {"macro_f1": 0.5, "interval_95": [0.4, 0.6], "accuracy": 0.55, "per_fold": {"0": 0.5}, "warning": "picked"}
    text = steps.describe({**score, "holdout": {"macro_f1": 0.7, "interval_95": [0.6, 0.8]}})
    assert "out-of-fold macro F1 0.5000, 95 % interval [0.400, 0.600]" in text
    assert "holdout macro F1 0.7000" in text
    assert "note: picked" in text
    assert np.char.count(text, "\n") == 3


def test_the_description_says_that_copies_flatter_the_holdout():
    score = {"macro_f1": 0.5, "interval_95": [0.4, 0.6], "accuracy": 0.55, "per_fold": {"0": 0.5}}
    holdout = {"macro_f1": 0.7, "interval_95": [0.6, 0.8], "rows": 20}
    text = steps.describe({**score, "holdout": {**holdout, "copies": 3}})
    assert "note: 3 of 20 images held out are exact copies of training images" in text
    assert "copies" not in steps.describe({**score, "holdout": {**holdout, "copies": 0}})


def test_which_folds_a_command_trained_is_no_setting_of_the_run(tmp_path):
    steps.claim_folder(tmp_path / "run", TrainSettings(only_folds="0"), {"class_names": []}, {})
    assert yaml.safe_load((tmp_path / "run" / "settings.yaml").read_text())["only_folds"] is None
