"""The history of a fold."""

import pytest

from competition.errors import UserError
from competition.runs import read_history
from competition.training import record
from competition.training.display import Display
from competition.training.record import Recorder, refuse_missing_tensorboard


def test_records_of_epochs_that_were_lost_are_taken_back(tmp_path):
    recorder = Recorder(0, tmp_path, Display([0]), tensorboard=False)
    for epoch in (1, 2, 3):
        recorder.add({"epoch": epoch, "step": epoch * 10, "train_loss": 1.0})
    recorder.go_back_to(2)
    assert [item["epoch"] for item in read_history(tmp_path / "history.jsonl")] == [1, 2]


def test_a_missing_tensorboard_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(record, "find_spec", lambda _: None)
    refuse_missing_tensorboard(False)
    with pytest.raises(UserError, match="pip install tensorboard"):
        refuse_missing_tensorboard(True)
