"""Where trials are recorded: addresses refused in words, no password anywhere."""

import optuna
import pytest

from competition.errors import UserError
from competition.tuning import storage as storages
from competition.tuning.storage import StorageDown, open_storage


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresq://u:secret@h/d", r"expected postgresql:// or sqlite:/// \(did you mean 'postgresql'\?\)"),
        ("mysql://u:secret@h/d", "expected postgresql:// or sqlite:///"),
        ("here.db", "expected postgresql:// or sqlite:///"),
        ("sqlite:////no/such/place/x.db", "cannot be opened: .*unable to open"),
    ],
)
def test_addresses_that_are_refused(tmp_path, url, said):
    with pytest.raises(UserError, match=said) as refusal:
        open_storage(url, tmp_path, "s")
    assert "secret" not in str(refusal.value)


def test_a_server_that_does_not_answer_is_waited_for_and_named_without_its_password(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(storages, "FIRST_PATIENCE", 0.6)
    with pytest.raises(StorageDown, match=r"postgresql://u:\*\*\*@127.0.0.1:1/d has not answered") as refusal:
        open_storage("postgresql://u:secret@127.0.0.1:1/d", tmp_path, "s")
    said = capsys.readouterr().out
    assert "trying again" in said
    assert "secret" not in said + str(refusal.value)
    assert refusal.value.__suppress_context__


def test_sqlite_records_trials(tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", tmp_path, "s")
    with storage.lock():
        study = optuna.create_study(storage=storage.trials)
    assert storage.patiently(lambda: len(study.trials)) == 0
    assert storage.shown == f"sqlite:///{tmp_path}/s.db"


def test_sqlite_is_for_one_process(tmp_path):
    first = open_storage(f"sqlite:///{tmp_path}/s.db", tmp_path, "s")
    with pytest.raises(UserError, match="another process is at work, and SQLite locks"):
        open_storage(f"sqlite:///{tmp_path}/s.db", tmp_path, "s")
    assert first.shown.startswith("sqlite")


@pytest.mark.parametrize("url", [None, "sqlite:///s.db"])
def test_what_needs_locks_is_refused_where_there_are_none(tmp_path, monkeypatch, without_locks, url):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"no locks, .*give --storage postgresql://, or work in a folder on a local"):
        open_storage(url, tmp_path / "study", "s")


def test_other_errors_are_not_tried_again(tmp_path):
    storage = open_storage(None, tmp_path, "s")

    def action():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        storage.patiently(action)
