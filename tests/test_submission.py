"""Submissions: rows and columns as asked for, and the guard that names everything a leaderboard would refuse."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from competition.errors import UserError
from competition.submission import Template, guard, guard_file, refuse_errors, submission_table

TEMPLATE = Template("id", "label", ["i0", "i1", "i2", "i3"], ["cat", "dog", "7"])


def table(rows, columns=("id", "label")):
    return pd.DataFrame(rows, columns=list(columns), dtype=object)


GOOD = [("i0", "cat"), ("i1", "dog"), ("i2", "7"), ("i3", "cat")]


def test_rows_and_columns_as_asked_for():
    template = Template("Image", "Class", ["c", "a", "b"], [])
    made = submission_table(["b", "a", "c"], ["x", "y", "007"], template)
    assert made.to_csv(index=False) == "Image,Class\nc,007\na,y\nb,x\n"
    template = replace(template, columns=("Class", "Image"))
    assert (
        submission_table(["b", "a", "c"], ["x", "y", "007"], template)
        .to_csv(index=False)
        .startswith("Class,Image\n007,c\n")
    )
    assert guard(made, template)[0].kind == "columns in another order"


def test_a_sample_submission_that_begins_with_the_label(tmp_path):
    (tmp_path / "sample.csv").write_text("label,id\ncat,i0\ncat,i1\n")
    (tmp_path / "mine.csv").write_text("label,id\ndog,i0\ncat,i1\n")
    guard_file(tmp_path / "mine.csv", tmp_path / "sample.csv")
    (tmp_path / "mine.csv").write_text("label,id\ndog,i0\ncat,i2\n")
    with pytest.raises(UserError, match=r"ids missing \(i1\)"):
        guard_file(tmp_path / "mine.csv", tmp_path / "sample.csv")


def test_ids_without_a_prediction_are_named():
    with pytest.raises(UserError, match="1 ids of the test list have no prediction: z"):
        submission_table(["a"], ["x"], Template("id", "label", ["a", "z"], []))


def test_a_good_submission_has_no_problem(capsys):
    problems = guard(table(GOOD), TEMPLATE, {"cat": 50, "dog": 25, "7": 25})
    refuse_errors(problems)
    assert problems == []
    assert capsys.readouterr().out == ""


def test_the_table_that_is_written_passes_its_own_guard():
    made = submission_table(["i3", "i2", "i1", "i0"], ["cat", "7", "dog", "dog"], TEMPLATE)
    assert guard(made, TEMPLATE) == []


@pytest.mark.parametrize(
    ("frame", "kind", "said"),
    [
        (table(GOOD, ("Id", "label")), "column missing", "'id' (did you mean 'Id'?)"),
        (table([(*row, 1) for row in GOOD], ("id", "label", "score")), "column not asked for", "'score'"),
        (table([(0, *row) for row in GOOD], ("Unnamed: 0", "id", "label")), "column not asked for", "index=False"),
        (table([(*row, "cat") for row in GOOD], ("id", "label", "label")), "column twice", "'label'"),
        (table(GOOD[:3]), "wrong number of rows", "3 rows where 4 are asked for"),
        (table(GOOD[:3]), "ids missing", "i3"),
        (table([*GOOD, ("i9", "cat")]), "ids not asked for", "i9"),
        (table([*GOOD, ("i0", "cat")]), "ids twice", "i0"),
        (table([*GOOD[:3], ("i0", "cat")]), "ids missing", "i3"),
        (table([*GOOD[:3], ("i3", np.nan)]), "labels empty or NaN", "i3"),
        (table([*GOOD[:3], ("i3", None)]), "labels empty or NaN", "i3"),
        (table([*GOOD[:3], ("i3", " ")]), "labels empty or NaN", "i3"),
        (table([*GOOD[:3], ("i3", "nan")]), "labels empty or NaN", "i3"),
        (table([*GOOD[:3], ("i3", "cats")]), "unknown classes", "'cats' (did you mean 'cat'?)"),
        (table([*GOOD[:3], ("i3", " cat")]), "unknown classes", "' cat' (did you mean 'cat'?)"),
        (table([*GOOD[:3], ("i3", 7.0)]), "unknown classes", "'7.0' is '7' read as a number"),
    ],
)  # fmt: skip
def test_what_a_leaderboard_refuses_is_refused_by_name(frame, kind, said):
    problems = guard(frame, TEMPLATE)
    assert kind in [problem.kind for problem in problems if problem.severity == "error"]
    with pytest.raises(UserError) as refusal:
        refuse_errors(problems, "s.csv")
    assert kind in str(refusal.value)
    assert said in str(refusal.value)


def test_all_errors_stand_in_one_message():
    with pytest.raises(UserError) as refusal:
        refuse_errors(guard(table([("i0", "cat"), ("i0", ""), ("ghost", "horse")]), TEMPLATE), "s.csv")
    for said in ("s.csv", "3 rows where 4", "i1, i2, i3", "ghost", "more than one row", "without a class", "'horse'"):
        assert said in str(refusal.value)


def test_ids_read_as_numbers_are_told_from_strangers():
    template = Template("id", "label", ["001", "002"], [])
    with pytest.raises(UserError, match="'1' is '001' read as a number: keep the column as text"):
        refuse_errors(guard(table([("1", "a"), ("2", "b")]), template))


def test_a_class_that_is_called_none_is_a_class():
    assert guard(table([("i0", "None"), ("i1", "a")]), Template("id", "label", ["i0", "i1"], ["None", "a"])) == []


def test_without_known_classes_any_label_passes():
    assert guard(table(GOOD), Template("id", "label", TEMPLATE.ids, [])) == []


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (table(GOOD[::-1]), "rows in another order"),
        (table([row[::-1] for row in GOOD], ("label", "id")), "columns in another order"),
    ],
)
def test_what_a_leaderboard_accepts_is_only_told(frame, kind, capsys):
    problems = guard(frame, TEMPLATE)
    assert [(problem.kind, problem.severity) for problem in problems] == [(kind, "warning")]
    refuse_errors(problems, "s.csv")
    assert f"warning: s.csv: {kind}" in capsys.readouterr().out


def collapsed(rows, out_of_fold=None):
    ids = [f"i{n}" for n in range(rows)]
    (problem,) = guard(
        table([(name, "cat") for name in ids]), Template("id", "label", ids, ["cat", "dog", "7"]), out_of_fold
    )
    return problem


def test_one_class_everywhere_is_refused_where_chance_cannot_do_it():
    assert collapsed(200).severity == "error"  # 3 classes: 3^-199
    assert collapsed(200, {"cat": 30, "dog": 30, "7": 40}).severity == "error"
    assert "macro F1 is at most 1/3" in collapsed(200).message
    assert collapsed(9).severity == "warning"  # 3^-8 may happen
    assert collapsed(200, {"cat": 998, "dog": 1, "7": 1}).severity == "warning"  # no worse than out of fold


def test_shares_far_from_the_out_of_fold_ones_are_told():
    ids = [f"i{n}" for n in range(300)]
    labels = ["cat"] * 200 + ["dog"] * 60 + ["7"] * 40
    template = Template("id", "label", ids, ["cat", "dog", "7"])
    frame = table(list(zip(ids, labels, strict=True)))
    (problem,) = guard(frame, template, {"cat": 200, "dog": 200, "7": 200})
    assert (problem.kind, problem.severity) == ("shares far from the out-of-fold ones", "warning")
    assert problem.rows[0] == "'cat' 33.3% -> 66.7%"
    assert guard(frame, template, {"cat": 400, "dog": 120, "7": 80}) == []
