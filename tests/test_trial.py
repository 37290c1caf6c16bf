"""One trial: the very folds of train.py, pruned, repeated, stopped, failed."""

import json
import math
from dataclasses import replace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from competition.config import TrainSettings
from competition.precision import Precision
from competition.predictions import Predictions, load_predictions
from competition.stop import Stop
from competition.training import cross_validation, machine
from competition.tuning import shelf as shelf_module
from competition.tuning import trial as trial_module
from competition.tuning.settings import TuneSettings
from competition.tuning.shelf import Shelf
from competition.tuning.trial import TrialRunner, halved
from competition.tuning.work import work
from tests import test_fit  # registers tiny_test_network
from tests.stand_in_worker import open_claims
from tests.tiny_data import write_tiny_data

VALIDATIONS = 3


class Given:
    """A space that proposes given settings, one after another."""

    def __init__(self, base, *proposals):
        self.base, self.proposals = base, proposals

    def suggest(self, trial):
        number = trial.user_attrs.get("continues", trial.number)
        return dict(self.proposals[number % len(self.proposals)])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_tiny_data(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def base(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(machine, "probe_precision", lambda *arguments: (Precision(), {}))
    return TrainSettings(
        data=data,
        cache_dir=tmp_path / "cache",
        model=test_fit.tiny_test_network.__name__,
        folds=2,
        epochs=3,
        batch_size=8,
        validate_every=1,
        precision="fp32",
        optimizer="adamw",
    )


class Bench:
    """A study in a folder, and what trains its trials."""

    def __init__(self, folder, base, *proposals, **settings):
        folder.mkdir(exist_ok=True)
        self.folder, self.stop = folder, Stop()
        self.claims = open_claims(folder, len(proposals), space=Given(base, *proposals))
        self.change(
            settings=TuneSettings(trials=len(proposals), sampler="random", **settings),
            shelf=Shelf(base, folder),
            validations=VALIDATIONS,
        )

    def change(self, **parts):
        self.claims.search = replace(self.claims.search, **parts)

    def work(self):
        work(self.claims, TrialRunner(self.claims.search, lambda status: None, self.stop), self.stop)
        return self.claims.trials()

    def fold(self, trial, fold):
        return self.folder / "trials" / f"{trial:04d}" / f"fold_{fold}"


def test_a_trial_is_what_train_py_makes_of_its_settings(base, tmp_path):
    changes = {"learning_rate": 0.02, "mix": "none"}
    (trial,) = Bench(tmp_path / "study", base, changes, keep_weights=True).work()
    run = cross_validation.open_run(base.replace(run=tmp_path / "run", **changes))
    cross_validation.train_folds(run, 0.0)
    score = cross_validation.pool_and_score(run)
    assert trial.value == score["macro_f1"]
    for fold in (0, 1):
        mine, theirs = (
            load_predictions(folder / f"fold_{fold}" / "predictions.npz")
            for folder in (tmp_path / "study" / "trials" / "0000", tmp_path / "run")
        )
        assert mine.image_ids.tolist() == theirs.image_ids.tolist()
        np.testing.assert_allclose(mine.probabilities, theirs.probabilities, atol=5e-4)
        names = [
            {path.name for path in (folder / f"fold_{fold}").iterdir()}
            for folder in (tmp_path / "study" / "trials" / "0000", tmp_path / "run")
        ]
        assert names[0] == names[1]


def test_what_a_trial_leaves(base, tmp_path):
    (trial,) = Bench(tmp_path / "study", base, {"learning_rate": 0.02}, predict_test=True).work()
    folder = tmp_path / "study" / "trials" / "0000"
    assert {path.name for path in folder.iterdir()} == {
        "settings.yaml", "run.json", "fold_0", "fold_1", "oof.npz", "score.json",
    }  # fmt: skip
    with np.load(folder / "fold_0" / "predictions.npz") as arrays:
        assert arrays["probabilities"].dtype == np.float16
    assert not list(folder.glob("fold_*/model.safetensors"))
    assert len(list(folder.glob("fold_*/test-*.npz"))) == 2
    notes = trial.user_attrs
    assert notes["macro_f1"] == trial.value == json.loads((folder / "score.json").read_text())["macro_f1"]
    assert set(notes["per_fold"]) == {"0", "1"}
    assert notes["settings"] == {"learning_rate": 0.02}
    assert notes["folder"] == "trials/0000"
    assert (notes["epochs_trained"], notes["epochs_planned"]) == (6, 6)
    assert notes["parameters"] > 0
    assert notes["interval_95"][0] <= trial.value <= notes["interval_95"][1]
    assert notes["seconds"] > 0


def test_an_epoch_picked_on_the_fold_it_is_scored_on_is_said_with_the_trial(base, tmp_path):
    same = [{"learning_rate": 0.02}] * 2
    for trial in Bench(tmp_path / "study", base.replace(stop_after=1), *same).work():
        assert "picked on the fold it is scored on" in trial.user_attrs["warning"]


def test_the_number_format_that_was_found_is_kept_with_each_trial(base, tmp_path):
    same = [{"learning_rate": 0.02}] * 2
    for trial in Bench(tmp_path / "study", base.replace(precision="auto"), *same).work():
        assert trial.user_attrs["number_format"] == "fp32"


def test_the_reported_values_are_running_means(base, tmp_path):
    (trial,) = Bench(tmp_path / "study", base, {}).work()
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]
    first, second = trial.user_attrs["per_fold"].values()
    assert trial.intermediate_values[3] == pytest.approx(first)
    assert trial.intermediate_values[6] == pytest.approx((first + second) / 2)


def test_trials_of_another_length_report_at_the_same_shares(base, tmp_path):
    (trial,) = Bench(tmp_path / "study", base, {"epochs": 7}).work()
    # Epochs 3 and 5 of 7 are the first at or past 1/3 and 2/3.
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4, 5, 6]
    assert trial.user_attrs["epochs_planned"] == 14


def test_steps_in_place_of_epochs_are_planned(base, tmp_path):
    (trial,) = Bench(tmp_path / "study", base, {"steps": 4}).work()
    assert (trial.user_attrs["epochs_trained"], trial.user_attrs["epochs_planned"]) == (4, 4)  # 2 steps an epoch


class PruneAt(optuna.pruners.BasePruner):
    """Prunes at one step of every trial but the first."""

    def __init__(self, step):
        self.step = step

    def prune(self, study, trial):
        return trial.number > 0 and trial.last_step == self.step


@pytest.mark.parametrize(("step", "epochs", "folds"), [(2, 2, 0), (3, 3, 1), (4, 4, 1)])
def test_a_pruned_trial_stops_at_once_and_keeps_no_state(base, tmp_path, step, epochs, folds):
    bench = Bench(tmp_path / "study", base, {}, {"learning_rate": 0.02})
    bench.claims.search.study.pruner = PruneAt(step)
    trial = bench.work()[1]
    assert trial.state == TrialState.PRUNED
    assert trial.user_attrs["epochs_trained"] == epochs
    assert len(trial.user_attrs["per_fold"]) == folds
    assert "pruner in fold" in trial.user_attrs["pruned_because"]
    folder = tmp_path / "study" / "trials" / "0001"
    assert not list(folder.glob("fold_*/state.pt"))
    assert not (folder / "score.json").exists()


def test_settings_already_tried_are_not_trained_again(base, tmp_path):
    proposals = [{"mix": "none"}, {"learning_rate": 0.02}, {"mix": "none"}, {"learning_rate": 0.02}]
    bench = Bench(tmp_path / "study", base, *proposals)
    bench.claims.search.study.pruner = PruneAt(2)
    trials = bench.work()
    assert [trial.state.name for trial in trials] == ["COMPLETE", "PRUNED", "COMPLETE", "PRUNED"]
    assert [trial.user_attrs.get("reused_from") for trial in trials] == [None, None, 0, 1]
    assert trials[2].value == trials[0].value
    assert trials[2].user_attrs["epochs_trained"] == 0
    assert trials[3].value == trials[1].value
    assert len(list((tmp_path / "study" / "trials").iterdir())) == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"model_options": {"bad_after": 2}, "device": "cpu"}, "fold 0, epoch 2, step 3: the loss is nan"),
        ({"model": "mycnn", "model_options": {"no_such": 2}}, "no_such"),
        ({"model": "no_such_network"}, "no_such_network"),
        ({"schedule": "plateau", "validate_every": 2}, "--schedule plateau"),
        ({"max_parameters": 10}, "10"),
    ],
)
def test_a_trial_that_cannot_go_on_fails_with_its_reason(base, tmp_path, changes, reason):
    failed, fine = Bench(tmp_path / "study", base, changes, {}).work()
    assert failed.state == TrialState.FAIL
    assert reason in failed.user_attrs["failed_because"]
    assert "\n" not in failed.user_attrs["failed_because"]
    assert fine.state == TrialState.COMPLETE


@pytest.mark.parametrize("error", [MemoryError("all gone"), RuntimeError("odd")])
def test_a_crash_fails_the_trial_only(base, tmp_path, monkeypatch, error):
    fit_fold, errors = trial_module.fit_fold, iter([error])

    def crash(*arguments, **options):
        for first in errors:
            raise first
        return fit_fold(*arguments, **options)

    monkeypatch.setattr(trial_module, "fit_fold", crash)
    failed, fine = Bench(tmp_path / "study", base, {}, {"mix": "none"}).work()
    assert failed.user_attrs["failed_because"] == f"{type(error).__name__}: {error}"
    assert fine.state == TrialState.COMPLETE


def test_a_stopped_trial_goes_on_and_ends_as_if_it_had_not_been_stopped(base, tmp_path, monkeypatch):
    (undisturbed,) = Bench(tmp_path / "a", base, {"dropout": 0.1}).work()
    bench = Bench(tmp_path / "b", base, {"dropout": 0.1})
    validated = trial_module.TrialWatch.validated

    def stop_in_the_second_fold(self, step, total_steps, macro_f1):
        validated(self, step, total_steps, macro_f1)
        bench.stop.is_signalled = len(self.finished) == 1

    monkeypatch.setattr(trial_module.TrialWatch, "validated", stop_in_the_second_fold)
    bench.work()
    monkeypatch.setattr(trial_module.TrialWatch, "validated", validated)
    assert (bench.fold(0, 1) / "state.pt").exists()
    stamp = (bench.fold(0, 0) / "history.jsonl").stat().st_mtime_ns
    stopped, resumed = Bench(tmp_path / "b", base, {"dropout": 0.1}).work()
    assert stopped.state == TrialState.FAIL
    assert resumed.value == undisturbed.value
    assert resumed.intermediate_values == pytest.approx(undisturbed.intermediate_values)
    assert (bench.fold(0, 0) / "history.jsonl").stat().st_mtime_ns == stamp
    assert resumed.user_attrs["epochs_trained"] == 6
    assert not (tmp_path / "b" / "trials" / "0001").exists()


@pytest.mark.parametrize("objective2", ["parameters", "latency"])
def test_two_objectives(base, tmp_path, objective2):
    folder = tmp_path / "study"
    bench = Bench(folder, base, {}, objective2=objective2)
    storage = bench.claims.search.storage.trials
    bench.change(study=optuna.create_study(storage=storage, study_name="two", directions=["maximize", "minimize"]))
    (trial,) = bench.work()
    name = {"parameters": "parameters", "latency": "latency_ms"}[objective2]
    assert trial.values == [trial.user_attrs["macro_f1"], trial.user_attrs[name]]
    assert trial.values[1] > 0


def test_images_are_opened_and_the_network_is_probed_once(base, tmp_path, monkeypatch):
    calls = []

    def count(module, name):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *arguments: (calls.append(name), real(*arguments))[1])

    count(shelf_module, "open_material")
    count(machine, "probe_precision")
    proposals = [{"learning_rate": rate} for rate in (0.01, 0.02, 0.03)]
    Bench(tmp_path / "study", base, *proposals).work()
    assert sorted(calls) == ["open_material", "probe_precision"]
    Bench(tmp_path / "study", base, *proposals, {}).work()  # another process opens, and does not probe
    assert sorted(calls) == ["open_material", "open_material", "probe_precision"]


def test_rounding_keeps_the_most_probable_class():
    rng = np.random.default_rng(0)
    near_ties = 0.2 + rng.integers(-2, 3, (20000, 4)) * 2e-5
    exact = np.concatenate([near_ties, rng.dirichlet([0.3] * 4, 2000), [[1.0, 0, 0, 0], [0.25] * 4]]).astype(np.float32)
    ids = np.arange(len(exact)).astype(np.str_)
    rounded = halved(Predictions(ids, tuple("abcd"), exact)).probabilities
    assert rounded.dtype == np.float16
    assert (rounded.argmax(axis=1) == exact.argmax(axis=1)).all()
    assert (exact.astype(np.float16).argmax(axis=1) != exact.argmax(axis=1)).any()  # without the care it would not
    assert np.abs(rounded - exact).max() < 1e-3
    assert math.isclose(float(rounded.max()), 1.0)
