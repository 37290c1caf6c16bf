"""The journal file: cut lines are mended, damage is named."""

import json

import optuna
import pytest

from competition.errors import UserError
from competition.tuning.journal import mend_last_line, open_journal


def journal_with_trials(folder, count):
    study = optuna.create_study(storage=open_journal(folder / "journal.log"), study_name="s", load_if_exists=True)
    for _ in range(count):
        study.tell(study.ask(), 0.5)
    return study


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("", ""),
        ("whole\n", "whole\n"),
        ("whole\ncut", "whole\n"),
        ("cut", ""),
        ("a\n" + "b" * 200_000, "a\n"),
        ("a" * 200_000 + "\nb", "a" * 200_000 + "\n"),
    ],
)
def test_a_cut_last_line_is_removed(tmp_path, text, mended):
    path = tmp_path / "journal.log"
    path.write_text(text)
    mend_last_line(path)
    assert path.read_text() == mended


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_journal_with_a_cut_last_line_opens_and_goes_on(tmp_path, cut):
    journal_with_trials(tmp_path, 2)
    path = tmp_path / "journal.log"
    path.write_bytes(path.read_bytes()[:-cut])
    study = journal_with_trials(tmp_path, 1)
    assert len(study.trials) == 3
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_line_cut_while_the_journal_is_open_is_mended_by_the_next_writer(tmp_path):
    study = journal_with_trials(tmp_path, 1)
    with open(tmp_path / "journal.log", "a") as file:
        file.write('{"op_code": 4, "wor')
    study.tell(study.ask(), 0.5)
    assert len(journal_with_trials(tmp_path, 0).trials) == 2


def test_a_damaged_line_within_the_journal_is_named(tmp_path):
    journal_with_trials(tmp_path, 2)
    path = tmp_path / "journal.log"
    path.write_text("not json\n" + path.read_text())
    with pytest.raises(UserError, match=r"journal.log is damaged"):
        open_journal(path)
