"""Pseudo-labels: the surest of each class, nothing that the scored fold has taught, and unfit teachers refused."""

import contextlib
import shutil

import numpy as np
import pytest
import torch

import train
from competition.checkpoint import open_checkpoint
from competition.cli import Parser, add_settings, read_settings
from competition.config import TrainSettings
from competition.data.loader import Loader
from competition.errors import UserError
from competition.inference import predict_probabilities, views_of
from competition.predictions import load_predictions
from competition.training.cross_validation import open_run
from competition.training.optim import create_loss
from competition.training.pseudo_labels import surest
from tests.tiny_data import write_tiny_data


@pytest.mark.parametrize(
    ("quota", "expected"),
    [
        (1, [1, 2]),  # the surest of class 0 is row 1 (0.9), of class 1 row 2 (0.8); class 2 has none
        (2, [0, 1, 2, 4]),
        (9, [0, 1, 2, 3, 4]),
    ],
)
def test_the_surest_of_each_class_are_chosen(quota, expected):
    table = [[0.6, 0.3, 0.1], [0.9, 0.1, 0.0], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2], [0.3, 0.7, 0.0]]
    assert surest(np.array(table, dtype=np.float32), quota).tolist() == expected


@pytest.mark.parametrize("kind", ["ce", "focal", "balanced"])
def test_one_hot_targets_cost_what_class_numbers_do(kind):
    loss = create_loss(kind, 0.0, torch.tensor([5, 1, 2]))
    logits, labels = torch.randn(8, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    torch.testing.assert_close(loss(logits, torch.eye(3)[labels]), loss(logits, labels))


TINY = ["--model", "mycnn", "--epochs", "1", "--batch-size", "8", "--precision", "fp32", "--views", "2"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A finished run over 24 training and 6 test images."""
    place = tmp_path_factory.mktemp("teacher")
    write_tiny_data(place / "data")
    with contextlib.chdir(place):
        train.main([*words(place), "--run", "runs/teacher"])
    return place


@pytest.fixture
def place(teacher, tmp_path, monkeypatch):
    shutil.copytree(teacher, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def words(place, **changes):
    options = {"--data": str(place / "data"), "--cache-dir": str(place / "cache"), "--folds": "2", **changes}
    return [*TINY, *(word for pair in options.items() for word in pair)]


def student(place, **changes):
    return [*words(place, **changes), "--pseudo-labels", "runs/teacher", "--run", "runs/student"]


def settings_of(flags):
    parser = Parser("", prog="train.py")
    add_settings(parser, TrainSettings)
    return read_settings(TrainSettings, vars(parser.parse(flags)))


def test_a_student_is_scored_on_real_labels_only(place, capsys):
    train.main(student(place))
    pooled = load_predictions(place / "runs" / "student" / "oof.npz")
    assert len(pooled.image_ids) == 24
    run = open_run(settings_of(student(place)))
    assert "out-of-fold macro F1" in capsys.readouterr().out
    (place / "runs/student/fold_1/predictions.npz").unlink()
    job = run.job(1)
    assert job.targets().shape == (12 + len(job.soft.rows), 3)
    assert 1 <= len(job.soft.rows) <= 6
    assert not set(job.soft.rows) & set(run.data.rows)
    np.testing.assert_array_equal(job.targets()[:12], np.eye(3)[run.data.labels[job.train_rows]])
    np.testing.assert_array_equal(job.targets()[12:], job.soft.probabilities)
    assert job.soft.probabilities.max() < 1  # soft: what the teacher doubts is kept


def test_a_test_image_that_cannot_be_read_is_not_labelled(place):
    (place / "data" / "test" / "0.png").write_bytes(b"no image")
    run = open_run(settings_of(student(place, **{"--quota": "6"})))
    names = run.material.images.catalog.table["image_id"].to_numpy()[run.job(0).soft.rows]
    assert sorted(names) == [f"{number}.png" for number in range(1, 6)]


@pytest.mark.parametrize("fold", [0, 1])
def test_the_labels_of_fold_k_come_from_the_teachers_fold_k_alone(place, fold):
    other = place / f"runs/teacher/fold_{1 - fold}"
    run = open_run(settings_of(student(place)))
    (other / "model.safetensors").unlink()  # cannot be asked
    network, checkpoint = open_checkpoint(place / f"runs/teacher/fold_{fold}")
    soft = run.job(fold).soft
    loader = Loader(run.data.images, soft.rows, soft.keys, 64)
    expected = predict_probabilities(
        network, loader, 3, checkpoint.preprocessing, checkpoint.precision, torch.device("cpu"), views_of(2)
    )
    np.testing.assert_allclose(soft.probabilities, expected, atol=1e-3)


def test_a_student_goes_on_only_with_its_own_teacher(place):
    open_run(settings_of(student(place)))
    with pytest.raises(UserError, match=r"teacher: '\w+' then, None now"):
        open_run(settings_of([*words(place), "--run", "runs/student"]))


def unfinish(place):
    (place / "runs/teacher/fold_1/predictions.npz").unlink()


def forget_weights(place):
    (place / "runs/teacher/fold_1/model.safetensors").unlink()


def damage(place):
    (place / "runs/teacher/settings.yaml").write_text("a: [")


def lose_test_images(place):
    shutil.rmtree(place / "data/test")


@pytest.mark.parametrize(
    ("change", "flags", "said"),
    [
        (
            None,
            {"--folds": "3"},
            "not finished: fold 2; train it first.*\n.*other folds or images.*--fold-file folds/data-3-seed0.csv",
        ),
        (None, {"--pseudo-labels": "runs/nobody"}, "runs/nobody is not a run: name a folder that train.py made"),
        (unfinish, {}, "runs/teacher: not finished: fold 1; train it first"),
        (forget_weights, {}, "runs/teacher: its weights are gone"),
        (damage, {}, "runs/teacher/settings.yaml is not valid YAML"),
        (lose_test_images, {}, "has no test images to label"),
    ],
)
def test_an_unfit_teacher_is_refused(place, change, flags, said):
    if change is not None:
        change(place)
    with pytest.raises(UserError, match=said):
        open_run(settings_of([*student(place), *(word for pair in flags.items() for word in pair)]))


def test_a_quota_needs_a_teacher():
    with pytest.raises(UserError, match="--quota is about --pseudo-labels"):
        TrainSettings(quota=5)
