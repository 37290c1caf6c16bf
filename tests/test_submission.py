"""Submissions: rows and columns as asked for; scoring refuses every difference by name."""

import json

import pandas as pd
import pytest
from sklearn.metrics import f1_score

from competition.__main__ import main
from competition.errors import UserError
from competition.submission import score_files, write_submission


def test_rows_and_columns_as_asked_for(tmp_path):
    path = tmp_path / "s.csv"
    write_submission(path, ["b", "a", "c"], ["x", "y", "007"], "Image", "Class", ["c", "a", "b"])
    assert path.read_text() == "Image,Class\nc,007\na,y\nb,x\n"


def test_ids_without_a_prediction_are_named(tmp_path):
    with pytest.raises(UserError, match="1 ids of the test list have no prediction: z"):
        write_submission(tmp_path / "s.csv", ["a"], ["x"], "id", "label", ["a", "z"])
    assert not (tmp_path / "s.csv").exists()


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.csv"
    pd.DataFrame({"id": [f"i{n}" for n in range(6)], "label": ["a", "a", "b", "b", "c", "c"]}).to_csv(path, index=False)
    return path


def submission(tmp_path, rows):
    path = tmp_path / "s.csv"
    path.write_text("id,label\n" + "".join(f"{row}\n" for row in rows))
    return path


def test_the_score_is_scikit_learns_whatever_the_order(tmp_path, truth):
    path = submission(tmp_path, ["i5,c", "i4,a", "i3,b", "i2,b", "i1,b", "i0,a"])
    score = score_files(path, truth, None, None)
    expected = f1_score(["a", "a", "b", "b", "c", "c"], ["a", "b", "b", "b", "a", "c"], average="macro")
    assert score["macro_f1"] == expected
    assert score["interval_95"][0] <= expected <= score["interval_95"][1]


def test_every_difference_is_named_at_once(tmp_path, truth):
    path = submission(tmp_path, ["i0,a", "i0,b", "i1,zebra", "ghost,a"])
    with pytest.raises(UserError) as refusal:
        score_files(path, truth, None, None)
    for said in ("more than once: i0", "lacks 4 ids: i2, i3", "not in", "ghost", "does not know: zebra"):
        assert said in str(refusal.value)


def test_bom_semicolons_and_column_names(tmp_path, truth):
    path = tmp_path / "s.csv"
    path.write_text("\ufeffClass;Image;note\n" + "".join(f"{c};i{n};x\n" for n, c in enumerate("aabbcc")))
    assert score_files(path, truth, None, None)["macro_f1"] == 1.0
    with pytest.raises(UserError, match="no column 'Picture'"):
        score_files(path, truth, "Picture", None)


def test_a_missing_file_is_named(tmp_path, truth):
    with pytest.raises(UserError, match="none.csv"):
        score_files(tmp_path / "none.csv", truth, None, None)


def test_the_verb_prints_macro_f1_last_and_json_on_request(tmp_path, truth, capsys):
    words = ["score", str(truth), "--truth", str(truth)]
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "macro F1 1.000"
    main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)["macro_f1"] == 1.0
