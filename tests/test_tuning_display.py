"""What a person sees while a study runs."""

import pytest
from optuna.trial import TrialState, create_trial

from competition.tuning.display import Board, epochs_saved, in_words, seconds_left


def trial(state, value=None, number=0, **notes):
    made = create_trial(state=state, value=value, user_attrs=notes)
    made.number = number
    return made


COMPLETE = trial(TrialState.COMPLETE, 0.8123, 0, epochs_planned=10, epochs_trained=10, seconds=30.0)
PRUNED = trial(TrialState.PRUNED, 0.5, 1, epochs_planned=10, epochs_trained=4, seconds=10.0, pruned_because="too low")
FAILED = trial(TrialState.FAIL, None, 2, failed_because="the loss is nan")
MOVED = trial(TrialState.FAIL, None, 3, failed_because="stopped", goes_on_as=4)
REUSED = trial(
    TrialState.COMPLETE, 0.8123, 4, epochs_planned=10, epochs_trained=0, seconds=0.0, reused_from=0, continues=3
)


@pytest.mark.parametrize(
    ("ended", "words"),
    [
        (COMPLETE, "trial 0: macro F1 0.8123"),
        (PRUNED, "trial 1: pruned, too low"),
        (FAILED, "trial 2: failed: the loss is nan"),
        (REUSED, "trial 4: macro F1 0.8123, as trial 0"),
    ],
)
def test_how_a_trial_ended(ended, words):
    assert in_words(ended) == words


def test_epochs_saved_by_pruning_and_repeats():
    assert epochs_saved([COMPLETE, PRUNED, FAILED, REUSED]) == 16


def test_time_left_is_that_of_the_trials_so_far():
    assert seconds_left([COMPLETE, PRUNED], total=6, workers=2) == 40.0
    assert seconds_left([COMPLETE, PRUNED], total=2, workers=2) is None
    assert seconds_left([FAILED], total=2, workers=1) is None


def test_lines_without_a_terminal_name_each_ended_trial_once(tmp_path, capsys):
    with Board(tmp_path, 5, 1) as board:
        for trials in ([], [COMPLETE], [COMPLETE, PRUNED, FAILED, MOVED], [COMPLETE, PRUNED, FAILED, MOVED, REUSED]):
            board.refresh(trials)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["trial 0", "trial 1", "trial 2", "trial 4"]
    assert lines[0].endswith("1/5 trials, best 0.8123 (trial 0), time left 2:00")
    assert "1 pruned, 1 failed, 16 epochs saved" in lines[3]


def test_the_trials_of_a_study_that_goes_on_are_no_news(tmp_path, capsys):
    with Board(tmp_path, 5, 1) as board:
        board.refresh([COMPLETE, PRUNED])
        board.refresh([COMPLETE, PRUNED, FAILED])
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_one_epoch_is_told_in_the_singular(tmp_path, capsys):
    with Board(tmp_path, 5, 1) as board:
        board.refresh([])
        board.refresh([trial(TrialState.PRUNED, 0.5, 1, epochs_planned=2, epochs_trained=1)])
    assert capsys.readouterr().out.endswith("1 pruned, 1 epoch saved\n")


def test_two_objectives_are_both_named():
    made = create_trial(state=TrialState.COMPLETE, values=[0.5, 1234567.0])
    assert in_words(made) == "trial -1: macro F1 0.5000, 1,234,567"
    made = create_trial(state=TrialState.COMPLETE, values=[0.5, 3.14159])
    assert in_words(made) == "trial -1: macro F1 0.5000, 3.14"
