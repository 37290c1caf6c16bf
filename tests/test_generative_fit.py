"""The loop: files, resume bit for bit, not-a-number, collapse, refusals."""

import math
import signal
import time
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch

from competition.errors import UserError
from competition.generative import fit as module
from competition.generative import review
from competition.generative.checkpoint import open_generator, read_generator
from competition.generative.factory import MODELS
from competition.generative.fit import Training, fit
from competition.generative.sampling import sample
from competition.generative.watch import Diversity
from competition.runs import read_history, read_json
from competition.stop import Stop, Stopped
from tests.generative_data import begin, settings_for, write_pictures


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pictures(tmp_path_factory.mktemp("generative") / "data")


def losses_of(folder):
    return [
        {name: value for name, value in record.items() if "second" not in name}
        for record in read_history(folder / "history.jsonl")
    ]


@pytest.mark.parametrize("model", list(MODELS))
def test_a_run_leaves_its_files_and_opens_without_its_command(model, data, tmp_path):
    run = begin(settings_for(model, data, run=tmp_path / "run"))
    result = fit(run)
    assert result["steps"] == 6
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        *("settings.yaml", "run.json", "environment.json", "precision.json", "held_out.csv", "history.jsonl"),
        *("losses.csv", "losses.png", "sheets", "generator.safetensors", "generator.json", "result.json", "lock"),
    }
    opened, generator = open_generator(tmp_path / "run", torch.device("cpu"))
    assert generator.step == 6
    assert generator.design.class_names == ("bird", "horse", "ship")
    pixels = sample(opened, [1, 2], torch.tensor([0, 1]))
    assert pixels.shape == (2, 8, 8, 3)
    assert sorted(path.name for path in (tmp_path / "run" / "sheets").iterdir())[-1] == "step_0000006.png"


def test_a_run_on_hosted_images_is_named_after_their_competition(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = begin(settings_for("vae", write_pictures(tmp_path / "birds" / "public")))
    assert run.folder.name.startswith("birds-public-vae-")  # as train.py has it


def test_a_finished_run_is_not_trained_again(data, tmp_path):
    run = begin(settings_for("dcgan", data, run=tmp_path / "run"))
    first = fit(run)
    stamp = (tmp_path / "run" / "generator.safetensors").stat().st_mtime_ns
    assert fit(run) == first
    assert (tmp_path / "run" / "generator.safetensors").stat().st_mtime_ns == stamp


def test_a_look_at_the_pictures_is_no_part_of_the_pace(data, tmp_path, monkeypatch):
    now = [0.0]

    def look(self, model, step):
        now[0] += 1000.0
        return Diversity(1.0)

    monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(module.Sheet, "write", look)
    fit(begin(settings_for("vae", data, steps=2, sheet_every=1, run=tmp_path / "run")))
    assert [
        record["seconds"] for record in read_history(tmp_path / "run" / "history.jsonl") if "seconds" in record
    ] == [0]


@pytest.mark.parametrize(
    ("model", "changes"),
    [
        ("autoencoder", {}),
        ("acai", {"ema": 0.9}),
        ("vae", {"kl_schedule": "linear"}),
        ("dcgan", {"diffaug": True, "spectral_norm": True, "gan_loss": "hinge", "ema": 0.9}),
        ("dcgan", {"prune": "magnitude", "max_parameters": 700}),
        ("flow", {}),
    ],
)
def test_stopping_anywhere_changes_nothing(model, changes, data, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RECORD_STEPS", 3)
    settings = settings_for(model, data, steps=8, device="cpu", **changes)  # a GPU adds in any order
    fit(begin(settings.replace(run=tmp_path / "a")))
    take_step = Training.take_step

    def interrupted(self, *batch):
        if self.step == 5:
            self.save()
            raise KeyboardInterrupt
        take_step(self, *batch)

    monkeypatch.setattr(Training, "take_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(begin(settings.replace(run=tmp_path / "b")))
    monkeypatch.setattr(Training, "take_step", take_step)
    fit(begin(settings.replace(run=tmp_path / "b")))
    weights = [(tmp_path / name / "generator.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    assert losses_of(tmp_path / "a") == losses_of(tmp_path / "b")


def interrupt(monkeypatch, at, times=1):
    """Raise SIGINT in a step: its weights have moved, it is not counted yet."""
    take_step = module.Learner.take_step

    def interrupted(self, pictures, labels, step):
        losses = take_step(self, pictures, labels, step)
        for _ in range(times if step == at else 0):
            signal.raise_signal(signal.SIGINT)
        return losses

    monkeypatch.setattr(module.Learner, "take_step", interrupted)


def test_an_interrupt_waits_for_the_end_of_its_step_and_saves(data, tmp_path, monkeypatch):
    settings = settings_for("vae", data, device="cpu")  # a GPU adds in any order
    fit(begin(settings.replace(run=tmp_path / "a")))
    with monkeypatch.context() as patched:
        interrupt(patched, at=3)
        with pytest.raises(Stopped):
            fit(begin(settings.replace(run=tmp_path / "b")), Stop())
    assert torch.load(tmp_path / "b" / "state.pt", weights_only=True)["step"] == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    fit(begin(settings.replace(run=tmp_path / "b")))
    weights = [(tmp_path / name / "generator.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]


def test_an_interrupt_of_one_call_does_not_stop_the_next(data, tmp_path, monkeypatch):
    run = begin(settings_for("vae", data, run=tmp_path / "run"))
    with monkeypatch.context() as patched:
        interrupt(patched, at=0)
        with pytest.raises(Stopped):
            fit(run)
    assert fit(run)["steps"] == 6


def test_a_second_interrupt_acts_at_once(data, tmp_path, monkeypatch):
    interrupt(monkeypatch, at=0, times=2)
    with pytest.raises(KeyboardInterrupt):
        fit(begin(settings_for("vae", data, run=tmp_path / "run")), Stop())
    assert not (tmp_path / "run" / "state.pt").exists()


def test_the_time_limit_saves_and_the_same_call_goes_on(data, tmp_path):
    run = begin(settings_for("vae", data, run=tmp_path / "run"))
    with pytest.raises(Stopped):
        fit(run, Stop(time.perf_counter()))
    assert (tmp_path / "run" / "state.pt").exists()
    assert fit(run)["steps"] == 6
    assert not (tmp_path / "run" / "state.pt").exists()


def test_a_damaged_state_is_refused(data, tmp_path):
    run = begin(settings_for("vae", data, run=tmp_path / "run"))
    (tmp_path / "run" / "state.pt").write_bytes(b"not a state")
    with pytest.raises(UserError, match=r"state.pt cannot be read .* delete it"):
        fit(run)


def test_a_loss_that_is_not_a_number_stops_and_keeps_the_last_model(data, tmp_path, monkeypatch):
    run = begin(settings_for("vae", data, run=tmp_path / "run", sheet_every=2, device="cpu"))  # whose losses are read
    training = Training(run)
    plain = training.learner.take_step

    def bad(pictures, labels, step):
        losses = plain(pictures, labels, step)
        return {**losses, "divergence": losses["divergence"] * (math.nan if step == 4 else 1)}

    monkeypatch.setattr(training.learner, "take_step", bad)
    with pytest.raises(
        UserError, match=r"step 5: the loss divergence is nan; the model of step 4 is kept.*lower --lea"
    ):
        list(training.steps())
    assert read_generator(tmp_path / "run").step == 4


def test_weights_that_are_not_numbers_are_never_kept(data, tmp_path):
    training = Training(begin(settings_for("vae", data, run=tmp_path / "run", sheet_every=2)))
    plain = training.learner.take_step

    def bad(pictures, labels, step):
        losses = plain(pictures, labels, step)
        if step == 3:  # its loss is still finite
            next(training.learner.model.parameters()).data[0] = math.inf
        return losses

    training.learner.take_step = bad
    with pytest.raises(UserError, match=r"step 4: weights are no longer finite; the model of step 2 is kept"):
        list(training.steps())
    assert read_generator(tmp_path / "run").step == 2


def test_an_average_of_weights_is_kept_with_its_own_statistics(data, tmp_path):
    run = begin(settings_for("dcgan", data, ema=0.9, steps=4, run=tmp_path / "run", device="cpu"))
    fit(run)
    model, _ = open_generator(tmp_path / "run", torch.device("cpu"))
    kept = {name: value.clone() for name, value in model.state_dict().items() if "running" in name}
    with torch.no_grad():
        run_sheet = Training(run).sheet
        run_sheet.settle(model)
    assert kept
    for name, value in model.state_dict().items():
        if "running" in name:
            torch.testing.assert_close(value, kept[name])


def test_collapse_is_said_once_and_the_diverse_model_is_kept(data, tmp_path, monkeypatch, capsys):
    ratios = iter([0.8, 0.7, 0.1, 0.1, 0.1, 0.1])
    run = begin(settings_for("dcgan", data, run=tmp_path / "run", sheet_every=1))
    monkeypatch.setattr(module.Sheet, "write", lambda self, model, step: Diversity(next(ratios)))
    result = fit(run)
    assert result["is_collapsed"]
    assert (result["kept_step"], read_generator(tmp_path / "run").step) == (2, 2)
    assert capsys.readouterr().out.count("mode collapse") == 1


def test_a_class_that_collapses_is_said_once_and_goes_into_the_result(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("competition.generative.watch.SETTLED_STEPS", 0)
    run = begin(settings_for("dcgan", data, run=tmp_path / "run", sheet_every=1))
    lost = Diversity(0.9, {"horse": 1.2, "cat": 1.2, "bird": 0.2})
    monkeypatch.setattr(module.Sheet, "write", lambda self, model, step: lost)
    result = fit(run)
    assert (result["alike_classes"], result["is_collapsed"]) == (["bird"], False)
    assert result["kept_step"] == result["steps"]
    assert capsys.readouterr().out.count("mode collapse: pictures of bird differ 0.20 times") == 1


def test_pruning_meets_its_limit_in_the_file_too(data, tmp_path, capsys):
    settings = settings_for("dcgan", data, prune="magnitude", max_parameters=700, ema=0.5, run=tmp_path / "run")
    assert fit(begin(settings))["parameters"] <= 700
    model, _ = open_generator(tmp_path / "run", torch.device("cpu"))
    assert sum(int((weight != 0).sum()) for weight in model.parameters()) <= 700
    assert "parameters to be pruned to 700, 24 images" in capsys.readouterr().out


def test_a_model_from_before_the_pruning_ended_is_not_kept(data, tmp_path, monkeypatch):
    ratios = iter([0.8, 0.1, 0.1, 0.1, 0.1, 0.1])
    settings = settings_for("dcgan", data, prune="magnitude", max_parameters=700, sheet_every=1, run=tmp_path / "run")
    monkeypatch.setattr(module.Sheet, "write", lambda self, model, step: Diversity(next(ratios)))
    result = fit(begin(settings))
    model, generator = open_generator(tmp_path / "run", torch.device("cpu"))
    assert generator.step == result["kept_step"] == 5  # the first whose pruning has ended
    assert sum(int((weight != 0).sum()) for weight in model.parameters()) <= result["parameters"] <= 700


def test_other_settings_on_the_same_folder_are_refused(data, tmp_path):
    settings = settings_for("vae", data, run=tmp_path / "run")
    begin(settings)
    with pytest.raises(UserError, match=r"other settings:\n  kl_weight: 0.01 then, 0.5 now"):
        begin(settings.replace(kl_weight=0.5))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="holds other files"):
        begin(settings.replace(run=tmp_path / "other"))


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0, None),
        (1e-9, ", and measure and judge need 50: begin another --run with a larger --hold-out\n"),
        (0.3, ", and measure and judge need 50: begin another --run with a larger --hold-out\n"),
        (0.7, "\n"),
    ],
)
def test_what_is_held_out_is_told_and_whether_it_is_enough(share, said, tmp_path, capsys):
    data = write_pictures(tmp_path / "data", per_class=30)
    run = begin(settings_for("vae", data, hold_out=share, run=tmp_path / "run"))
    printed = capsys.readouterr().out
    assert (said is None) == ("held out" not in printed)
    assert said is None or f"held out: {len(run.pictures.held_out)} images{said}" in printed


def test_a_run_whose_beginning_was_cut_short_begins_again(data, tmp_path):
    settings = settings_for("vae", data, run=tmp_path / "run")
    begin(settings)
    for name in ("run.json", "precision.json"):  # as a full disk or a kill leaves it
        (tmp_path / "run" / name).unlink()
    begin(settings)
    assert (tmp_path / "run" / "run.json").exists()


def test_epochs_count_steps(data, tmp_path):
    run = begin(settings_for("vae", data, steps=None, epochs=2, run=tmp_path / "run"))
    assert Training(run).total_steps == 2 * 3  # 24 pictures in batches of 8
    assert read_json(tmp_path / "run" / "run.json")["identity"]["images"] == 24


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(data, tmp_path):
    weights = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        fit(begin(settings_for("flow", data, steps=2, seed=seed, run=tmp_path / name)))
        weights.append((tmp_path / name / "generator.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_diversity_is_compared_within_classes(data, tmp_path):
    sheet = Training(begin(settings_for("vae", data, run=tmp_path / "run"))).sheet
    assert len(sheet.labels) == 80
    assert np.bincount(sheet.labels).tolist() == [32, 24, 24]


def test_a_rare_class_takes_part_in_what_the_prior_is_fitted_to(tmp_path):
    data = write_pictures(tmp_path / "data", per_class=30)
    for path in sorted((data / "train" / "horse").glob("*.png"))[2:]:
        path.unlink()
    sheet = Training(begin(settings_for("acai", data, run=tmp_path / "run"))).sheet
    seen = []
    model = SimpleNamespace(has_encoder=True, encode=lambda images: images, settle=lambda *found: seen.append(found))
    with patch.multiple(review, SETTLE_IMAGES=6, SETTLE_PER_CLASS=5):
        sheet.settle(model)
    assert seen[0][1].bincount().tolist() == [5, 2, 5]
