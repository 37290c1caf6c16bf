"""The leaderboard verb: the table, the plot, the warning when scores part, the final two."""

import json

import numpy as np
import pytest

from competition.__main__ import main
from competition.errors import UserError
from competition.leaderboard import expected_band, final_two, parted, report, text_plot
from competition.logbook import Entry, add_new_submissions, set_scores
from competition.metrics import bootstrap_interval, leaderboard_band, macro_f1
from tests.test_logbook import made

ROWS = 40


def entry(name="a.csv", public=None, score=0.7, half=0.02, rows=1000, **more):
    return Entry(name, "0", rows, score, score - half, score + half, 1000, public, **more)


def test_the_band_grows_as_the_public_rows_shrink():
    band = expected_band(entry(), 1.0)
    assert (band.low, band.high) == pytest.approx((0.7 - 0.02 * 2**0.5, 0.7 + 0.02 * 2**0.5))
    assert expected_band(entry(), 0.25).low == pytest.approx(0.7 - 0.02 * 5**0.5)
    assert expected_band(Entry("a.csv", rows=5, out_of_fold=0.5), 0.3) is None
    assert expected_band(entry(score=0.99), 0.01).high == 1.0


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_the_band_agrees_with_the_one_drawn_from_counts(share):
    counts = np.full((10, 10), 4) + 64 * np.eye(10, dtype=int)
    interval = bootstrap_interval(counts)
    known = Entry("a.csv", "0", 1000, macro_f1(counts), interval.low, interval.high, int(counts.sum()))
    drawn, worked_out = leaderboard_band(counts, 1000, share), expected_band(known, share)
    assert (worked_out.low, worked_out.high) == pytest.approx((drawn.low, drawn.high), abs=0.012)


@pytest.mark.parametrize(
    ("public", "said"),
    [(0.64, "the folds leak"), (0.66, None), (0.7, None), (0.74, None), (0.76, "test images leak"), (None, None)],
)
def test_a_warning_when_public_and_out_of_fold_part(public, said):
    """0.02 at 1,000 rows, 300 of them public: the band is 0.7 +- 0.042."""
    warnings = parted([entry(public=public)], 0.3)
    assert len(warnings) == (said is not None)
    assert all(said in warning and "[0.658, 0.742]" in warning for warning in warnings)


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
