"""Command lines: help, refusals, YAML, and no heavy import before they are answered."""

import os
import subprocess
import sys

import pytest

from competition.__main__ import VERBS, main
from competition.cli import Parser, add_settings, parse_settings, read_settings
from competition.config import TrainSettings
from competition.errors import UserError
from competition.judging.settings import JudgeSettings
from competition.prediction.settings import PredictSettings
from tests.conftest import REPOSITORY

HEAVY = ("torch", "pandas", "numpy", "timm", "albumentations", "cv2", "sklearn", "yaml", "optuna", "plotly", "jinja2")


def parse(*words):
    parser = Parser("x", prog="train.py")
    parser.add_argument("--config")
    add_settings(parser, TrainSettings)
    return read_settings(TrainSettings, vars(parser.parse(words)))


def test_what_stands_beside_the_settings_comes_by_itself():
    parser = Parser("", prog="x")
    parser.add_argument("folder")
    settings, values = parse_settings(parser, TrainSettings, ["runs/a", "--epochs", "3"])
    assert (settings.epochs, vars(values)) == (3, {"folder": "runs/a"})


def test_help_says_whose_data_is_meant_without_data():
    for settings, said in ((PredictSettings, "the data of the run"), (JudgeSettings, "what RUN was trained on")):
        parser = Parser("x", prog="x")
        add_settings(parser, settings)
        assert f"without it, {said}" in " ".join(parser.format_help().split())


def test_the_plain_settings_are_settings():
    settings = parse("--config", str(REPOSITORY / "benchmarks" / "plain.yaml"), "--optimizer", "sgd")
    assert (settings.optimizer, settings.mix, settings.augment, settings.views) == ("sgd", "none", "none", 1)


def test_flags_override_the_config_file(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("epochs: 3\nmix: mixup\n")
    settings = parse("--config", str(file), "--epochs", "4")
    assert (settings.epochs, settings.mix) == (4, "mixup")


def test_every_setting_has_a_flag():
    settings = parse("--holdout", "--no-compile", "--only-folds", "0,1", "--data", "x")
    assert settings.holdout
    assert not settings.compile
    assert settings.only_folds == (0, 1)


def test_an_unknown_flag_is_answered_with_the_nearest_one():
    with pytest.raises(UserError, match="unknown flag --epoch .did you mean '--epochs'"):
        parse("--epoch", "3")


@pytest.mark.parametrize(("verb", "meant"), [("judge", "generate judge"), ("chek", "check")])
def test_an_unknown_verb_names_the_one_that_was_meant(verb, meant):
    with pytest.raises(UserError, match=rf"unknown verb '{verb}' \(did you mean '{meant}'\?\); there are check, "):
        main([verb])


@pytest.mark.parametrize(("verb", "flag"), [("host", "--cache-limit"), ("report", "--on-bad"), ("look", "--on-bad")])
def test_a_flag_without_effect_is_no_flag(verb, flag):
    with pytest.raises(UserError, match=f"unknown flag {flag}"):
        main([verb, "somewhere", flag, "1"])


@pytest.mark.parametrize(
    ("text", "said"),
    [("epochs: [", "not valid YAML"), ("- a\n", "expected lines"), ("epoch: 3\n", "did you mean 'epochs'")],
)
def test_wrong_config_files(tmp_path, text, said):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=said):
        parse("--config", str(file))


def test_a_missing_config_file():
    with pytest.raises(UserError, match="No such file"):
        parse("--config", "nowhere.yaml")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["train.py", "--help"], 0),
        (["predict.py", "--help"], 0),
        (["tune.py", "--help"], 0),
        *((["-m", "competition", verb, "--help"], 0) for verb in VERBS),
        (["train.py", "--epochs", "zero"], 2),
        (["predict.py", "run", "--nonsense"], 2),
        (["tune.py", "--trials", "none"], 2),
        (["-m", "competition", "chekc"], 2),
    ],
)
def test_answers_before_anything_heavy_is_imported(words, code):
    # A finder that refuses the heavy packages: importing one would end in a traceback and another exit code.
    guard = (
        "import sys, runpy\n"
        f"heavy = {HEAVY!r}\n"
        "class Guard:\n  def find_spec(self, name, *_):\n"
        "    if name.split('.')[0] in heavy: sys.exit('imported ' + name)\n"
        "sys.meta_path.insert(0, Guard())\n"
        f"sys.argv = {words[-len(words) :]!r}\n"
        "if sys.argv[0] == '-m':\n"
        "  sys.argv = sys.argv[1:]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)\n"
        "else:\n  runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", guard], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_that_the_terminal_cannot_spell_stops_no_command(tmp_path):
    (tmp_path / "t.csv").write_text("id,label\n1,\u00fc\n2,b\n", encoding="utf-8")
    words = [sys.executable, "-m", "competition", "score", tmp_path / "t.csv", "--truth", tmp_path / "t.csv"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, env=environment)
    assert (done.returncode, "\\xfc " in done.stdout) == (0, True), done.stderr
