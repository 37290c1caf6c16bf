"""Runs and studies as members, and folders that are neither."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from competition.errors import UserError
from competition.prediction.members import data_of, open_members, training_data_of
from competition.prediction.settings import PredictSettings
from competition.predictions import Predictions, save_predictions

CLASSES = ["a", "b"]


def make_run(folder, folds=(0, 1), classes=CLASSES, pooled=True, **settings):
    """A run folder as train.py leaves it, without weights."""
    folder.mkdir(parents=True)
    identity = {"class_names": classes, "image_size": 24}
    (folder / "run.json").write_text(json.dumps({"fold_file": "folds/x.csv", "identity": identity}))
    (folder / "settings.yaml").write_text(yaml.safe_dump({"folds": 2, "views": 2, "resize": "crop", **settings}))
    for fold in folds:
        ids = np.array([f"{fold}-{number}" for number in range(4)])
        probabilities = np.full((4, 2), 0.5, np.float32)
        labels = np.array([0, 1, 0, 1])
        fold_numbers = np.full(4, fold)
        saved = Predictions(ids, tuple(classes), probabilities, labels, fold_numbers)
        save_predictions(folder / f"fold_{fold}" / "predictions.npz", saved)
    if pooled:
        (folder / "score.json").write_text("{}")
    return str(folder)


def test_a_run_knows_what_its_networks_see(tmp_path):
    (member,) = open_members([make_run(tmp_path / "r")])
    assert [folder.name for folder in member.fold_folders] == ["fold_0", "fold_1"]
    assert (member.image_size, member.resize, member.views) == (24, "crop", 2)
    assert member.class_names == ("a", "b")
    assert open_members([str(tmp_path / "r")], views=6)[0].views == 6
    preprocessing = {"image_size": 32, "resize": "squash"}
    (tmp_path / "r" / "fold_0" / "model.json").write_text(json.dumps({"preprocessing": preprocessing}))
    (member,) = open_members([str(tmp_path / "r")])
    assert (member.image_size, member.resize) == (32, "squash")  # what the checkpoint says goes first


def test_out_of_fold_predictions_are_pooled_where_the_run_has_not_done_it(tmp_path):
    (member,) = open_members([make_run(tmp_path / "r")])
    pooled = member.out_of_fold()
    assert pooled.folds.tolist() == [0] * 4 + [1] * 4
    save_predictions(tmp_path / "r" / "oof.npz", pooled.rows(np.arange(3)))
    assert len(member.out_of_fold().image_ids) == 3
    (tmp_path / "r" / "fold_1" / "predictions.npz").unlink()
    (partial,) = open_members([str(tmp_path / "r")], allow_partial=True)
    assert len(partial.out_of_fold().image_ids) == 4  # not the stale file of all folds


def test_a_study_is_its_finished_trials(tmp_path):
    study = tmp_path / "studies" / "s"
    for trial, options in {"0002": {}, "0000": {}, "0001": {"folds": (0,), "pooled": False}}.items():
        make_run(study / "trials" / trial, **options)
    (study / "study.json").write_text("{}")
    members = open_members([make_run(tmp_path / "r"), str(study)])
    assert [member.folder.name for member in members] == ["r", "0000", "0002"]


def test_a_study_without_a_finished_trial_is_refused(tmp_path):
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(UserError, match="is a study without a finished trial"):
        open_members([str(tmp_path)])


def test_a_run_named_twice_is_refused(tmp_path):
    run = make_run(tmp_path / "r")
    with pytest.raises(UserError, match="named more than once: "):
        open_members([run, str(tmp_path / "r" / ".." / "r")])


def test_unfinished_folds_need_permission(tmp_path):
    run = make_run(tmp_path / "r", folds=(1,), pooled=False)
    with pytest.raises(UserError, match=r"r: not finished: fold 0; finished: 1 of 2."):
        open_members([run])
    assert [folder.name for folder in open_members([run], allow_partial=True)[0].fold_folders] == ["fold_1"]


def test_a_run_without_a_finished_fold_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no finished fold"):
        open_members([make_run(tmp_path / "r", folds=(), pooled=False)], allow_partial=True)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.json", "{", r"run.json is damaged .*: restore it"),
        ("run.json", "{}", r"run.json does not describe a run"),
        ("run.json", "[]", r"run.json does not describe a run"),
        ("settings.yaml", "a: [", r"settings.yaml is not valid YAML"),
        ("settings.yaml", None, r"settings.yaml cannot be read: No such file"),
        ("fold_0/model.json", "{}", r"model.json does not describe a checkpoint: KeyError"),
    ],
)
def test_a_damaged_run_is_named(tmp_path, name, text, said):
    run = make_run(tmp_path / "r")
    path = tmp_path / "r" / name
    path.unlink(missing_ok=True) if text is None else path.write_text(text)
    with pytest.raises(UserError, match=said):
        open_members([run])


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="is not a run"):
        open_members([str(tmp_path)])


def test_other_classes_are_refused(tmp_path):
    with pytest.raises(UserError, match="know different classes"):
        open_members([make_run(tmp_path / "r"), make_run(tmp_path / "s", classes=["a", "c"])])


def test_without_data_the_runs_own_is_used(tmp_path):
    (member,) = open_members([make_run(tmp_path / "r", data=str(tmp_path / "own"), id_column="name")])
    (tmp_path / "own").mkdir()
    assert data_of(PredictSettings(), member).data.name == "own"
    assert data_of(PredictSettings(), member).id_column == "name"
    assert data_of(PredictSettings(data="other"), member).data.name == "other"


def test_the_tables_and_images_of_a_run_are_found_from_anywhere(tmp_path, monkeypatch):
    run = make_run(tmp_path / "r", data="own", test_csv="lists/test.csv", train_csv="train.csv", images="pictures")
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    places = {"data": tmp_path / "own", "test_csv": tmp_path / "lists" / "test.csv", "images": tmp_path / "pictures"}
    places["images"].mkdir()
    places["data"].mkdir()
    (tmp_path / "r" / "run.json").write_text(json.dumps(record | {name: str(path) for name, path in places.items()}))
    (member,) = open_members([run])
    (tmp_path / "elsewhere" / "lists").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = data_of(PredictSettings(), member)
    assert (found.test_csv, found.images) == (places["test_csv"], places["images"])
    assert found.train_csv == Path("train.csv")  # a name inside the data
    Path("lists/test.csv").touch()
    assert data_of(PredictSettings(), member).test_csv == Path("lists/test.csv")  # all has moved together


def test_a_flag_counts_before_the_runs_own_and_the_runs_data_is_found_from_anywhere(tmp_path, monkeypatch):
    run = make_run(tmp_path / "r", data="own", test_csv="old.csv", id_column="name")
    record = json.loads((tmp_path / "r" / "run.json").read_text())
    (tmp_path / "r" / "run.json").write_text(json.dumps({**record, "data": str(tmp_path / "own")}))
    (member,) = open_members([run])
    settings = PredictSettings(test_csv="new.csv")
    said = f"r: the data it was trained on is no longer at {tmp_path / 'own'}.*--data PATH --id-column name"
    for where in (data_of, training_data_of):
        with pytest.raises(UserError, match=said):
            where(settings, member)
    (tmp_path / "moved" / "own").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "moved")
    assert data_of(settings, member).data == Path("own")  # all has moved together
    assert training_data_of(settings.replace(data=tmp_path), member).data == tmp_path
    (tmp_path / "own").mkdir()
    found = data_of(settings, member)
    assert (found.data, found.test_csv.name, found.id_column) == (tmp_path / "own", "new.csv", "name")
    other = settings.replace(data=tmp_path)
    assert data_of(other, member) == other
    found = training_data_of(other, member)
    assert (found.data, found.test_csv.name) == (tmp_path / "own", "old.csv")
