"""The real tune.py on tiny data: done, gone on with, killed for real, stopped, shared, refused in words."""

import gc
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import albumentations
import optuna
import pytest
import torch
from safetensors.torch import save_file

import train
import tune
from competition.cli import run_command
from competition.config import TrainSettings
from competition.errors import UserError
from competition.models.factory import create_network
from competition.training.rates import weight_decay
from competition.tuning.claims import counts
from competition.tuning.journal import open_journal
from competition.tuning.settings import read_tuning
from competition.tuning.trial import TrialRunner
from tests.conftest import REPOSITORY
from tests.tiny_data import write_tiny_data

SPACE = "learning_rate: {low: 0.001, high: 0.1, log: true}\nmix: [none, cutmix]\n"
TINY = ["--model", "mycnn", "--folds", "2", "--epochs", "2", "--batch-size", "8", "--validate-every", "1",
        "--precision", "fp32", "--space", "space.yaml"]  # fmt: skip

# tune.py that saves its state at every step, so that there is a state to go on from.
HURRIED = """
import signal, sys, tune
from competition.cli import run_command
from competition.training import fit
fit.SAVE_SECONDS = -1.0
save = fit.FoldTraining.save
def save_and_wait(self):  # to be killed, for ever
    save(self)
    if str(self.job.folder).endswith(sys.argv[1]):
        signal.pause()
if sys.argv[1]:
    fit.FoldTraining.save = save_and_wait
run_command(tune.main, sys.argv[2:])
"""
pytestmark = pytest.mark.usefixtures("no_probe")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def words(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("space.yaml").write_text(SPACE)
    return ["--data", str(data), "--cache-dir", str(tmp_path / "cache"), "--study", "s", *TINY]


def answer(words, capsys):
    """Run tune.py as its script does; return (exit code, everything printed)."""
    gc.collect()  # the last command's locks go with its process; here with its exception
    with pytest.raises(SystemExit) as end:
        run_command(tune.main, [str(word) for word in words])
    captured = capsys.readouterr()
    return end.value.code, captured.err + captured.out


def trials(name="s"):
    path = Path("studies") / name / "journal.log"
    return optuna.load_study(study_name=name, storage=open_journal(path)).trials


def counted_states(name="s"):
    return [trial.state.name for trial in trials(name) if counts(trial)]


def test_a_study_leaves_what_it_says_and_goes_on(words, capsys):
    code, said = answer([*words, "--trials", "2"], capsys)
    assert code == 0
    lines = said.splitlines()
    assert lines[-1] == "python train.py --config studies/s/best.yaml"
    dashboard, _, install = lines[-2].partition("  # after: ")
    assert dashboard == "optuna-dashboard studies/s/journal.log"  # no predict.py: neither weights nor test predictions
    assert bool(install) == (find_spec("optuna_dashboard") is None)
    assert trials()[0].params["learning_rate"] == 0.005  # the defaults
    names = {path.name for path in Path("studies/s").iterdir()}
    assert {
        "study.json",
        "journal.log",
        "trials",
        "environment.json",
        "best.yaml",
        "trials.csv",
        "report.html",
    } <= names
    assert not list(Path("studies/s/workers").glob("*.lock"))
    code, said = answer([*words, "--trials", "2"], capsys)
    assert (code, len(trials())) == (0, 2)
    assert "best: trial" in said
    code, said = answer([*words, "--trials", "3", "--pruner", "none"], capsys)
    assert (code, len(trials())) == (0, 3)
    assert re.findall("^trial [0-9]+: ", said, re.MULTILINE) == ["trial 2: "]


def test_what_is_said_of_predicting_and_of_a_picked_epoch(words, capsys):
    assert answer([*words, "--trials", "1"], capsys)[0] == 0
    code, said = answer([*words, "--trials", "1", "--predict-test"], capsys)
    assert code == 0
    assert "1 of 1 finished trial has neither test predictions nor weights" in said
    assert "python predict.py" not in said
    code, said = answer([*words, "--trials", "1", "--predict-test", "--study", "t", "--stop-after", "1"], capsys)
    assert code == 0
    assert "note: the kept epoch was picked on the fold it is scored on" in said
    assert "python predict.py studies/t\n" in said
    assert "neither" not in said


def hurried_tune(words, wait_in=""):
    """Start tune.py; it comes to a stop in the fold whose folder ends like this."""
    return subprocess.Popen(
        [sys.executable, "-c", HURRIED, wait_in, *words],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip


def wait_for(condition, process):
    """Return what the condition says once that is something."""
    while not (found := condition()):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    return found


def test_killed_amid_a_trial_the_same_command_goes_on(words, capsys):
    words = [*words, "--trials", "2", "--epochs", "6", "--pruner", "none"]
    process = hurried_tune(words, wait_in="0000/fold_1")
    second = Path("studies/s/trials/0000/fold_1")
    wait_for((second / "state.pt").exists, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    stamp = (second.parent / "fold_0" / "history.jsonl").stat().st_mtime_ns
    code, said = answer(words, capsys)
    assert code == 0, said
    assert "trial 1, fold 1: going on from epoch" in said
    assert (second.parent / "fold_0" / "history.jsonl").stat().st_mtime_ns == stamp
    assert counted_states() == ["COMPLETE", "COMPLETE"]
    assert sorted(path.name for path in Path("studies/s/trials").iterdir()) == ["0000", "0002"]


@pytest.mark.parametrize(
    ("workers", "send", "number"),
    [
        ("1", os.kill, signal.SIGTERM),
        ("2", os.killpg, signal.SIGTERM),  # as Slurm and systemd do
        ("2", os.killpg, signal.SIGINT),  # as a terminal does
    ],
)
def test_a_signal_stops_with_everything_saved(words, workers, send, number):
    words = [*words, "--trials", workers, "--epochs", "5000", "--pruner", "none", "--workers", workers]
    process = hurried_tune(words)
    begun = [Path(f"studies/s/trials/{trial:04}/fold_0") for trial in range(int(workers))]
    wait_for(lambda: all((folder / "history.jsonl").exists() for folder in begun), process)
    send(process.pid, number)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert Counter(trial.state.name for trial in trials()) == {"FAIL": int(workers), "WAITING": int(workers)}
    assert {trial.user_attrs["deaths"] for trial in trials() if trial.state.name == "WAITING"} == {0}
    assert all((folder / "state.pt").exists() for folder in begun)


def test_the_time_limit_ends_with_code_3(words, capsys):
    code, said = answer([*words, "--trials", "3", "--epochs", "3000", "--timeout", "3s"], capsys)
    assert code == 3
    assert "no trial has finished yet; the same command goes on" in said
    assert [trial.state.name for trial in trials()] in (["FAIL", "WAITING"], ["WAITING"])
    assert not {"best.yaml", "trials.csv", "report.html"} & {path.name for path in Path("studies/s").iterdir()}


def test_a_study_in_which_every_trial_fails_ends_with_code_2_each_time(words, capsys, monkeypatch):
    def fail(runner, claim):
        raise ValueError("no such thing")

    monkeypatch.setattr(TrialRunner, "__call__", fail)
    for _ in range(2):
        code, said = answer([*words, "--trials", "2"], capsys)
        assert code == 2
        assert "no trial of this study has finished; of 2 trials 2 failed:\n  ValueError: no such thing\n" in said
    assert len(trials()) == 2


def test_a_signal_leaves_the_results_of_what_is_finished(words, capsys, monkeypatch):
    train = TrialRunner.__call__

    def train_and_interrupt(runner, claim):
        outcome = train(runner, claim)
        signal.raise_signal(signal.SIGINT)
        return outcome

    monkeypatch.setattr(TrialRunner, "__call__", train_and_interrupt)
    code, said = answer([*words, "--trials", "2"], capsys)
    assert code == 130
    assert "error: stopped; the same command goes on from what is saved" in said
    assert "1 of 2 trials ended; the same command goes on\nbest: trial 0" in said
    assert "python train.py --config studies/s/best.yaml" in said
    assert {"best.yaml", "trials.csv", "report.html"} <= {path.name for path in Path("studies/s").iterdir()}
    assert counted_states() == ["COMPLETE"]


def test_what_a_short_study_says_at_its_end(words, capsys):
    Path("space.yaml").write_text("mix: [none, cutmix]\n")
    code, said = answer([*words, "--sampler", "grid", "--trials", "9", "--train-share", "0.5"], capsys)
    assert code == 0, said
    assert "note: a fold trains on 0.5 of its images" in said
    assert "the grid has no other point: 2 of 9 trials\nbest: trial" in said


def test_two_workers_of_which_one_is_killed(words):
    process = hurried_tune([*words, "--trials", "5", "--workers", "2", "--pruner", "none"])
    wait_for(Path("studies/s/trials/0001/run.json").exists, process)
    running = lambda: [trial for trial in trials() if trial.state.name == "RUNNING" and "worker" in trial.user_attrs]  # noqa: E731
    owner = wait_for(running, process)[0].user_attrs["worker"]
    os.kill(int(owner.split("-")[-2]), signal.SIGKILL)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert "was ended by signal 9" in said
    assert counted_states() == ["COMPLETE"] * 5


def test_another_identity_is_refused_with_the_differences(words, capsys):
    assert answer([*words, "--trials", "1"], capsys)[0] == 0
    Path("space.yaml").write_text(SPACE.replace("0.1", "0.2"))
    code, said = answer([*words, "--trials", "1", "--epochs", "3", "--objective2", "parameters"], capsys)
    assert code == 2
    assert "studies/s was begun with other settings" in said
    assert "  epochs: 2 then, 3 now" in said
    assert "  objectives: ['macro-f1'] then, ['macro-f1', 'parameters'] now" in said
    assert "0.2" in said  # the space
    Path("space.yaml").write_text(SPACE)
    code, said = answer([*words, "--trials", "1", "--storage", "sqlite:///s.db"], capsys)
    assert code == 2
    assert "studies/s was begun with another --storage" in said


def test_a_study_knows_the_files_its_space_names_by_their_contents(words, capsys):
    def write(policy, seed):
        albumentations.save(albumentations.Compose([policy]), "mine.yaml", "yaml")
        torch.manual_seed(seed)
        save_file(create_network("mycnn", 3, image_size=32).state_dict(), "start.safetensors")

    write(albumentations.HorizontalFlip(p=0.5), seed=1)
    Path("space.yaml").write_text(SPACE + "augment: [light, mine.yaml]\nweights: [null, start.safetensors]\n")
    assert answer([*words, "--trials", "1"], capsys)[0] == 0
    assert answer([*words, "--trials", "1"], capsys)[0] == 0
    write(albumentations.VerticalFlip(p=0.5), seed=2)
    code, said = answer([*words, "--trials", "2"], capsys)
    assert code == 2
    assert "studies/s was begun with other settings" in said
    assert re.search(r"files.augment mine.yaml: 'contents \w{16}' then, 'contents \w{16}' now", said)
    assert re.search(r"files.weights start.safetensors: 'contents \w{16}, mean .*' then, 'contents \w{16}, mean", said)
    assert len(trials()) == 1


@pytest.mark.parametrize("flags", [[], ["--holdout"]])
def test_trial_0_has_the_weight_decay_that_suits_so_many_images(words, flags, capsys):
    shutil.copytree(write_tiny_data(Path("own")) / "train", "own/val")
    Path("space.yaml").write_text("weight_decay: {low: 0.001, high: 10, log: true}")
    assert answer([*words, "--data", "own", *flags, "--trials", "1", "--epochs", "1"], capsys)[0] == 0
    images = json.loads(Path("studies/s/study.json").read_text())["identity"]["images"]
    assert images == (24 if flags else 48)
    assert trials()[0].params["weight_decay"] == weight_decay(TrainSettings(folds=2, batch_size=8), images)


def test_a_study_whose_folder_was_renamed_or_copied_goes_on(words, capsys):
    assert answer([*words, "--trials", "1"], capsys)[0] == 0
    shutil.copytree("studies/s", "studies/copy")
    os.rename("studies/s", "studies/renamed")
    for name in ("copy", "renamed"):
        code, said = answer([*words, "--study", name, "--trials", "2"], capsys)
        assert (code, re.findall("^trial [0-9]+: ", said, re.MULTILINE)) == (0, ["trial 1: "])


def test_a_storage_that_holds_another_study_of_this_name_is_refused(words, capsys):
    sqlite = ["--storage", "sqlite:///s.db"]
    assert answer([*words, "--trials", "1", *sqlite], capsys)[0] == 0
    os.rename("studies", "elsewhere")
    code, said = answer([*words, "--trials", "1", "--epochs", "3", *sqlite], capsys)
    assert code == 2
    assert "epochs: 2 then, 3 now" in said
    record = json.loads(Path("elsewhere/s/study.json").read_text())
    Path("studies/s/study.json").write_text(json.dumps({**record, "id": "other"}))
    code, said = answer([*words, "--trials", "1", *sqlite], capsys)
    assert code == 2
    assert "holds another study called s" in said


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        (["--study", "a/b"], "--study 'a/b': a plain name is wanted"),
        (["--trials", "0"], "--trials 0: must be at least 1"),
        (["--sampler", "tpes"], "--sampler 'tpes': choose from tpe, .*did you mean 'tpe'"),
        (["--workers", "2", "--storage", "sqlite:///x.db"], "SQLite locks when several processes write"),
        (["--objective2", "parameters", "--pruner", "median"], "trials with two objectives are never pruned"),
        (["--pick", "knee"], "--pick knee weighs macro F1 against a second objective: add --objective2"),
        (["--objective2", "parameters", "--sampler", "cmaes"], "--sampler cmaes takes one objective"),
        (["--storage", "mysql://u:secret@h/d"], r"--storage mysql://u:\*\*\*@h/d: expected postgresql://"),
        (["--storag", "mysql://u:secret@h/d"], "unknown flag --storag .did you mean '--storage'"),
        (["--run", "x"], "unknown flag --run"),
        (["--pseudo-labels", "runs/a"], "unknown flag --pseudo-labels"),
        (["--sampler", "grid"], "--sampler grid needs values to go through"),
        (["--space", "no_such"], "no_such"),
        (["--max-parameters", "100"], "space space: network mycnn has .* over the limit of 100"),
        (["--timeout", "soon"], "--timeout 'soon': expected a time"),
    ],
)
def test_what_is_refused(words, capsys, extra, said):
    code, printed = answer([*words, *extra], capsys)
    assert code == 2
    assert re.search(said, printed), printed
    assert "secret" not in printed
    assert "Traceback" not in printed
    assert not Path("studies").exists() or not list(Path("studies").glob("*/trials"))


def test_trials_start_from_an_earlier_run_on_the_same_folds(data, words, capsys):
    train_words = words[: words.index("--study")] + words[words.index("--model") : words.index("--space")]
    assert train.main([*train_words, "--run", "runs/a", "--epochs", "1"]) == 0
    weights = ["--weights", "runs/a", "--trials", "1"]
    code, printed = answer([*words, *weights, "--seed", "1"], capsys)
    assert code == 2
    assert "--weights runs/a: it was trained on other folds or images" in printed
    assert not list(Path("studies").glob("*/trials"))
    assert answer([*words, *weights], capsys)[0] == 0
    assert counted_states() == ["COMPLETE"]


def test_predict_test_needs_test_images(words, capsys, tmp_path):
    data = write_tiny_data(tmp_path / "untested", test=0)
    code, said = answer([*words, "--data", str(data), "--predict-test"], capsys)
    assert code == 2
    assert "--predict-test:" in said


def test_help_and_refusals_import_nothing_heavy():
    script = (
        "import sys, tune\n"
        "for words in (['--help'], ['--trials', 'many']):\n"
        "    try: tune.main(words)\n"
        "    except (SystemExit, Exception): pass\n"
        "print({'torch', 'optuna', 'pandas', 'numpy', 'yaml'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "set()"


def test_settings_that_no_trial_takes_are_refused_by_name(tmp_path):
    config = tmp_path / "settings.yaml"
    config.write_text("pseudo_labels: runs/a\nquota: 50\nprune_from: runs/b\nmax_parameters: 10000\n")
    with pytest.raises(UserError) as refusal:
        read_tuning({"config": str(config)})
    assert str(refusal.value).startswith(f"{config}: prune_from runs/b, pseudo_labels runs/a, quota 50: no trial")
    config.write_text("prune_method: magnitude\n")
    with pytest.raises(UserError, match="prune_method magnitude: no trial"):
        read_tuning({"config": str(config)})


def test_the_settings_of_an_earlier_run_can_lie_under_the_search(tmp_path):
    config = tmp_path / "settings.yaml"
    config.write_text("epochs: 7\nfolds: 3\nrun: runs/a\nworkers: 4\nonly_folds: [0]\nprune_from: null\n")
    settings, base = read_tuning({"config": str(config), "trials": 3, "workers": 2, "epochs": 9})
    assert (settings.trials, settings.workers) == (3, 2)
    assert base == TrainSettings(epochs=9, folds=3)
