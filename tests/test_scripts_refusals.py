"""What the real scripts refuse, in words and before anything is written."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from timm.models import register_model
from torch import nn

import predict
import train
from competition.__main__ import main as competition
from competition.training import machine
from competition.training.probe import probe_precision
from tests.tiny_run import TINY, answer

pytestmark = pytest.mark.usefixtures("no_probe")
NEEDS_NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")


def test_runs_with_other_classes_are_refused(finished, capsys):
    shutil.copytree("runs/a", "runs/b")
    text = Path("runs/b/run.json").read_text().replace('"green"', '"violet"')
    Path("runs/b/run.json").write_text(text)
    code, _, err = answer(predict.main, ["runs/a", "runs/b", *finished], capsys)
    assert code == 2
    assert "only runs/b knows violet; only runs/a knows green" in err


def test_another_run_of_the_same_name_does_not_take_its_submission(finished, capsys):
    assert answer(predict.main, ["runs/a", *finished], capsys)[0] == 0
    Path("alt").mkdir()
    shutil.move("runs/a", "alt/a")
    before = Path("submissions/a.json").read_text()
    code, _, err = answer(predict.main, ["alt/a", *finished], capsys)
    assert code == 2
    assert "submissions/a.csv holds the predictions by runs/a: name another file with --out" in err
    assert Path("submissions/a.json").read_text() == before
    assert answer(predict.main, ["alt/a", "--out", "submissions/a.csv", *finished], capsys)[0] == 0
    assert answer(predict.main, ["alt/a", "--views", "2", "--decide", "auto", *finished], capsys)[0] == 0
    assert Path("submissions/a.json").read_text() != before


class TooDeep(nn.Module):
    """Halves its pictures until there is nothing left to pool."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(3, num_classes)

    def forward(self, images):
        return self.head(nn.functional.max_pool2d(images, 32).mean((2, 3)))


class Endless(TooDeep):
    """Is never finite."""

    def forward(self, images):
        return super().forward(images) / 0.0


@register_model
def too_deep_test_network(pretrained=False, num_classes=3, **options):
    return TooDeep(num_classes)


@register_model
def endless_test_network(pretrained=False, num_classes=3, **options):
    return Endless(num_classes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "resnet_fsat"], "did you mean 'resnet_fast'"),
        (["--model", "mycnn", "--model-options", "nonsense=1"], "has no option 'nonsense'"),
        (["--optimizer", "adamm"], "did you mean 'adam"),
        (["--augment", "meduim"], "did you mean 'medium'"),
        (["--max-parameters", "10"], "over the limit of 10"),
        (["--fold-file", "nowhere.csv"], "nowhere.csv does not exist"),
        (["--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--folds", "60", "--only-folds", "0"], "class too small for the folds"),
        pytest.param(["--device", "cuda"], "--device cuda", marks=NEEDS_NO_CUDA),
        (["--train-csv", "nowhere.csv"], "nowhere.csv"),
        (["--prune-from", "runs/none", "--max-parameters", "9"], "runs/none"),
        (["--augment", "nowhere.yaml"], "nowhere.yaml does not exist"),
        (["--optimizer", "fusedsgd"], "--optimizer fusedsgd cannot run here: "),
        (["--optimizer", "adahessian"], "--optimizer adahessian needs second derivatives"),
        (["--model", "mlp", "--grow-from", "0.5"], "--grow-from 0.5: mlp cannot take images of"),
        (["--model", "too_deep_test_network", "--image-size", "16"], "cannot take images of 16 px"),
        (["--precision", "fp16", "--model", "endless_test_network"], "--precision fp16: the loss is not finite"),
    ],
)
def test_wrong_flags_are_refused_and_leave_nothing_behind(folders, place, capsys, monkeypatch, words, said):
    monkeypatch.setattr(machine, "probe_precision", probe_precision)  # one of them is the probe's own refusal
    command = ["--data", folders, "--run", "runs/w", *place, *TINY]
    code, out, err = answer(train.main, [*command, *words], capsys)
    assert code == 2
    assert said in out + err
    assert "error: " in err
    assert not Path("runs").exists()


def test_no_run_is_no_run(place, capsys):
    code, _, err = answer(predict.main, ["nowhere", *place], capsys)
    assert code == 2
    assert "nowhere is not a run" in err


def test_test_images_of_another_competition_are_refused(finished, capsys):
    for name in ("train/cat/1.png", "train/dog/2.png", "test/3.png"):
        Path("other", name).parent.mkdir(parents=True, exist_ok=True)
        Path("other", name).write_bytes(b"no image: its class is known without")
    code, _, err = answer(predict.main, ["runs/a", "--data", "other", *finished], capsys)
    assert code == 2
    assert "which runs/a was trained on: it is another competition" in err


def test_a_run_of_a_generative_model_is_no_member(finished, capsys):
    Path("runs/g").mkdir()
    Path("runs/g/run.json").write_text('{"kind": "generative", "identity": {"class_names": ["a"]}}')
    code, _, err = answer(predict.main, ["runs/g", *finished], capsys)
    assert code == 2
    assert "runs/g is a run of `generate train`, which makes pictures" in err


def test_data_that_is_not_there(place, capsys):
    code, _, err = answer(train.main, ["--data", "nowhere", *place], capsys)
    assert code == 2
    assert "nowhere" in err
    code, _, err = answer(competition, ["check", "nowhere", *place], capsys)
    assert code == 2


def test_bad_images_stop_the_training_unless_they_are_left_out(folders, place, capsys):
    shutil.copytree(folders, "bad")
    Path("bad/train/blue/train0.png").write_bytes(b"not an image")
    words = ["--data", "bad", "--run", "runs/b", *place, *TINY, "--only-folds", "0", "--epochs", "1"]
    code, out, err = answer(train.main, words, capsys)
    assert code == 2
    assert "train/blue/train0.png" in out
    assert "--on-bad skip" in err
    code, out, _ = answer(train.main, [*words, "--on-bad", "skip"], capsys)
    assert code == 0
    assert "left out of the training: 1 image\n" in out
    assert json.loads(Path("runs/b/run.json").read_text())["identity"]["images"] == 29


@pytest.mark.parametrize("fault", ["damaged", "not in the folder", "not beside train.csv"])
def test_check_says_that_predict_refuses_a_test_image_that_cannot_be_read(folders, place, capsys, fault):
    shutil.copytree(folders, "bad")
    images = sorted(Path("bad/test").iterdir())
    if fault == "not beside train.csv":
        rows = [f"{path.relative_to('bad')},{path.parent.name}" for path in sorted(Path("bad/train").rglob("*.png"))]
        Path("bad/train.csv").write_text("\n".join(["id,label", *rows, ""]))
    if fault == "damaged":
        images[0].write_bytes(b"not an image")
    else:
        Path("bad/test.csv").write_text("\n".join(["id", *(path.name for path in images), ""]))
        images[0].unlink()
    code, out, _ = answer(competition, ["check", "bad", *place, "--folds", "2"], capsys)
    assert code == 0
    assert images[0].name in out
    assert "predict.py refuses them, or predicts them from a blank picture with --on-bad skip" in out
