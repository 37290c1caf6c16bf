"""What a person sees while folds train."""

import pytest

from competition.errors import clock
from competition.training.display import Display


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (65.9, "1:05"), (3723, "1:02:03")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_plain_lines_where_there_is_no_terminal(capsys):
    with Display([0, 1]) as display:
        display.start_fold(0, 4)
        display.update(0, done=1.5, loss=2.0, images_per_second=1234, seconds_left=60)
        display.validated(0, 0.5)
        display.finish_fold(0, 0.6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("fold 0: epoch 1.5/4, loss 2.000, images/s 1,234, time left")
    assert "macro F1 0.500" in lines[1]
    assert lines[2] == "fold 0: done, macro F1 0.600"


def test_a_training_of_steps_ends_at_its_share_of_an_epoch(capsys):
    with Display([0]) as display:
        display.start_fold(0, 2.5)
        display.update(0, done=2.5, loss=2.0, images_per_second=1234, seconds_left=0)
    assert "epoch 2.5/2.5, " in capsys.readouterr().out


def test_the_end_is_rounded_as_the_epoch_is(capsys):
    with Display([0]) as display:
        display.start_fold(0, 8 / 11)
        display.update(0, done=8 / 11, loss=2.0, images_per_second=1234, seconds_left=0)
    assert "epoch 0.7/0.7, " in capsys.readouterr().out


def test_notes_are_no_markup(capsys):
    with Display([0]) as display:
        display.note("fold 0: runs/[red]a[/red] goes on")
    assert capsys.readouterr().out == "fold 0: runs/[red]a[/red] goes on\n"
