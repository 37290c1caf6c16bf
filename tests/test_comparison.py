"""Runs are compared on the same images, and the answer says what it holds."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition.comparison import Contender, compare, open_contender
from competition.errors import UserError
from competition.predictions import Predictions, save_predictions
from competition.verbs import compare as verb
from tests.conftest import REPOSITORY

NAMES = ("cat", "dog", "fox")


def made(decided, labels, ids=None, folds=None, names=NAMES):
    """Return predictions that decide as told."""
    ids = np.array(ids if ids is not None else [f"i{n:05d}" for n in range(len(labels))])
    probabilities = np.eye(len(names), dtype=np.float32)[np.asarray(decided)]
    folds = np.arange(len(labels)) % 2 if folds is None else np.asarray(folds)
    return Predictions(ids, tuple(names), probabilities, np.asarray(labels), folds)


def noisy(rng, labels, wrong, classes=3):
    """Return class numbers that are wrong on a share of the rows."""
    return np.where(rng.random(len(labels)) < wrong, rng.integers(0, classes, len(labels)), labels)


def pair(first, second, **options):
    return compare([Contender("a", first), Contender("b", second)], **options)


@pytest.fixture
def runs(tmp_path):
    """Two saved runs of 600 images: b is right more often."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 600)
    for name, wrong in (("a", 0.5), ("b", 0.3)):
        save_predictions(tmp_path / name / "oof.npz", made(noisy(rng, labels, wrong), labels))
    return tmp_path


def test_scores_and_differences_are_scikit_learns():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, 500)
    first, second = noisy(rng, labels, 0.4), noisy(rng, labels, 0.5)
    found = pair(made(first, labels), made(second, labels)).runs
    expected = [f1_score(labels, one, average="macro") for one in (first, second)]
    assert [run.macro_f1 for run in found] == pytest.approx(expected, abs=1e-15)
    difference = found[1].difference
    assert difference.macro_f1 == pytest.approx(expected[1] - expected[0], abs=1e-15)
    per_class = {change.name: (change.before, change.after) for change in difference.classes}
    for k, name in enumerate(NAMES):
        assert per_class[name] == pytest.approx([f1_score(labels, o, average=None)[k] for o in (first, second)])
    for fold in (0, 1):
        rows = np.arange(500) % 2 == fold
        scores = [f1_score(labels[rows], one[rows], average="macro") for one in (first, second)]
        assert difference.per_fold[fold] == pytest.approx(scores[1] - scores[0])
    assert difference.only_first_right == ((first == labels) & (second != labels)).sum()
    assert difference.only_this_right == ((second == labels) & (first != labels)).sum()


def test_the_biggest_change_of_a_class_comes_first():
    labels = np.repeat([0, 1, 2], 20)
    second = labels.copy()
    second[45:] = 1  # foxes become dogs: F1 of fox falls to 0.4, that of dog to 40/55
    changes = pair(made(labels, labels), made(second, labels)).runs[1].difference.classes
    assert [(change.name, round(change.after, 3)) for change in changes] == [("fox", 0.4), ("dog", 0.727), ("cat", 1)]


def test_rows_are_joined_by_id_and_columns_by_name():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, 100)
    first = made(noisy(rng, labels, 0.4), labels)
    shuffled = first.rows(rng.permutation(100))
    renamed = Predictions(
        shuffled.image_ids, ("fox", "cat", "dog"), shuffled.probabilities[:, [2, 0, 1]],
        np.array([1, 2, 0])[shuffled.labels], shuffled.folds,
    )  # fmt: skip
    found = pair(first, renamed)
    difference = found.runs[1].difference
    assert (difference.macro_f1, difference.interval.low, difference.interval.high) == (0, 0, 0)
    assert difference.chance_better == 0.5
    assert found.notes == ()


def test_what_is_hard_for_both_cancels():
    rng = np.random.default_rng(4)
    labels = rng.integers(0, 3, 1000)
    first = noisy(rng, labels, 0.6)
    second = np.where(rng.random(1000) < 0.02, labels, first)  # the same mistakes but a few
    found = pair(made(first, labels), made(second, labels)).runs[1]
    own, paired = found.interval, found.difference.interval
    assert paired.high - paired.low < 0.35 * (own.high - own.low)
    assert paired.low > 0
    assert found.difference.chance_better > 0.99


def test_images_that_only_some_runs_know_are_left_out_aloud():
    labels = np.array([0, 1, 2] * 10)
    first = made(labels, labels)
    found = pair(first, first.rows(np.arange(12)))
    assert found.images == 12
    assert found.notes == ("a: 18 images left out that not all runs predicted",)


def test_other_folds_are_told():
    labels = np.array([0, 1, 2] * 10)
    found = pair(made(labels, labels), made(labels, labels, folds=np.arange(30) // 15))
    assert len(found.notes) == 1
    assert "b: 14 images of 30 in another fold than with a: paired by image but not by training set" in found.notes[0]
    unknown = Predictions(*[getattr(made(labels, labels), n) for n in ("image_ids", "class_names", "probabilities")],
                          labels)  # fmt: skip
    assert "b: its folds are not known" in pair(made(labels, labels), unknown).notes[0]
    assert pair(unknown, made(labels, labels)).runs[1].difference.per_fold == {}


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (made([0], [0], ids=["z"]), "no image in common"),
        (made([0, 1], [0, 1], names=("cat", "elk", "dog")), "a and b know different classes; in one alone: elk, fox"),
        (made([0, 1], [0, 2]), "a and b give 1 image other labels: i00001"),
    ],
)
def test_what_cannot_be_compared_is_refused(second, message):
    with pytest.raises(UserError, match=message):
        pair(made([0, 1], [0, 1]), second)


def test_a_run_that_cannot_be_opened_is_named(tmp_path):
    labels = np.array([0, 1])
    with pytest.raises(UserError, match=r"none does not exist"):
        open_contender(tmp_path / "none")
    (tmp_path / "begun").mkdir()
    with pytest.raises(UserError, match=r"begun has no oof.npz: finish its folds"):
        open_contender(tmp_path / "begun")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "study.json").write_text("{}")
    with pytest.raises(UserError, match=r"study is a study: name its trials, such as .*study/trials/0000"):
        open_contender(tmp_path / "study")
    save_predictions(tmp_path / "twice.npz", made(labels, labels, ids=["x", "x"]))
    with pytest.raises(UserError, match=r"twice.npz names images twice: x"):
        open_contender(tmp_path / "twice.npz")
    blind = Predictions(np.array(["x"]), NAMES, np.ones((1, 3), np.float32) / 3)
    save_predictions(tmp_path / "blind.npz", blind)
    with pytest.raises(UserError, match=r"blind.npz has no labels"):
        open_contender(tmp_path / "blind.npz")


def test_a_score_picked_on_its_own_fold_is_told(runs):
    (runs / "b" / "score.json").write_text(json.dumps({"warning": "picked on its fold"}))
    found = compare([open_contender(runs / name) for name in "ab"])
    assert found.notes == (f"{runs / 'b'}: picked on its fold",)


def trained_on(run, images_hash):
    (run / "run.json").write_text(json.dumps({"identity": {"class_names": NAMES, "images_hash": images_hash}}))


def test_other_images_under_the_same_ids_are_told(runs):
    trained_on(runs / "a", "cafe")
    assert compare([open_contender(runs / name) for name in "ab"]).notes == ()  # of b it is not known
    trained_on(runs / "b", "cafe")
    assert compare([open_contender(runs / name) for name in "ab"]).notes == ()
    trained_on(runs / "b", "beef")
    (note,) = compare([open_contender(runs / name) for name in "ab"]).notes
    assert f"{runs / 'b'} has the ids but not the images of {runs / 'a'} (images_hash in run.json)" in note
    fewer = open_contender(runs / "b").predictions.rows(np.arange(500))
    save_predictions(runs / "b" / "oof.npz", fewer)
    _, note = compare([open_contender(runs / name) for name in "ab"]).notes
    assert "was not trained on the same images as" in note


def test_words(runs, capsys):
    assert verb.main([str(runs / "a"), str(runs / "b" / "oof.npz"), "--test-rows", "200"]) == 0
    text = capsys.readouterr().out
    for piece in ("600 images, 3 classes", "over 200 test rows", "is better than", "right alone:", "per fold: +",
                  "classes that change most (of equal runs, 0.2 of 3", "not that of another seed"):  # fmt: skip
        assert piece in text
    assert "flattered" not in text
    verb.main([str(runs / "b"), str(runs / "a"), str(runs / "b")])
    text = capsys.readouterr().out
    assert "is worse than" in text
    assert "cannot be told apart from" in text
    assert "The best of several is flattered" in text


def test_json(runs, capsys):
    verb.main([str(runs / "a"), str(runs / "b"), "--json", "--test-rows", "200"])
    found = json.loads(capsys.readouterr().out)
    first, second = found["runs"]
    assert first["difference"] is None
    assert second["band"]["low"] < second["interval"]["low"] < second["macro_f1"] < second["band"]["high"]
    assert len(second["difference"]["classes"]) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [(["a"], "needs two runs at least"), (["a", "b", "--test-rows", "0"], "'0' is no number of rows"),
     (["a", "b", "--jsn"], "did you mean '--json'")],
)  # fmt: skip
def test_wrong_flags(words, message):
    with pytest.raises(UserError, match=message):
        verb.main(words)


def test_nothing_heavy_is_imported():
    heavy = "{'torch', 'pandas', 'sklearn', 'scipy'} & set(sys.modules)"
    code = f"import sys, competition.comparison, competition.verbs.compare; sys.exit(len({heavy}))"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0
