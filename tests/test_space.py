"""Every space that ships proposes settings that build a network; what a file may say, and what it means."""

import json
from functools import cache
from pathlib import Path

import albumentations
import optuna
import pytest

from competition.config import TrainSettings
from competition.errors import UserError
from competition.models.factory import create_network
from competition.runs import hash_file
from competition.training.rates import automatic_learning_rate, weight_decay
from competition.tuning.space import load_space, named_files
from competition.tuning.space_file import named_spaces

BASE = TrainSettings()
IMAGES = 13_000


def write(folder: Path, text: str) -> str:
    path = folder / "mine.yaml"
    path.write_text(text)
    return str(path)


@cache
def shipped(name):
    """A space that ships, loaded once for all tests."""
    return load_space(name, BASE, IMAGES)


def asked(count, seed=0):
    """Some trials of a random study."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    return [study.ask() for _ in range(count)]


def shapes(settings):
    """The shape of each tensor of the settings' network."""
    network = create_network(settings.model, 7, image_size=32, options=settings.model_options)
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


# ---- the spaces that ship ----


def test_the_spaces_that_ship():
    assert named_spaces() == ["architecture", "default", "grid-cnn", "grid-mlp"]


@pytest.mark.parametrize("name", named_spaces())
def test_every_proposal_is_a_setting_and_builds_its_network(name):
    space = shipped(name)
    for trial in asked(8):
        settings = BASE.replace(**space.suggest(trial))
        create_network(settings.model, 7, image_size=32, dropout=settings.dropout, options=settings.model_options)


@pytest.mark.parametrize("name", named_spaces())
def test_trial_0_is_the_base_wherever_the_space_holds_it(name):
    space = shipped(name)
    study = optuna.create_study()
    study.enqueue_trial(space.defaults())
    trial = study.ask()
    proposed = space.suggest(trial)
    assert trial.params == space.defaults()
    automatic = {"learning_rate", "weight_decay"}
    moved = {name.split(".")[0] for name in [*space.fixed, *space.start]} | {"model_options"} | automatic
    settings = BASE.replace(**proposed)
    assert all(getattr(settings, key) == getattr(BASE, key) for key in BASE.plain() if key not in moved)
    assert settings.learning_rate in (None, automatic_learning_rate(settings.optimizer, settings.model))
    assert name in ("grid-mlp", "grid-cnn") or settings.weight_decay in (
        None,
        weight_decay(BASE.replace(optimizer=settings.optimizer), IMAGES),
    )
    if name in ("default", "architecture"):
        assert shapes(settings) == shapes(BASE)


@pytest.mark.parametrize(
    ("name", "size"), [("grid-mlp", 27), ("grid-cnn", 27), ("architecture", 145), ("default", None)]
)
def test_sizes(name, size):
    assert shipped(name).size() == size


@pytest.mark.parametrize("name", ["grid-mlp", "grid-cnn"])
def test_the_grids_are_those_of_the_seeds(name):
    grid = shipped(name).search_space()
    assert shipped(name).fixed["momentum"] == 0  # SGD and RMSprop are plain
    assert grid["learning_rate"] == [0.01, 0.005, 0.001]
    assert grid["optimizer"] == ["adam", "sgd", "rmsprop"]
    assert [len(values) for values in grid.values()] == [3, 3, 3]


@pytest.mark.parametrize("name", named_spaces())
def test_plain_comes_back_from_json(name):
    plain = shipped(name).plain()
    assert json.loads(json.dumps(plain)) == plain


def test_a_grid_over_ranges_is_refused_by_their_names():
    with pytest.raises(UserError, match="--sampler grid.*default has ranges for learning_rate, weight_decay"):
        shipped("default").search_space()


def test_default_holds_the_weight_decay_of_every_optimiser():
    for optimizer in ("nmuon", "sgd", "adamw"):
        given = TrainSettings(optimizer=optimizer, learning_rate=0.01)
        assert load_space("default", given, IMAGES).defaults()["weight_decay"] == weight_decay(given, IMAGES)


def test_default_leaves_our_network_s_options_out_for_another_network():
    space = load_space("default", TrainSettings(model="resnet18"), IMAGES)
    assert space.left_out == ("model_options.widths", "model_options.drop_path_rate")
    assert "model_options" not in space.suggest(asked(1)[0])
    assert "not searched with these settings: model_options.widths" in space.describe()


# ---- what a file may say ----


def test_types_follow_from_the_settings(tmp_path):
    space = load_space(
        write(
            tmp_path,
            "batch_size: [auto, '64', 128]\nwarmup: {low: 0.05, high: 2.5e-1, step: 0.05}\ncopies: {low: 0, high: 4}",
        ),
        BASE,
        IMAGES,
    )
    assert space.search_space() == {
        "batch_size": [None, 64, 128],
        "warmup": [0.05, 0.1, 0.15, 0.2, 0.25],
        "copies": [0, 1, 2, 3, 4],
    }


def test_options_are_merged_over_the_base_s_own(tmp_path):
    base = TrainSettings(model_options={"activation": "elu", "stem_width": 24})
    space = load_space(
        write(tmp_path, "model_options.stem_width: [24, 32]\nfixed: {model_options.depths: [1, 1, 1]}"), base, IMAGES
    )
    drawn = space.suggest(asked(1)[0])["model_options"]
    assert drawn == {"activation": "elu", "depths": [1, 1, 1], "stem_width": drawn["stem_width"]}
    assert space.defaults() == {"model_options.stem_width": 24}


def test_conditions_decide_what_is_drawn(tmp_path):
    text = "mixup_alpha: {low: 0.1, high: 1, when: {mix: mixup}}\nmix: [mixup, none]"
    base = TrainSettings(mix="none")
    space = load_space(write(tmp_path, text), base, IMAGES)
    assert [item.name for item in space.dimensions] == ["mix", "mixup_alpha"]  # after what it depends on
    drawn = [space.suggest(trial) for trial in asked(20)]
    assert {(item["mix"], "mixup_alpha" in item) for item in drawn} == {("mixup", True), ("none", False)}
    assert space.defaults() == {"mix": "none"}


def test_what_depends_on_something_left_out_is_left_out(tmp_path):
    text = (
        "learning_rate: [0.005, 0.01]\n"
        "mix: {choices: [cutmix, none], when: {model: [mlp]}}\n"
        "mix_probability: {low: 0.1, high: 1, when: {mix: [cutmix]}}\n"
        "cutmix_alpha: {choices: [1.0, 2.0], when: {mix: [cutmix]}}\n"
        "loss: {choices: [ce, focal], when: {cutmix_alpha: [2.0]}}\n"
    )
    space = load_space(write(tmp_path, text), BASE, IMAGES)
    assert [item.name for item in space.dimensions] == ["learning_rate"]
    assert set(space.left_out) == {"mix", "mix_probability", "cutmix_alpha", "loss"}


@pytest.mark.parametrize(
    ("text", "given", "first"),
    [
        ("learning_rate: {low: 0.0005, high: 0.2}", {}, {"learning_rate": 0.005}),
        ("learning_rate: {low: 0.0005, high: 0.2}", {"optimizer": "adamw"}, {"learning_rate": 0.001}),
        ("learning_rate: {low: 0.0005, high: 0.2}", {"learning_rate": 0.02}, {"learning_rate": 0.02}),
        ("learning_rate: [0.1, 0.2]\nfixed: {optimizer: sgd}", {}, {"learning_rate": 0.1}),
        (
            "learning_rate: [0.001, 0.1]\noptimizer: [sgd, adam]\nstart: {optimizer: sgd}",
            {},
            {"learning_rate": 0.1, "optimizer": "sgd"},
        ),
        ("learning_rate: [null, 0.1]", {}, {"learning_rate": None}),
        ("dropout: {low: 0, high: 0.5}", {}, {"dropout": 0.0}),
        ("dropout: {low: 0, high: 0.5}", {"model": "base_cnn"}, {"dropout": 0.5}),
        ("dropout: {low: 0, high: 0.5}", {"model": "base_cnn", "dropout": 0}, {"dropout": 0.0}),
        ("dropout: [0, 0.5]\nstart: {dropout: 0}", {"model": "resnet18"}, {"dropout": 0.0}),
    ],
)
def test_trial_0_has_the_rate_that_suits_its_optimiser_and_the_networks_dropout(tmp_path, text, given, first):
    base = TrainSettings(**given)
    assert load_space(write(tmp_path, text), base, IMAGES).defaults() == first


def test_fixed_takes_the_place_of_defaults_and_start_of_what_is_not_in_the_space(tmp_path):
    text = "optimizer: [adam, sgd]\nfixed: {schedule: constant}\nstart: {optimizer: sgd}"
    space = load_space(write(tmp_path, text), BASE, IMAGES)
    assert space.defaults() == {"optimizer": "sgd"}
    assert space.suggest(asked(1)[0])["schedule"] == "constant"
    given = TrainSettings(optimizer="adam", schedule="constant")
    assert load_space(write(tmp_path, text), given, IMAGES).defaults() == {"optimizer": "adam"}


def test_sizes_count_conditions(tmp_path):
    text = (
        "mix: [none, cutmix, both]\n"
        "cutmix_alpha: {choices: [0.5, 1.0], when: {mix: [cutmix, both]}}\n"
        "mixup_alpha: {choices: [0.1, 0.2, 0.4], when: {mix: [both]}}\n"
    )
    assert load_space(write(tmp_path, text), BASE, IMAGES).size() == 1 + 2 + 6


def test_the_files_a_space_names_are_those_its_values_mean_where_they_are_searched(tmp_path):
    policy, weights = tmp_path / "policy.yaml", tmp_path / "mlp.safetensors"
    albumentations.save(albumentations.Compose([]), str(policy), "yaml")
    weights.write_bytes(b"not read yet")
    text = f"weights: {{choices: [null, {tmp_path}], when: {{model: mlp}}}}\nmodel: [resnet_fast, mlp]\n"
    space = load_space(write(tmp_path, text + f"fixed: {{augment: {policy}}}"), BASE, IMAGES)
    found = named_files(space)
    assert set(found) == {f"augment {policy}", f"weights {tmp_path}"}
    assert found[f"augment {policy}"] == f"contents {hash_file(policy)}"
    assert found[f"weights {tmp_path}"].startswith(f"contents {hash_file(weights)}, mean ")
    assert named_files(shipped("default")) == {}


def test_a_folder_of_weights_counts_with_each_network_that_is_searched(tmp_path):
    for name in ("mlp", "mycnn"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    base = TrainSettings(model="mlp", weights=str(tmp_path))
    found = named_files(load_space(write(tmp_path, "model: [mlp, mycnn]\n"), base, IMAGES))
    assert {key: value.partition(",")[0] for key, value in found.items()} == {
        f"model {name}": f"contents {hash_file(tmp_path / f'{name}.safetensors')}" for name in ("mlp", "mycnn")
    }
