"""Scoring: scikit-learn's numbers, every difference refused by name, the leaderboard's parts as Kaggle grades them."""

import json

import pandas as pd
import pytest
from sklearn.metrics import f1_score

from competition.__main__ import main
from competition.errors import UserError
from competition.scoring import format_score, score_files


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
    path = submission(tmp_path, ["i0,a", "i0,b", "i1,", "ghost,a"])
    with pytest.raises(UserError) as refusal:
        score_files(path, truth, None, None)
    for said in ("1 id more than once: i0", "lacks 4 ids: i2, i3", "1 id not in", "ghost", "no label for 1 id: i1"):
        assert said in str(refusal.value)


@pytest.mark.parametrize("has_parts", [False, True])
def test_a_class_that_the_truth_lacks_counts_as_in_scikit_learn_and_is_told(tmp_path, truth, has_parts, capsys):
    path = submission(tmp_path, ["i0,a", "i1,A", "i2,b", "i3,b", "i4,c", "i5,d"])
    if has_parts:
        truth = parted(tmp_path, ["Public", "Private"] * 3)
    assert main(["score", str(path), "--truth", str(truth), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    true, predicted = list("aabbcc"), list("aAbbcd")
    assert score["macro_f1"] == pytest.approx(f1_score(true, predicted, average="macro", zero_division=0))
    known = f1_score(true, predicted, average="macro", zero_division=0, labels=["a", "b", "c"])
    said = "no row of the truth is of class 'A', 'd': predicted, each counts with F1 0; macro F1 without would be"
    assert score["note"] == f"{said} {known:.3f}"
    if has_parts:
        expected = f1_score(true[1::2], predicted[1::2], average="macro", zero_division=0)
        assert score["private"]["macro_f1"] == pytest.approx(expected)
    *_, note, _, last = format_score(score).splitlines()
    assert (note, last) == (f"note: {score['note']}", f"macro F1 {score['macro_f1']:.3f}")


def test_where_parts_are_graded_no_label_is_trimmed(tmp_path, truth):
    path = submission(tmp_path, ["i0,a", "i1,a", "i2,b", "i3,b", "i4,c", "i5, c"])
    assert score_files(path, truth, None, None)["macro_f1"] == 1.0
    score = score_files(path, parted(tmp_path, ["Public", "Private"] * 3), None, None)
    assert list(score["per_class"]) == [" c", "a", "b", "c"]
    assert "class ' c':" in score["note"]


def test_bom_semicolons_and_column_names(tmp_path, truth):
    path = tmp_path / "s.csv"
    path.write_text("\ufeffClass;Image;note\n" + "".join(f"{c};i{n};x\n" for n, c in enumerate("aabbcc")))
    assert score_files(path, truth, None, None)["macro_f1"] == 1.0
    with pytest.raises(UserError, match="no column 'Picture'"):
        score_files(path, truth, "Picture", None)


def test_columns_beside_the_two_that_are_asked_for_are_passed_over(tmp_path, truth):
    path = tmp_path / "s.csv"
    path.write_text(",id,label\n" + "".join(f"{n},i{n},{c}\n" for n, c in enumerate("aabbcc")))
    assert score_files(path, truth, None, None)["macro_f1"] == 1.0


def test_an_index_that_pandas_wrote_into_both_files_is_no_column_of_ids(tmp_path, truth):
    for name, labels in (("t.csv", "aabbcc"), ("s.csv", "cabbca")):
        rows = "".join(f"{n},i{n},{c}\n" for n, c in enumerate(labels))
        (tmp_path / name).write_text(",id,label\n" + rows)
    score = score_files(tmp_path / "s.csv", tmp_path / "t.csv", None, None)
    assert list(score["per_class"]) == ["a", "b", "c"]
    assert score["macro_f1"] == pytest.approx(f1_score(list("aabbcc"), list("cabbca"), average="macro"))
    (tmp_path / "s.csv").write_text(",label\n" + "".join(f"i{n},{c}\n" for n, c in enumerate("aabbcc")))
    assert score_files(tmp_path / "s.csv", tmp_path / "t.csv", None, None)["macro_f1"] == 1.0


def test_a_missing_header_is_told_instead_of_losing_the_first_row(tmp_path, truth):
    path = tmp_path / "bare.csv"
    path.write_text("".join(f"i{n},{c}\n" for n, c in enumerate("aabbcc")))
    for answer in (truth, path):
        with pytest.raises(UserError, match=r"bare.csv: its first line \(i0, a\) holds the class 'a', so the header"):
            score_files(path, answer, None, None)


def test_one_column_cannot_be_both(truth):
    with pytest.raises(UserError, match="'id' cannot hold both ids and labels"):
        score_files(truth, truth, "id", "id")
    assert score_files(truth, truth, None, "label")["macro_f1"] == 1.0


@pytest.mark.parametrize(
    ("rows", "said"), [("", "a header and no rows"), ("i0,a\ni1,\n", "no label in line 3")], ids=["no rows", "no label"]
)
def test_a_truth_that_is_none_is_refused(tmp_path, truth, rows, said):
    (tmp_path / "none.csv").write_text("id,label\n" + rows)
    with pytest.raises(UserError, match=f"none.csv.*{said}"):
        score_files(truth, tmp_path / "none.csv", None, None)


def test_ids_that_differ_by_their_ending_are_told(tmp_path, truth):
    path = submission(tmp_path, ["i0.png,a", "i1.png,a", "i2,b", "i3,b", "i4,c", "i5,c"])
    with pytest.raises(UserError, match=r"'i0.png' and 'i0' differ by their ending alone"):
        score_files(path, truth, None, None)


def test_ids_and_classes_that_were_read_as_numbers_are_told(tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("id,label\n007,0\n008,1\n")
    with pytest.raises(UserError, match="'7' is '007' read as a number: write it as the truth does"):
        score_files(submission(tmp_path, ["7,0", "8,1"]), truth, None, None)
    score = score_files(submission(tmp_path, ["007,0.0", "008,1.0"]), truth, None, None)
    assert "'0.0' is '0' read as a number" in score["note"]


def test_classes_with_blanks_around_them_are_told_where_no_cell_is_trimmed(tmp_path):
    truth, path = tmp_path / "truth.csv", submission(tmp_path, ["i0,07 ", "i1, cat"])
    truth.write_text("id,label,Usage\ni0,07,Public\ni1,cat,Private\n")
    note = score_files(path, truth, None, None)["note"]
    assert "; ' cat' is 'cat' with blanks around it: take them off" in note
    path = submission(tmp_path, ["i0,07 ", "i1,cat"])
    assert "; '07 ' is '07' with blanks around it: take them off" in score_files(path, truth, None, None)["note"]


def test_an_id_with_an_underscore_is_no_number_that_lost_its_spelling(tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("id,label\n12,0\n13,1\n")
    with pytest.raises(UserError) as refusal:
        score_files(submission(tmp_path, ["1_2,0", "1_3,1"]), truth, None, None)
    assert "has 2 ids not in" in str(refusal.value)
    assert "read as a number" not in str(refusal.value)


def test_every_id_is_named_and_not_the_first_few(tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("id,label\n" + "".join(f"row{n},{'ab'[n % 2]}\n" for n in range(40)))
    with pytest.raises(UserError) as refusal:
        score_files(submission(tmp_path, ["row0,a", "row1,b"]), truth, None, None)
    assert [n for n in range(2, 40) if f"row{n}" not in str(refusal.value)] == []


def test_a_missing_file_is_named(tmp_path, truth):
    with pytest.raises(UserError, match="none.csv"):
        score_files(tmp_path / "none.csv", truth, None, None)


def test_the_verb_prints_macro_f1_last_and_json_on_request(truth, capsys):
    words = ["score", str(truth), "--truth", str(truth)]
    assert main(words) == 0
    *_, rows, last = capsys.readouterr().out.splitlines()
    assert last == "macro F1 1.000"
    assert rows.startswith("rows 6, accuracy 1.000, macro F1's 95 % interval [")  # not accuracy's
    main([*words, "--json"])
    assert json.loads(capsys.readouterr().out)["macro_f1"] == 1.0


def parted(tmp_path, usage):
    path = tmp_path / "solution.csv"
    labels = ["a", "a", "b", "b", "c", "c"]
    rows = [f"i{n},{label},{part}\n" for n, (label, part) in enumerate(zip(labels, usage, strict=True))]
    path.write_text("id,label,Usage\n" + "".join(rows))
    return path


def test_the_parts_of_the_leaderboard_are_scored_apart(tmp_path):
    truth = parted(tmp_path, ["Public", "Private", "Public", "Private", "Public", "Ignored"])
    score = score_files(submission(tmp_path, ["i0,a", "i1,b", "i2,c", "i3,b", "i4,c", "i5,a"]), truth, None, None)
    assert score["public"]["macro_f1"] == f1_score(["a", "b", "c"], ["a", "c", "c"], average="macro")
    assert score["private"]["macro_f1"] == f1_score(["a", "b"], ["b", "b"], average="macro")
    assert score["macro_f1"] == f1_score(["a", "a", "b", "b", "c"], ["a", "b", "c", "b", "c"], average="macro")
    assert (score["public"]["rows"], score["private"]["rows"], score["rows"]) == (3, 2, 5)  # the ignored row nowhere
    lines = format_score(score).splitlines()
    assert lines[-4].startswith("public  macro F1 0.55556, rows 3")
    assert lines[-3].startswith("private macro F1 0.33333, rows 2")


def test_a_class_predicted_in_a_part_that_lacks_it_counts_there_as_in_scikit_learn(tmp_path):
    truth = parted(tmp_path, ["Public", "Public", "Private", "Private", "Private", "Private"])
    score = score_files(submission(tmp_path, ["i0,a", "i1,c", "i2,b", "i3,b", "i4,c", "i5,c"]), truth, None, None)
    assert score["public"]["macro_f1"] == f1_score(["a", "a"], ["a", "c"], average="macro")


def test_a_usage_that_is_no_part_is_refused_with_its_line(tmp_path):
    truth = parted(tmp_path, ["Public", "Private", "Pubic", "Private", "Public", "Private"])
    with pytest.raises(UserError, match="not Public, Private or Ignored in line 4"):
        score_files(truth, truth, None, None)
    with pytest.raises(UserError, match="ignores every row"):
        score_files(truth, parted(tmp_path, ["Ignored"] * 6), None, None)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (["i0,a", "i1,a", "i2,b", "i3,b", "i4,c"], "lacks 1 id: i5"),
        (["i0,a", "i1,a", "i2,b", "i3,b", "i4,c", "i5,c", "i6,c"], "1 id not in"),
        (["i0,a", "i1,a", "i2,b", "i3,b", "i4,c", "i5,c", "i5,c"], "more than once: i5"),
        (["i0,a", "i1,a", "i2,b", "i3,b", "i4,c", "i5,"], "no label for 1 id: i5"),
    ],
)
def test_nothing_is_patched(tmp_path, rows, said):
    truth = parted(tmp_path, ["Public", "Private"] * 3)
    with pytest.raises(UserError, match=said):
        score_files(submission(tmp_path, rows), truth, None, None)


@pytest.mark.parametrize("header", ["id,class", "id,label,note", "ID,label"])
def test_other_columns_than_the_graders_are_refused(tmp_path, header):
    truth = parted(tmp_path, ["Public", "Private"] * 3)
    path = tmp_path / "s.csv"
    path.write_text(header + "\n" + "".join(f"i{n},a{',x' * (header.count(',') - 1)}\n" for n in range(6)))
    with pytest.raises(UserError, match="the grader wants exactly id and label"):
        score_files(path, truth, None, None)


def test_swapped_columns_are_read_by_name(tmp_path):
    truth = parted(tmp_path, ["Public", "Private"] * 3)
    path = tmp_path / "s.csv"
    path.write_text("label,id\n" + "".join(f"{label},i{n}\n" for n, label in enumerate("aabbcc")))
    assert score_files(path, truth, None, None)["macro_f1"] == 1.0


def test_a_class_of_ignored_rows_alone_may_be_predicted(tmp_path):
    truth = tmp_path / "truth.csv"
    truth.write_text("id,label,Usage\ni0,a,Public\ni1,b,Private\ni2,c,Ignored\n")
    score = score_files(submission(tmp_path, ["i0,c", "i1,b", "i2,c"]), truth, None, None)
    assert score["macro_f1"] == pytest.approx(f1_score(["a", "b"], ["c", "b"], average="macro", zero_division=0))
