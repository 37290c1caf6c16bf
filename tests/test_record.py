"""History, notes and the display of a fold."""

import pytest

from competition.errors import UserError
from competition.runs import read_history
from competition.training import record
from competition.training.display import Display, clock
from competition.training.record import Recorder, refuse_missing_tensorboard


def test_records_of_epochs_that_were_lost_are_taken_back(tmp_path):
    recorder = Recorder(0, tmp_path, Display([0], 5), tensorboard=False)
    for epoch in (1, 2, 3):
        recorder.add({"epoch": epoch, "step": epoch * 10, "train_loss": 1.0})
    recorder.go_back_to(2)
    assert [item["epoch"] for item in read_history(tmp_path / "history.jsonl")] == [1, 2]


def test_a_missing_tensorboard_is_refused_before_training(monkeypatch):
    monkeypatch.setattr(record, "find_spec", lambda _: None)
    refuse_missing_tensorboard(False)
    with pytest.raises(UserError, match="pip install tensorboard"):
        refuse_missing_tensorboard(True)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.9, "1:05"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Display([0, 1], 4) as display:
        display.start_fold(0)
        display.update(0, done=1.5, loss=2.0, images_per_second=1234, seconds_left=60)
        display.validated(0, 0.5)
        display.finish_fold(0, 0.6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("fold 0: epoch 1.5/4, loss 2.000, images/s 1,234, time left")
    assert "macro F1 0.500" in lines[1]
    assert lines[2] == "fold 0: done, macro F1 0.600"
