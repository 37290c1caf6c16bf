"""The logbook: every submission once, scores entered by name, damage named, writers that wait for each other."""

import contextlib
import json
import multiprocessing
from pathlib import Path

import pytest

from competition.errors import UserError
from competition.logbook import (
    COLUMNS,
    Entry,
    add_new_submissions,
    changing_logbook,
    entry_of,
    find_entry,
    read_logbook,
    set_scores,
    write_logbook,
)
from competition.runs import hash_file

SCORE = {"macro_f1": 0.7, "interval_95": [0.68, 0.72], "rows": 900}


def made(folder, name="a", labels="xyx", **record):
    """A submission as predict.py leaves it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.csv"
    path.write_text("id,label\n" + "".join(f"i{n},{label}\n" for n, label in enumerate(labels)))
    beside = {"submission": path.name, "sha256": hash_file(path), "rows": len(labels), **(record or {"score": SCORE})}
    path.with_suffix(".json").write_text(json.dumps(beside))
    return path


def test_what_is_written_is_read_back(tmp_path):
    entries = [
        Entry(
            "a.csv", "0123", 5, 0.1234567890123456, 0.1, 0.2, 50, 0.3, None, "slug", "2026", "7", "failed", 'no, "x"'
        ),
        Entry("b.csv"),
    ]
    write_logbook(tmp_path, entries)
    assert read_logbook(tmp_path) == entries
    assert read_logbook(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"score": SCORE}, (0.7, 0.68, 0.72, 900)),
        ({"out_of_fold": SCORE, "score": None}, (0.7, 0.68, 0.72, 900)),
        ({"runs": [{"out_of_fold": {"macro_f1": 0.6, "interval_95": [0.5, 0.7]}}]}, (0.6, 0.5, 0.7, None)),
        ({"runs": [{"out_of_fold": SCORE}, {"out_of_fold": SCORE}]}, (None, None, None, None)),  # of two, neither's
        ({"runs": [{"out_of_fold": None}]}, (None, None, None, None)),
    ],
)
def test_the_score_comes_from_the_json_beside_the_csv(tmp_path, record, expected):
    entry = entry_of(made(tmp_path, **record))
    assert (entry.out_of_fold, entry.low, entry.high, entry.out_of_fold_rows) == expected
    assert entry.rows == 3


def test_a_csv_changed_by_hand_has_no_score(tmp_path):
    path = made(tmp_path)
    path.write_text(path.read_text().replace("i0,x", "i0,y"))
    assert entry_of(path) == Entry("a.csv", hash_file(path))


def test_every_submission_is_entered_once_and_a_new_content_anew(tmp_path):
    made(tmp_path)
    assert [entry.submission for entry in add_new_submissions(tmp_path)] == ["a.csv"]
    set_scores(tmp_path, "a", 0.71, None)
    before = (tmp_path / "logbook.csv").read_bytes()
    assert len(add_new_submissions(tmp_path)) == 1
    assert (tmp_path / "logbook.csv").read_bytes() == before
    made(tmp_path, labels="yyx")
    old, new = add_new_submissions(tmp_path)
    assert (old.public, new.public) == (0.71, None)
    assert old.sha256 != new.sha256


def test_files_that_are_no_submission_stay_out(tmp_path):
    (tmp_path / "notes.json").write_text("{}")
    (tmp_path / "lonely.json").write_text('{"submission": "lonely.csv"}')
    (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
    assert add_new_submissions(tmp_path) == []
    assert not (tmp_path / "logbook.csv").exists()


def test_scores_go_to_the_latest_of_a_name(tmp_path):
    write_logbook(tmp_path, [Entry("a.csv", "1"), Entry("a.csv", "2", status="failed", reason="x"), Entry("b.csv")])
    entry = set_scores(tmp_path, str(tmp_path / "a.csv"), 0.5, None)
    assert (entry.sha256, entry.public, entry.status, entry.reason) == ("2", 0.5, "complete", "")
    entry = set_scores(tmp_path, "a", None, 0.4)
    assert (entry.public, entry.private) == (0.5, 0.4)
    assert read_logbook(tmp_path)[0].public is None


def test_a_csv_made_by_hand_is_entered_with_its_score(tmp_path):
    (tmp_path / "blend.csv").write_text("id,label\ni0,x\n")
    assert add_new_submissions(tmp_path) == []
    assert set_scores(tmp_path, "blend", 0.5, None) == read_logbook(tmp_path)[0]
    assert read_logbook(tmp_path)[0].public == 0.5


@pytest.mark.parametrize(
    ("name", "public", "said"),
    [
        ("best", 0.5, "knows no 'best' (did you mean 'test.csv'?); it has test.csv"),
        ("elsewhere/test.csv", 0.5, "does not lie in"),
        ("a", 71.0, "--public 71.0: macro F1 lies between 0 and 1"),
    ],
)
def test_scores_that_cannot_be_entered_are_refused(tmp_path, name, public, said):
    write_logbook(tmp_path, [Entry("test.csv")])
    with pytest.raises(UserError) as refusal:
        set_scores(tmp_path, name, public, None)
    assert said in str(refusal.value)


def test_damaged_rows_are_named_with_their_lines(tmp_path):
    write_logbook(tmp_path, [Entry("a.csv"), Entry("b.csv", public=0.5), Entry("c.csv", rows=3)])
    path = tmp_path / "logbook.csv"
    path.write_text(path.read_text().replace("0.5", "abc").replace("c.csv,,3", ",,-3"))
    with pytest.raises(UserError) as refusal:
        read_logbook(tmp_path)
    for said in ("line 3 (b.csv): public is 'abc'", "line 4 (without a name)"):
        assert said in str(refusal.value)
    path.write_text(",".join(COLUMNS) + "\na.csv,0,1\n")
    with pytest.raises(UserError, match="line 2"):
        read_logbook(tmp_path)
    path.write_text("submission,score\na.csv,1\n")
    with pytest.raises(UserError, match="is not a logbook: its columns differ in competition"):
        read_logbook(tmp_path)


def test_a_failing_change_writes_nothing(tmp_path):
    write_logbook(tmp_path, [Entry("a.csv")])
    with contextlib.suppress(ZeroDivisionError), changing_logbook(tmp_path) as entries:
        entries.append(Entry("b.csv"))
        raise ZeroDivisionError
    assert read_logbook(tmp_path) == [Entry("a.csv")]


def enter(folder, number):
    for round_ in range(5):
        path = Path(folder) / f"{number}-{round_}.csv"
        path.write_text(f"id,label\ni,{number}\n")
        with changing_logbook(Path(folder)) as entries:
            find_entry(entries, path)


def test_scores_are_entered_where_there_are_no_locks(tmp_path, without_locks):
    made(tmp_path)
    add_new_submissions(tmp_path)
    assert set_scores(tmp_path, "a", 0.7, None).public == 0.7
    assert [entry.public for entry in read_logbook(tmp_path)] == [0.7]


def test_writers_wait_for_each_other(tmp_path):
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=enter, args=(str(tmp_path), number)) for number in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    assert len(read_logbook(tmp_path)) == 20
