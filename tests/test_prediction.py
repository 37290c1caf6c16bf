"""The steps of predict.py that decide something by themselves, and the record of a submission."""

import json
import re
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from competition.config import TrainSettings
from competition.data.catalog import Catalog
from competition.decision import Decision
from competition.ensemble.combination import Combination
from competition.errors import UserError
from competition.prediction import record, steps
from competition.prediction.fitting import FittedEnsemble, fit_decision, fit_ensemble
from competition.prediction.members import Member, open_members
from competition.prediction.settings import PredictSettings
from competition.prediction.steps import output_path, write_outputs
from competition.predictions import Predictions, load_predictions, save_predictions
from competition.runs import hash_file, write_atomically
from tests.test_members import make_run


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        (["runs/one/"], "one.csv"),
        (["runs/one", "runs/two"], "one+two.csv"),
        ([f"runs/{n}" for n in range(9)], "0+1+2+3+5-more.csv"),
    ],
)
def test_the_submission_is_named_after_the_runs(runs, expected):
    assert output_path(PredictSettings(), runs, CATALOG) == Path("submissions") / expected
    assert output_path(PredictSettings(out="mine.csv"), runs, CATALOG) == Path("mine.csv")


def test_runs_of_long_names_have_a_submission_each(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    groups = [[f"runs/{n}{letter * 60}é" for n in range(4)] for letter in "aé"]
    groups.append([*groups[0][:3], "runs/other"])  # differs where the name is cut
    paths = [output_path(PredictSettings(), runs, CATALOG) for runs in groups]
    for path in paths:
        write_atomically(path.with_suffix(".json"), "{}")
    assert len(set(paths)) == 3
    assert paths[0].name.startswith(f"0{'a' * 60}é+1")


def test_predictions_of_other_images_are_not_overwritten_unasked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("submissions").mkdir()
    Path("submissions/a.csv").write_text("id,label\n")
    for source, is_other in (("data.zip", False), ("other.zip", True)):
        Path("submissions/a.json").write_text(json.dumps({"data": source}))
        if is_other:
            with pytest.raises(UserError, match="a.csv holds the predictions of other.zip: name"):
                output_path(PredictSettings(), ["runs/a"], CATALOG)
        assert output_path(PredictSettings(out="submissions/a.csv"), ["runs/a"], CATALOG).name == "a.csv"
    Path("submissions/a.json").unlink()
    assert output_path(PredictSettings(), ["runs/a"], CATALOG).name == "a.csv"


@pytest.mark.parametrize(
    ("before", "now", "is_other"),
    [
        (["runs/a"], ["runs/a"], False),
        (["alt/../runs/a"], ["./runs/a"], False),
        (["alt/a"], ["runs/a"], True),
        (["studies/a/trials/0000"], ["runs/a"], True),
        (["runs/a"], ["studies/a"], True),
        (["studies/a/trials/0000", "studies/a/trials/0003"], ["studies/a"], False),  # it may have more trials by now
        (["studies/a/trials/0000", "runs/b"], ["studies/a", "runs/b"], False),
        (["studies/a/trials/0000"], ["studies/b/trials/0000"], True),
        (["runs/a+b"], ["runs/a", "runs/b"], True),
        (["runs/a", "alt/b"], ["runs/a", "runs/b"], True),
        ([f"runs/{n}" for n in range(5)], ["runs/0", "runs/1", "runs/2", "runs/3", "runs/9"], True),
    ],
)
def test_predictions_of_other_runs_are_not_overwritten_unasked(tmp_path, monkeypatch, before, now, is_other):
    monkeypatch.chdir(tmp_path)
    path = output_path(PredictSettings(), now, CATALOG)
    path.parent.mkdir()
    path.write_text("id,label\n")
    record = {"data": "data.zip", "runs": [{"run": run} for run in before]}
    path.with_suffix(".json").write_text(json.dumps(record))
    if not is_other:
        assert output_path(PredictSettings(), now, CATALOG) == path
        return
    with pytest.raises(UserError) as refusal:
        output_path(PredictSettings(), now, CATALOG)
    assert f"{path} holds the predictions by {before[0]}" in str(refusal.value)
    assert f"or write over this one with --out {path}" in str(refusal.value)


@pytest.mark.parametrize(("given", "expected"), [("own", None), ("auto", None), ("3", 3)])
def test_views_are_a_number_or_a_word(given, expected):
    assert PredictSettings(views=given).view_count == expected


def test_views_beyond_eight_are_refused():
    with pytest.raises(UserError, match="--views '9': choose from own, auto, 1, "):
        PredictSettings(views="9")


@pytest.mark.parametrize("out", ["submissions", "best.json", "best.txt", "best.CSV"])
def test_the_json_beside_the_csv_cannot_take_its_place(out):
    with pytest.raises(UserError, match=rf"--out {out}: the submission is a CSV .*ends in .csv"):
        PredictSettings(out=Path(out))


CATALOG = Catalog(pd.DataFrame(), Path("data.zip"), "csv", "name", "class", ["t1", "t0", "t2"], [])


def write(tmp_path, probabilities, labels=None):
    """Write a submission of two runs, the second of them better."""
    runs = [make_run(tmp_path / name) for name in ("r", "s")]
    for fold in (0, 1):
        path = tmp_path / "s" / f"fold_{fold}" / "predictions.npz"
        saved = load_predictions(path)
        good = np.eye(2, dtype=np.float32)[saved.labels] * 0.8 + 0.1
        save_predictions(path, Predictions(saved.image_ids, saved.class_names, good, saved.labels, saved.folds))
    for run in runs:
        path = Path(run) / "run.json"
        values = json.loads(path.read_text())
        values["identity"]["fold_hash"] = "abc"
        path.write_text(json.dumps(values))
        (Path(run) / "score.json").write_text(json.dumps({"macro_f1": 0.5, "interval_95": [0.4, 0.6]}))
    settings = PredictSettings(ensemble="weighted")
    ensemble = fit_ensemble(open_members(runs), settings.ensemble)
    decision = fit_decision(ensemble, settings.decide)
    test = Predictions(np.array(["t0", "t1", "t2"]), ("a", "b"), np.array(probabilities, np.float32), labels)
    write_outputs(tmp_path / "out.csv", settings, ensemble, decision, CATALOG, test)
    return ensemble


def test_a_submission_has_the_rows_asked_for_and_a_record(tmp_path):
    ensemble = write(tmp_path, [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], np.array([0, 1, 0]))
    assert (tmp_path / "out.csv").read_text() == "name,class\nt1,b\nt0,a\nt2,b\n"
    made = json.loads((tmp_path / "out.json").read_text())
    assert made["sha256"] == hash_file(tmp_path / "out.csv")
    assert made["id_column"] == "name"
    assert made["ensemble"]["method"] == "weighted"
    assert set(made["ensemble"]["methods"]) == {"best", "weighted"}
    assert [run["weight"] for run in made["runs"]] == ensemble.combination.weights.tolist()
    assert [run["fold_hash"] for run in made["runs"]] == ["abc", "abc"]
    assert made["runs"][0]["weights"] == [None, None]  # they were deleted
    assert made["runs"][1]["out_of_fold"] == {"macro_f1": 0.5, "interval_95": [0.4, 0.6]}
    confusion = {"a": {"a": 4}, "b": {"b": 4}}
    assert made["score"] == {"macro_f1": 1.0, "interval_95": [1.0, 1.0], "rows": 8, "confusion": confusion}
    assert made["decision"]["kind"] == "argmax"
    assert made["test_macro_f1"] == pytest.approx(2 / 3)


def test_a_submission_that_would_be_refused_is_not_written(tmp_path):
    test = Predictions(np.array(["t0", "t1"]), ("a", "b"), np.full((2, 2), 0.5, np.float32))
    ensemble = fit_ensemble(open_members([make_run(tmp_path / "r")]), "auto")
    decision = fit_decision(ensemble, "argmax")
    with pytest.raises(UserError, match="t2"):
        write_outputs(tmp_path / "out.csv", PredictSettings(), ensemble, decision, CATALOG, test)
    assert not (tmp_path / "out.csv").exists()


def submit(folder, favour_a, decision=None):
    """Write a submission of 200 images with these probabilities of class a; out of fold every second one was of a."""
    labels = np.arange(200) % 2
    ids = np.array([f"t{number}" for number in range(200)])
    nested = Predictions(ids, ("a", "b"), np.eye(2, dtype=np.float32)[labels], labels, np.arange(200) // 2 % 5)
    ensemble = FittedEnsemble([], Combination("mean", "probability", np.empty(0)), nested, None)
    fitted = fit_decision(ensemble, "argmax")
    fitted = fitted if decision is None else replace(fitted, decision=decision)
    first = np.array(favour_a, np.float32)
    test = Predictions(ids, ("a", "b"), np.stack([first, 1 - first], axis=1))
    write_outputs(folder / "out.csv", PredictSettings(), ensemble, fitted, replace(CATALOG, submission_ids=None), test)
    return "".join(pd.read_csv(folder / "out.csv")["class"])


def test_a_submission_of_one_class_is_not_written(tmp_path):
    with pytest.raises(UserError, match="one class only"):
        submit(tmp_path, [0.7] * 200)
    assert list(tmp_path.iterdir()) == []


def test_shares_far_from_the_out_of_fold_ones_are_told_and_written(tmp_path, capsys):
    assert submit(tmp_path, [0.7] * 100 + [0.3] * 100) == "a" * 100 + "b" * 100
    assert capsys.readouterr().out == ""
    assert submit(tmp_path, [0.7] * 180 + [0.3] * 20) == "a" * 180 + "b" * 20
    assert re.search("warning: .*out.csv: shares far from the out-of-fold ones", capsys.readouterr().out)


@pytest.mark.parametrize(("kind", "tau"), [("prior", 0.5), ("weights", None)])
def test_a_submission_has_the_classes_that_the_decision_gives(tmp_path, kind, tau):
    decision = Decision(kind, kind, 1.0, tau, np.array([0.5, 2]))  # 0.9 * 0.5 > 0.1 * 2, but 0.6 * 0.5 < 0.4 * 2
    assert submit(tmp_path, [0.9] * 100 + [0.6] * 50 + [0.1] * 50, decision) == "a" * 100 + "b" * 100


def test_folds_are_averaged_and_members_weighted_by_class_name(monkeypatch):
    """The second fold of each member knows the classes in another order; the member without weight is not asked."""
    values = {
        "runs/r/fold_0": ("ab", [[0.8, 0.2], [0.5, 0.5]]),
        "runs/r/fold_1": ("ba", [[0.4, 0.6], [0.9, 0.1]]),
        "runs/t/fold_0": ("ab", [[0.0, 1.0], [1.0, 0.0]]),
        "runs/t/fold_1": ("ba", [[0.8, 0.2], [0.4, 0.6]]),
    }
    ids = ["t0", "t1"]

    def found(folder, *_):
        names, probabilities = values[folder.as_posix()]
        return Predictions(np.array(ids), tuple(names), np.array(probabilities, np.float32))

    monkeypatch.setattr(steps, "predict_fold", found)
    monkeypatch.setattr(steps, "stored_path", lambda *_: Path(__file__))  # kept
    monkeypatch.setattr(steps, "Pictures", lambda *_: SimpleNamespace(at=lambda *_: None))
    members = [
        Member(Path(f"runs/{name}"), [Path(f"runs/{name}/fold_{n}") for n in (0, 1)], ("a", "b"), TrainSettings(), 8,
               "crop", 2)
        for name in "rst"
    ]  # fmt: skip
    combination = Combination("weighted", "probability", np.array([0.9, 0, 0.1]))
    ensemble = FittedEnsemble(members, combination, Predictions(np.array([]), ("a", "b"), np.empty((0, 2))), None)
    table = pd.DataFrame({"image_id": ids, "split": "test", "label": ["b", "a"]})
    test = steps.predict_test(PredictSettings(), ensemble, replace(CATALOG, table=table))
    assert test.image_ids.tolist() == ids
    # Members: (0.8 + 0.6) / 2 and (0 + 0.2) / 2 for a; then (0.5 + 0.1) / 2 and (1 + 0.6) / 2.
    expected = np.array([0.9 * 0.7 + 0.1 * 0.1, 0.9 * 0.3 + 0.1 * 0.8])
    np.testing.assert_allclose(test.probabilities, np.stack([expected, 1 - expected], axis=1), atol=1e-6)
    assert test.labels.tolist() == [1, 0]


def test_the_revision_is_that_of_the_checkout(monkeypatch):
    found = record.revision()
    assert found is None or re.fullmatch(r"[0-9a-f]{40}\+?", found)

    def no_git(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(subprocess, "run", no_git)
    assert record.revision() is None
