"""The front door: train, interpolate, export from the command line; refusals; no heavy import before them."""

import math
import subprocess
import sys

import pytest

from competition.errors import UserError
from competition.generative.watch import Diversity
from competition.runs import read_json
from competition.verbs.generate import main
from tests.conftest import REPOSITORY
from tests.feature_network import save_tiny_network
from tests.generative_data import trained, write_pictures


def test_train_interpolate_export(tmp_path, capsys):
    data = write_pictures(tmp_path / "data")
    run = tmp_path / "run"
    words = ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--image-size", "8", "--precision", "fp32"]
    words += ["--model", "vae", "--width", "2", "--latent", "3", "--latent-width", "2", "--classes", "bird,horse"]
    words += ["--steps", "3", "--batch-size", "8", "--run", str(run)]
    assert main(["train", *words]) == 0
    assert f"generate export {run} --per-class 100" in capsys.readouterr().out
    assert main(["interpolate", str(run), "--from", "bird", "--to", "horse", "--search", "3"]) == 0
    said = capsys.readouterr().out
    assert "the best of 3 by " in said
    assert f"0.4 bird + 0.6 horse: {run}/interpolation_bird_horse_0.4.png" in said
    assert main(["export", str(run), "--per-class", "2", "--out", str(tmp_path / "out")]) == 0
    assert "4 pictures made; python train.py --data" in capsys.readouterr().out
    assert main(["export", str(run), "--per-class", "1", "--classes", "bird", "--out", str(tmp_path / "one")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'one'}: 1 picture made\n"  # no classifier learns one class
    assert main(["train", "--config", str(run / "settings.yaml"), "--run", str(run)]) == 0  # finished: says so again


def test_measure_judge_report(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the fold table is made below it
    run = trained("dcgan", tmp_path, per_class=40, hold_out=0.5)
    network = save_tiny_network(tmp_path / "network")
    words = ["--cache-dir", str(tmp_path / "cache")]
    assert main(["measure", str(run), *words, "--features", str(network), "--no-perceptual"]) == 0
    said = capsys.readouterr().out
    assert "FD[plain_cnn " in said
    assert said.endswith(f"{run}/measured/measure.json\n")
    words += ["--folds", "2", "--epochs", "1", "--model", "plain_cnn"]
    words += ["--precision", "fp32", "--per-class", "4"]
    assert main(["judge", str(run), *words, "--time-limit", "1s"]) in (0, 3)
    assert main(["judge", str(run), *words]) == 0
    said = capsys.readouterr().out
    assert "that the generator was not trained on" in said
    generators = [read_json(run / name)["generator"] for name in ("measured/measure.json", "judged/judge.json")]
    assert generators == [read_json(run / "generator.json")["sha256"]] * 2
    assert read_json(run / "judged" / "judge.json")["data"] == str(tmp_path / "data")  # the run's own
    assert said.endswith(f"{run}/judged/judge.json\n")
    assert main(["report", str(run)]) == 0
    assert f"{run}/report.html" in capsys.readouterr().out
    assert "Does it help a classifier?" in (run / "report.html").read_text()


def test_data_that_is_not_there_is_told_before_pictures_are_made_to_judge(tmp_path):
    run = trained("dcgan", tmp_path)
    with pytest.raises(UserError, match="nowhere: no such file or folder"):
        main(["judge", str(run), "--data", str(tmp_path / "nowhere")])
    assert not (run / "judged").exists()


def test_the_time_limit_has_its_own_exit_code(tmp_path):
    data = write_pictures(tmp_path / "data")
    words = ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--image-size", "8", "--precision", "fp32"]
    words += ["--model", "vae", "--width", "2", "--latent", "3", "--latent-width", "2", "--steps", "100000"]
    assert main(["train", *words, "--time-limit", "1s", "--run", str(tmp_path / "run")]) == 3


@pytest.mark.parametrize(("good", "said"), [(True, "became alike; the model of step 1"), (False, "still all alike")])
def test_a_collapse_is_told_from_a_training_too_short_for_any_difference(good, said, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("competition.generative.watch.SETTLED_STEPS", 0)
    ratios = iter([0.8 if good else 0.1, *[0.1] * 5])
    monkeypatch.setattr("competition.generative.fit.Sheet.write", lambda self, model, step: Diversity(next(ratios)))
    data = write_pictures(tmp_path / "data")
    words = ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--image-size", "8", "--precision", "fp32"]
    words += ["--model", "dcgan", "--width", "2", "--latent", "3", "--steps", "6", "--sheet-every", "1"]
    assert main(["train", *words, "--batch-size", "8", "--run", str(tmp_path / "run")]) == 0
    assert said in capsys.readouterr().out


def test_a_handful_of_steps_is_no_collapse(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("competition.generative.fit.Sheet.write", lambda self, model, step: Diversity(0.1))
    data = write_pictures(tmp_path / "data")
    words = ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--image-size", "8", "--precision", "fp32"]
    words += ["--model", "dcgan", "--width", "2", "--latent", "3", "--steps", "6", "--sheet-every", "1"]
    assert main(["train", *words, "--batch-size", "8", "--run", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert "mode collapse" not in said
    assert "alike" not in said


def test_a_device_that_is_not_there_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    data = write_pictures(tmp_path / "data")
    words = ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--image-size", "8", "--model", "dcgan"]
    with pytest.raises(UserError, match="--device cuda"):
        main(["train", *words, "--device", "cuda", "--width", "2", "--run", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_precision_that_does_not_work_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("competition.generative.probe._timed_step", lambda learner, pictures: lambda: math.inf)
    data = write_pictures(tmp_path / "data")
    words = ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--image-size", "8", "--model", "dcgan"]
    with pytest.raises(UserError, match="--precision bf16: the first loss is not finite"):
        main(["train", *words, "--precision", "bf16", "--width", "2", "--run", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_a_limit_that_no_width_meets_asks_for_no_smaller_width(tmp_path):
    data = write_pictures(tmp_path / "data")
    words = ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--image-size", "8", "--model", "dcgan"]
    with pytest.raises(UserError, match="take a smaller --latent, or raise the limit"):
        main(["train", *words, "--max-parameters", "1000", "--run", str(tmp_path / "run")])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], r"unknown verb generate 'trian' \(did you mean 'train'\?\)"),
        (["train", "--modle", "vae"], "did you mean '--model'"),
        (["interpolate", "run", "--from", "a"], "--to"),
        (["interpolate", "run", "--from", "a", "--to", "b", "--out", "a.jpg"], "--out a.jpg: .* ends in .png"),
        (["export", "run"], "--out is missing"),
        (["measure", "run", "--against", "real", "--per-class", "0"], "--per-class 0: must be at least 1"),
        (["judge", "run", "--folds", "1"], "--folds 1: must be at least 2"),
        (["report"], "RUN"),
    ],
)
def test_refused(words, said):
    with pytest.raises(UserError, match=said):
        main(words)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["generate"], 0),
        (["generate", "train", "--help"], 0),
        (["generate", "export", "--help"], 0),
        (["generate", "train", "--latent", "many"], 2),
        (["generate", "export", "run"], 2),
        (["generate", "measure", "--help"], 0),
        (["generate", "measure", "run", "--neighbours", "-1"], 2),
        (["generate", "judge", "--help"], 0),
        (["generate", "judge", "run", "--epochs", "0"], 2),
        (["generate", "report"], 2),
    ],
)
def test_answers_before_anything_heavy_is_imported(words, code):
    guard = (
        "import sys, runpy\n"
        "class Guard:\n  def find_spec(self, name, *_):\n"
        "    if name.split('.')[0] in ('torch', 'pandas', 'numpy', 'cv2', 'yaml'): sys.exit('imported ' + name)\n"
        "sys.meta_path.insert(0, Guard())\n"
        f"sys.argv = ['competition', *{words!r}]\n"
        "runpy.run_module('competition', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", guard], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
