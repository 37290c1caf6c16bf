"""The leaderboard verb: the table, the plot, the warning when scores part, the final two."""

import json
from dataclasses import replace

import numpy as np
import pytest

from competition.__main__ import main
from competition.errors import UserError
from competition.leaderboard import expected_band, final_two, parted, report, text_plot
from competition.logbook import Entry, add_new_submissions, entry_of, set_scores
from competition.metrics import leaderboard_band
from competition.runs import hash_file
from tests.test_logbook import made

ROWS = 40


def entry(name="a.csv", public=None, score=0.7):
    return Entry(name, "0", 1000, score, score - 0.02, score + 0.02, 1000, public)


CONFUSION = {"x": {"x": 350, "y": 150}, "y": {"x": 150, "y": 350}}


def sent(folder, public=None, rows=1000, **more):
    """A submission of so many rows, of which 0.7 was expected on as many."""
    score = {"macro_f1": 0.7, "interval_95": [0.672, 0.728], "rows": 1000, **more}
    path = made(folder, labels="xy" * 500, score=score, rows=rows)
    return replace(entry_of(path), public=public)


def test_the_band_is_the_one_drawn_from_the_counts_beside_the_csv(tmp_path):
    counts = np.array([[350, 150], [150, 350]])
    known = sent(tmp_path, confusion=CONFUSION)
    assert expected_band(known, tmp_path, 0.3) == leaderboard_band(counts, 1000, 0.3, 200)
    assert expected_band(replace(known, rows=None), tmp_path, 0.3) is None
    assert expected_band(replace(known, sha256="other"), tmp_path, 0.3) is None
    assert expected_band(sent(tmp_path), tmp_path, 0.3) is None
    assert expected_band(Entry("nowhere.csv", "0", 10), tmp_path, 0.3) is None


@pytest.mark.parametrize(
    ("public", "said"),
    [(0.62, "the folds leak"), (0.66, None), (0.7, None), (0.74, None), (0.78, "test images leak"), (None, None)],
)
def test_a_warning_when_public_and_out_of_fold_part(tmp_path, public, said):
    """300 public rows: the band is about 0.7 +- 0.06."""
    warnings = parted([sent(tmp_path, public, confusion=CONFUSION)], tmp_path, 0.3)
    assert len(warnings) == (said is not None)
    assert all(said in warning and "after 0.7000 out of fold" in warning for warning in warnings)


def test_the_plot_puts_the_best_at_the_top_right():
    plot = text_plot([entry("low.csv", 0.5, 0.4), entry("high.csv", 0.9, 0.8), entry("unknown.csv")]).splitlines()
    assert plot[1].startswith(" 0.9000 |")
    assert plot[1].endswith("b")
    assert plot[14].startswith(" 0.5000 |a")
    assert plot[-1] == "a low.csv, b high.csv"
    assert text_plot([entry(public=0.5)]) == ""


@pytest.fixture
def folder(tmp_path):
    """Four submissions of 40 rows: the second best says almost the same as the best, the third does not."""
    best = "xyzx" * 10
    for name, labels, score in (
        ("best", best, 0.80),
        ("twin", "y" + best[1:], 0.79),
        ("other", "zzy" + best[3:], 0.75),
        ("worst", best[::-1], 0.30),
    ):
        made(tmp_path, name, labels, score={"macro_f1": score, "interval_95": [score - 0.1, score + 0.1], "rows": 90})
    return tmp_path


def test_the_final_two_are_the_best_and_the_best_that_differs(folder):
    found = final_two(add_new_submissions(folder), folder)
    assert (found.best.submission, found.other.submission) == ("best.csv", "other.csv")
    assert found.disagreement == 3 / ROWS


def test_without_one_that_differs_the_farthest_is_named_as_such(folder):
    for name in ("other", "worst"):
        (folder / f"{name}.csv").unlink()
    entries = add_new_submissions(folder)
    found = final_two(entries, folder)
    assert (found.other.submission, found.disagreement) == ("twin.csv", 1 / ROWS)
    assert "hardly a second chance" in report(entries, folder, 0.3)


def test_one_far_worse_is_the_second_only_where_there_is_no_other_and_told_as_such(folder):
    (folder / "other.csv").unlink()
    found = final_two(add_new_submissions(folder), folder)
    assert found.other.submission == "twin.csv"
    (folder / "twin.csv").unlink()
    said = report(add_new_submissions(folder), folder, 0.3)
    assert "worst.csv (differs on 50.0% of the rows; 0.3000 out of fold, hardly a second chance: it lies below" in said
    made(folder, "copy", "xyzx" * 10, score={"macro_f1": 0.79, "interval_95": [0.7, 0.9], "rows": 90})
    assert final_two(add_new_submissions(folder), folder).other.submission == "worst.csv"


def test_changed_failed_and_foreign_files_are_not_suggested(folder):
    made(folder, "foreign", "xyz", score={"macro_f1": 0.99, "interval_95": [0.9, 1], "rows": 9})
    (folder / "foreign.json").touch()
    add_new_submissions(folder)
    for name in ("best", "twin", "other", "worst"):  # now the newest predicts the 40 images again
        made(folder, f"again-{name}", "x" * ROWS, score={"macro_f1": 0.1, "interval_95": [0, 0.2], "rows": 90})
    entries = add_new_submissions(folder)
    assert final_two(entries, folder).best.submission == "best.csv"
    (folder / "best.csv").write_text("id,label\ni0,x\n")
    assert final_two(entries, folder).best.submission == "twin.csv"
    assert final_two([], folder) is None


@pytest.mark.parametrize("names", ["Target,Image", "label,id"])
def test_a_table_that_begins_with_the_label_is_compared_by_its_ids(folder, capsys, names):
    for path in folder.glob("*.csv"):
        rows = [line.split(",") for line in path.read_text().splitlines()[1:]]
        path.write_text("\n".join([names, *(f"{label},{name}" for name, label in rows)]) + "\n")
        record = json.loads(path.with_suffix(".json").read_text())
        told = {"id_column": "Image"} if "Image" in names else {}  # without it ids are what is there once
        path.with_suffix(".json").write_text(json.dumps({**record, **told, "sha256": hash_file(path)}))
    main(["leaderboard", "--folder", str(folder)])
    assert "best.csv (best: 0.8000 out of fold) and other.csv (differs on 7.5%" in capsys.readouterr().out


def test_of_few_images_whose_labels_all_differ_the_record_tells_the_ids(tmp_path, capsys):
    for name, rows, score in (("best", "a,1 b,2", 0.8), ("other", "a,1 c,2", 0.7)):
        path = made(tmp_path, name)
        path.write_text("label,id\n" + rows.replace(" ", "\n") + "\n")
        record = {"submission": path.name, "sha256": hash_file(path), "rows": 2, "id_column": "id"}
        path.with_suffix(".json").write_text(json.dumps({**record, "score": {"macro_f1": score}}))
    main(["leaderboard", "--folder", str(tmp_path)])
    assert "and other.csv (differs on 50.0% of the rows" in capsys.readouterr().out


def test_the_public_score_decides_only_where_no_other_is_known(folder):
    (folder / "mine.csv").write_text((folder / "worst.csv").read_text().replace("i0,x", "i0,z"))
    from competition.logbook import changing_logbook, find_entry

    with changing_logbook(folder) as entries:
        find_entry(entries, folder / "mine.csv")
    set_scores(folder, "mine", 0.99, None)
    assert final_two(add_new_submissions(folder), folder).best.submission == "best.csv"


def test_the_verb_enters_shows_and_sets(folder, capsys):
    words = ["leaderboard", "--folder", str(folder)]
    assert main([*words, "--set", "best", "--public", "0.55", "--private", "0.5"]) == 0
    main([*words, "--set", "twin.csv", "--public", "0.78"])
    capsys.readouterr()
    main(words)
    out = capsys.readouterr().out
    row = next(line for line in out.splitlines() if line.startswith("best.csv"))
    assert row.split() == ["best.csv", "0.8000", "[0.700,", "0.900]", "0.5500", "0.5000", "complete"]
    assert "no public score yet: other.csv, worst.csv" in out
    assert "suggested final submissions: best.csv (best: 0.8000 out of fold) and other.csv (differs on 7.5%" in out
    main([*words, "--json"])
    assert [row["public"] for row in json.loads(capsys.readouterr().out) if row["public"]] == [0.55, 0.78]


def test_an_empty_folder_says_how_to_fill_it(tmp_path, capsys):
    assert main(["leaderboard", "--folder", str(tmp_path / "none")]) == 0
    assert "predict.py writes one" in capsys.readouterr().out


def test_a_file_is_no_folder_of_submissions(tmp_path):
    (tmp_path / "a.csv").write_text("id,label\n")
    with pytest.raises(UserError, match="a.csv is a file: name the folder"):
        main(["leaderboard", "--folder", str(tmp_path / "a.csv")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--public", "0.5"], "name it with --set NAME"),
        (["--set", "a"], "which score?"),
        (["--set", "a", "--public", "much"], "--public"),
        (["--set", "a", "--public", "nan"], "between 0 and 1"),
        (["--public-share", "0"], "--public-share 0.0"),
        (["--publc", "0.5"], "did you mean '--public'?"),
    ],
)
def test_refusals(tmp_path, words, said):
    (tmp_path / "x").mkdir()
    with pytest.raises(UserError) as refusal:
        main(["leaderboard", "--folder", str(tmp_path / "x"), *words])
    assert said in str(refusal.value)
