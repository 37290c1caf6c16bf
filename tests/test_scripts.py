"""The real scripts on tiny data: train, go on, predict, score."""

import dataclasses
import errno
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

import predict
import train
from competition.checkpoint import open_checkpoint, save_checkpoint
from competition.models.budget import count_nonzero
from competition.models.factory import create_network
from competition.prediction import fold_prediction
from competition.predictions import load_predictions
from competition.training import cross_validation
from tests.tiny_run import CLASSES, TINY, answer

pytestmark = pytest.mark.usefixtures("no_probe")


def test_a_run_leaves_what_the_readme_says(trained):
    run = trained / "runs" / "a"
    names = {path.name for path in run.iterdir()}
    assert {
        "settings.yaml",
        "run.json",
        "environment.json",
        "precision.json",
        "oof.npz",
        "oof.csv",
        "score.json",
    } <= names
    assert {path.name for path in (run / "fold_0").iterdir()} == {
        "history.jsonl", "lock", "model.json", "model.safetensors", "predictions.npz",
    }  # fmt: skip
    pooled = load_predictions(run / "oof.npz")
    assert len(pooled.image_ids) == 30  # the validation split joins the folds
    table = pd.read_csv(run / "oof.csv")
    assert table["image_id"].tolist() == pooled.image_ids.tolist()
    score = json.loads((run / "score.json").read_text())
    assert set(score["per_fold"]) == {"0", "1"}
    assert set(score["per_class"]) == set(CLASSES)
    assert score["kept_epoch"] == "last"
    folds = pd.read_csv(trained / "folds" / "tiny-2-seed0.csv")
    assert folds["image_id"].nunique() == 30


def test_predict_writes_a_submission_and_what_made_it(finished, capsys):
    code, out, err = answer(predict.main, ["runs/a", "--out", "submissions/s.csv", *finished], capsys)
    assert code == 0
    assert "9 rows from 2 networks" in out
    assert "predicting: 18/18 images in " in err
    table = pd.read_csv("submissions/s.csv")
    assert table.columns.tolist() == ["image_id", "label"]
    assert table["image_id"].tolist() == [f"{number}.png" for number in range(9)]
    assert set(table["label"]) <= set(CLASSES)
    record = json.loads(Path("submissions/s.json").read_text())
    assert record["runs"][0]["folds"] == ["fold_0", "fold_1"]
    assert record["runs"][0]["out_of_fold"]["macro_f1"] == json.loads(Path("runs/a/score.json").read_text())["macro_f1"]


def test_test_images_that_the_sample_submission_leaves_out_are_told_and_not_counted(folders, finished, capsys):
    data = Path(shutil.copytree(folders, "part"))
    (data / "sample_submission.csv").write_text("label,id\nblue,7.png\nblue,2.png\nblue,4.png\n")
    code, out, _ = answer(predict.main, ["runs/a", "--data", data, "--out", "s.csv", *finished], capsys)
    assert code == 0
    assert "warning: 6 of 9 test images left out of the file: the sample submission" in out
    assert "does not name 0.png, 1.png, 3.png, 5.png, 6.png and 1 more\n" in out
    assert out.endswith("s.csv: 3 rows from 2 networks\n")
    assert pd.read_csv("s.csv")["id"].tolist() == ["7.png", "2.png", "4.png"]
    record = json.loads(Path("s.json").read_text())
    assert (record["rows"], record["id_column"]) == (3, "id")


def test_the_last_line_is_the_predict_command(folders, finished, capsys):
    words = ["--data", folders, "--run", "runs/a", *finished, *TINY]
    code, out, _ = answer(train.main, words, capsys)  # finished: nothing is trained, the score is printed again
    assert code == 0
    command = out.splitlines()[-1].split()
    assert command[:2] == ["python", "predict.py"]
    assert answer(predict.main, [*command[2:], *finished], capsys)[0] == 0
    assert Path("submissions/a.csv").exists()
    shutil.copytree(Path(folders) / "train", "bare/train")  # no test images there
    words = ["--data", "bare", "--run", "runs/b", *finished, *TINY, "--steps", "5", "--validate-every", "99"]
    code, out, _ = answer(train.main, words, capsys)
    assert out.splitlines()[-1] == "python predict.py runs/b --data PATH"


def test_a_partial_run_asks_for_permission(finished, capsys):
    (Path("runs/a/fold_1") / "predictions.npz").unlink()
    code, _, err = answer(predict.main, ["runs/a", *finished], capsys)
    assert code == 2
    assert "not finished: fold 1; finished: 1 of 2" in err
    assert "--allow-partial" in err
    code, out, _ = answer(predict.main, ["runs/a", "--allow-partial", *finished], capsys)
    assert code == 0
    assert "from 1 network\n" in out


def test_holdout_is_scored_apart_and_copies_of_training_images_are_counted(folders, place, capsys):
    shutil.copytree(folders, folders := Path("tiny"))
    shutil.copy("tiny/train/blue/train0.png", "tiny/val/blue/val0.png")
    words = ["--data", folders, "--run", "runs/h", "--holdout", *place, *TINY, "--epochs", "1"]
    code, out, _ = answer(train.main, words, capsys)
    assert code == 0
    assert "holdout macro F1" in out
    assert "WARNING exact duplicates in train and validation: 2 images" in out
    assert "note: 1 of 6 images held out" in out
    holdout = json.loads(Path("runs/h/score.json").read_text())["holdout"]
    assert (holdout["rows"], holdout["copies"]) == (6, 1)
    assert len(load_predictions(Path("runs/h/oof.npz")).image_ids) == 24


def test_a_zip_is_used_in_place(folders, place, capsys):
    shutil.make_archive("tiny", "zip", folders)
    words = ["--data", "tiny.zip", "--run", "runs/z", *place, *TINY, "--epochs", "1"]
    assert answer(train.main, words, capsys)[0] == 0
    assert answer(predict.main, ["runs/z", "--out", "z.csv", *place], capsys)[0] == 0
    assert len(pd.read_csv("z.csv")) == 9
    assert {path.name for path in Path().iterdir()} >= {"tiny.zip", "runs", "folds"}
    assert not Path("train").exists()


def test_a_run_that_cannot_be_written_is_predicted_from_and_it_is_said_once(finished, capsys, monkeypatch):
    def refuse(path, data):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(fold_prediction, "save_predictions", refuse)
    before = sorted(Path("runs").rglob("*"))
    code, out, _ = answer(predict.main, ["runs/a", "--out", "s.csv", *finished], capsys)
    assert code == 0
    assert len(pd.read_csv("s.csv")) == 9
    assert out.count("note: ") == 1
    assert "note: predictions cannot be kept in runs/a/fold_0, runs/a/fold_1" in out
    assert sorted(Path("runs").rglob("*")) == before


def test_repeats_average_two_dealings(folders, place, capsys):
    words = ["--data", folders, "--run", "runs/r", "--repeats", "2", *place, *TINY, "--epochs", "1"]
    assert answer(train.main, words, capsys)[0] == 0
    assert len(list(Path("runs/r").glob("fold_*"))) == 4
    assert len(load_predictions(Path("runs/r/oof.npz")).image_ids) == 30
    assert answer(predict.main, ["runs/r", *place], capsys)[0] == 0


@pytest.mark.parametrize("method", ["structured", "magnitude"])
def test_pruning_under_a_limit_and_tuning_on(folders, finished, capsys, method):
    words = ["--data", folders, "--run", "runs/p", *finished, *TINY, "--epochs", "1"]
    prune = ["--prune-from", "runs/a", "--max-parameters", "50000", "--prune-method", method]
    assert answer(train.main, [*words, *prune], capsys)[0] == 0
    network, _ = open_checkpoint(Path("runs/p/fold_0"))
    assert count_nonzero(network) <= 50_000
    assert answer(predict.main, ["runs/p", *finished], capsys)[0] == 0


def test_what_is_pruned_keeps_its_options_and_its_folds(folders, place, capsys):
    common = ["--data", folders, *place, *TINY, "--epochs", "1"]
    options = ["--model-options", "activation=elu", "--resize", "crop", "--dropout", "0.1"]
    assert answer(train.main, [*common, "--run", "runs/large", *options], capsys)[0] == 0
    prune = [*common, "--run", "runs/p", "--prune-from", "runs/large", "--max-parameters", "50000"]
    code, _, err = answer(train.main, [*prune, "--seed", "1"], capsys)
    assert code == 2
    assert "--prune-from runs/large: it was trained on other folds or images" in err
    code, _, err = answer(train.main, [*prune, "--model-options", "activation=relu"], capsys)
    assert code == 2
    assert "its --model-options is {'activation': 'elu'}" in err
    assert answer(train.main, prune, capsys)[0] == 0
    _, checkpoint = open_checkpoint(Path("runs/p/fold_0"))
    assert (checkpoint.model_options, checkpoint.preprocessing.resize) == ({"activation": "elu"}, "crop")
    assert checkpoint.dropout == 0.1


def test_each_fold_goes_on_from_its_own_of_an_earlier_run(folders, finished, capsys):
    words = ["--data", folders, *finished, *TINY, "--weights", "runs/a", "--run", "runs/b"]
    code, _, err = answer(train.main, [*words, "--image-size", "24", "--learning-rate", "1e-9"], capsys)
    assert code == 0, err
    for fold in (0, 1):
        before, after = (open_checkpoint(Path(run, f"fold_{fold}")) for run in ("runs/a", "runs/b"))
        assert after[1].preprocessing.image_size == 24
        for name, weight in before[0].named_parameters():
            assert torch.allclose(weight, after[0].get_parameter(name), atol=1e-6), name
    assert answer(predict.main, ["runs/a", "runs/b", *finished], capsys)[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--weights", "runs/a", "--seed", "1"], "--weights runs/a: it was trained on other folds or images"),
        (["--weights", "runs/a", "--folds", "3"], "--weights runs/a: its fold_2 is not finished"),
        (["--weights", "runs/a", "--model", "mlp"], "--weights runs/a/fold_0: its --model is mycnn, this run's is mlp"),
        (["--weights", "runs/a/fold_0"], "To start each fold from its own: --weights runs/a. "),
    ],
)
def test_an_earlier_run_that_does_not_fit_is_refused(folders, finished, capsys, words, message):
    code, _, err = answer(train.main, ["--data", folders, "--run", "runs/b", *finished, *TINY, *words], capsys)
    assert code == 2
    assert message in err
    assert not Path("runs/b").exists()


def test_labelled_test_images_of_a_new_class_are_predicted_without_a_score(folders, finished, capsys):
    data = Path(shutil.copytree(folders, "new"))
    for name, target in (("0.png", "blue"), ("1.png", "purple")):
        (data / "test" / target).mkdir()
        shutil.move(data / "test" / name, data / "test" / target / name)
    shutil.copytree(data / "train" / "blue", data / "train" / "purple")
    for path in data.glob("test/*.png"):
        path.unlink()
    assert answer(predict.main, ["runs/a", "--data", data, "--out", "new.csv", *finished], capsys)[0] == 0
    assert len(pd.read_csv("new.csv")) == 2
    assert "test_macro_f1" not in Path("new.json").read_text()


def test_folds_that_a_command_leaves_out_are_told(folders, place, capsys):
    words = ["--data", folders, "--run", "runs/f", *place, *TINY, "--epochs", "1"]
    _, out, _ = answer(train.main, [*words, "--only-folds", "0"], capsys)
    assert "not finished: fold 1; the same command without --only-folds trains them" in out
    code, out, err = answer(train.main, words, capsys)
    assert code == 0
    assert "fold 1: done" in out + err


@pytest.mark.parametrize(
    ("words", "unfinished", "said"),
    [
        ([], [0, 1], "fold 0, 1; the same command goes on\n"),
        (["--only-folds", "0,2"], [0, 2], "fold 0, 2; the same command goes on\n"),
        (["--only-folds", "0"], [1], "fold 1; the same command without --only-folds trains them\n"),
        (["--only-folds", "0"], [0, 1], "fold 0, 1; the same command goes on, without --only-folds with all of them\n"),
    ],
)
def test_where_the_time_limit_comes_first_the_way_on_is_told(monkeypatch, capsys, words, unfinished, said):
    monkeypatch.setattr(cross_validation, "open_run", lambda settings: SimpleNamespace(folder=Path("runs/a")))
    monkeypatch.setattr(cross_validation, "train_folds", lambda run, start: False)
    monkeypatch.setattr(cross_validation, "unfinished_folds", lambda run: unfinished)
    assert answer(train.main, words, capsys)[:2] == (3, f"runs/a: not finished: {said}")


def test_frozen_layers_keep_the_weights_they_started_from(folders, place, capsys):
    start = create_network("mycnn", 7, image_size=32)
    save_file(start.state_dict(), "start.safetensors")
    words = ["--data", folders, "--run", "runs/f", *place, *TINY, "--weights", "start.safetensors", "--only-folds", "0"]
    assert answer(train.main, [*words, "--freeze", "all"], capsys)[0] == 0
    trained, _ = open_checkpoint(Path("runs/f/fold_0"))
    head = set(dict(trained.get_classifier().named_parameters(prefix="classifier")))
    for name, tensor in trained.state_dict().items():
        assert name in head or torch.equal(tensor, start.state_dict()[name])
    assert head


def test_runs_are_joined_by_class_name(finished, capsys):
    """The same networks with their classes in another order must not change the answer."""
    shutil.copytree("runs/a", "runs/b")
    for fold in ("fold_0", "fold_1"):
        path = Path("runs/b") / fold
        network, checkpoint = open_checkpoint(path)
        order = [2, 0, 1]
        head = network.get_classifier()
        head.weight.data, head.bias.data = head.weight.data[order], head.bias.data[order]
        names = tuple(checkpoint.class_names[number] for number in order)
        save_checkpoint(path, network, dataclasses.replace(checkpoint, class_names=names))
    for name, runs in (("one", ["runs/a"]), ("both", ["runs/a", "runs/b"])):
        words = [*runs, "--ensemble", "mean", "--out", f"{name}.csv", *finished]
        assert answer(predict.main, words, capsys)[0] == 0
    assert Path("one.csv").read_text() == Path("both.csv").read_text()


def test_another_ensemble_of_the_same_runs_needs_no_network(folders, finished, capsys):
    words = ["--data", folders, "--run", "runs/b", *finished, *TINY, "--epochs", "1", "--seed", "1"]
    assert answer(train.main, words, capsys)[0] == 0  # on folds of its own
    code, out, err = answer(predict.main, ["runs/a", "runs/b", "--views", "auto", *finished], capsys)
    assert code == 0
    assert "2 members on 30 out-of-fold images, nested in 2 outer folds:" in out
    assert "views of b: 240/240 images in " in err  # 8 views of 30 images
    assert "runs/a: " in out
    assert answer(predict.main, ["runs/a", "runs/b", "--ensemble", "mean", *finished], capsys)[0] == 0
    first = Path("submissions/a+b.csv").read_text()
    for weights in Path("runs").glob("*/fold_*/model.safetensors"):
        weights.unlink()
    code, out, _ = answer(predict.main, ["runs/a", "runs/b", "--ensemble", "mean", *finished], capsys)
    assert code == 0
    assert Path("submissions/a+b.csv").read_text() == first
    code, _, err = answer(predict.main, ["runs/a", "runs/b", "--views", "auto", *finished], capsys)
    assert code == 2
    assert "--views auto predicts the held-out images anew and needs the networks" in err
    code, _, err = answer(predict.main, ["runs/a", "--views", "3", *finished], capsys)
    assert code == 2
    assert "fold_0 has no weights, and no stored predictions of these test images with 3 views" in err
