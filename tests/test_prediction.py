"""The steps of predict.py that decide something by themselves."""

import json

import pytest

from competition.config import PredictSettings, TrainSettings
from competition.errors import UserError
from competition.prediction import Member, open_members, output_path


def member(folder):
    return Member(folder, [], ("a", "b"), TrainSettings())


def test_the_submission_is_named_after_the_runs(tmp_path):
    members = [member(tmp_path / "one"), member(tmp_path / "two")]
    assert str(output_path(PredictSettings(), members)) == "submissions/one+two.csv"
    assert str(output_path(PredictSettings(out="mine.csv"), members)) == "mine.csv"


def test_a_run_without_a_finished_fold_is_refused(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"identity": {"class_names": ["a", "b"]}}))
    (tmp_path / "settings.yaml").write_text("folds: 2\n")
    with pytest.raises(UserError, match="has no finished fold"):
        open_members([str(tmp_path)], allow_partial=True)


def test_a_damaged_run_is_named(tmp_path):
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UserError, match="run.json is damaged"):
        open_members([str(tmp_path)], allow_partial=False)
