"""Settings cannot be wrong after construction."""

from pathlib import Path

import pytest

from competition.config import TrainSettings
from competition.errors import UserError
from competition.prediction.settings import PredictSettings
from competition.settings import Duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("15m", 900), ("1.5h", 5400), ("1d", 86400), (30, 30)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


def test_defaults_are_valid():
    TrainSettings()
    PredictSettings()


def test_values_are_converted_to_their_types():
    settings = TrainSettings(
        data="a/b",
        epochs="3",
        learning_rate="1e-3",
        only_folds="0,2",
        time_limit="2m",
        model_options="act=elu,widths=3",
    )
    assert settings.data == Path("a/b")
    assert settings.epochs == 3
    assert settings.learning_rate == 1e-3
    assert settings.only_folds == (0, 2)
    assert settings.time_limit == Duration(120)
    assert settings.model_options == {"act": "elu", "widths": 3}


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("widths=[48,96,192],activation=gelu", {"widths": [48, 96, 192], "activation": "gelu"}),
        ("a=[[1, 2], [3]], b={x: 1, y: 2},c=", {"a": [[1, 2], [3]], "b": {"x": 1, "y": 2}, "c": None}),
        ("", {}),
    ],
)
def test_options_of_a_network_may_be_lists(text, options):
    assert TrainSettings(model_options=text).model_options == options


@pytest.mark.parametrize("text", ["auto", "none", None])
def test_optional_settings_take_auto_and_none(text):
    assert TrainSettings(image_size=text).image_size is None


def test_no_group_column_is_not_any_group_column():
    settings = TrainSettings(group_column="none")
    assert TrainSettings(**settings.plain()) == settings != TrainSettings(group_column="auto") == TrainSettings()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"epochs": "x"}, "--epochs 'x': expected a whole number"),
        ({"epochs": 1.5}, "--epochs 1.5: expected a whole number"),
        ({"epochs": True}, "--epochs True: expected a whole number"),
        ({"learning_rate": True}, "--learning-rate True: expected a number"),
        ({"time_limit": True}, "--time-limit True: expected a time"),
        ({"fold_file": True}, "--fold-file True: expected text, in YAML between quotes"),
        ({"model": ["mycnn"]}, "--model ['mycnn']: expected text"),
        ({"run": False}, "--run False: expected a path"),
        ({"epochs": None}, "--epochs needs a value"),
        ({"learning_rate": "nan"}, "--learning-rate is not a number"),
        ({"cutmix_alpha": "inf"}, "--cutmix-alpha inf: must be finite"),
        ({"time_limit": "-infh"}, "--time-limit -inf: must be finite"),
        ({"image_size": 9999}, "--image-size 9999: must be at most 1024 px"),
        ({"mix": "cutmixx"}, "did you mean 'cutmix'"),
        ({"time_limit": "soon"}, "expected a time such as 90s, 15m or 2h"),
        ({"only_folds": "0,x"}, "expected whole numbers"),
        ({"only_folds": (7,)}, "--only-folds 7: with --folds 5 the folds are 0 to 4"),
        ({"model_options": "act"}, "expected pairs"),
        ({"model_options": {1: 2}}, "--model-options {1: 2}: expected pairs such as activation=gelu"),
        ({"model_options": "widths=[48,96"}, "expected pairs such as activation=gelu,widths=[48,96,192]"),
        ({"holdout": "maybe"}, "expected true or false"),
        ({"prune_from": "runs/a"}, "--prune-from needs --max-parameters"),
        ({"freeze": "all"}, "without --weights"),
        ({"schedule": "plateau"}, "add --validate-every 1"),
        ({"train_share": 0}, "--train-share 0.0: must be at least 1e-06"),
        ({"train_share": 1.1}, "--train-share 1.1: must be at most 1"),
        ({"milestones": "5,9"}, "--milestones are epochs of --schedule step"),
        ({"milestones": "5,9", "schedule": "step", "steps": 90}, "leave --steps out"),
        ({"milestones": "9,5", "schedule": "step"}, "--milestones 9,5: must rise from 1 to below --epochs 22"),
        ({"milestones": "0,5", "schedule": "step"}, "--milestones 0,5: must rise"),
        ({"milestones": "5,22", "schedule": "step"}, "--milestones 5,22: must rise"),
    ],
)
def test_wrong_values_are_refused_by_name(values, said):
    with pytest.raises(UserError) as refusal:
        TrainSettings(**values)
    assert said in str(refusal.value)


def test_all_problems_come_in_one_message():
    with pytest.raises(UserError) as refusal:
        TrainSettings(epochs=0, batch_size=1, loss="x")
    assert all(flag in str(refusal.value) for flag in ("--epochs", "--batch-size", "--loss"))


def test_unknown_keys_are_answered_with_the_nearest_name():
    with pytest.raises(UserError, match="my.yaml: unknown setting 'learningrate' .did you mean 'learning_rate'"):
        TrainSettings.from_mapping({"learningrate": 1}, "my.yaml")


def test_plain_values_build_the_same_settings():
    settings = TrainSettings(time_limit="1h", only_folds=(1,), model_options={"a": 1}, data="x")
    assert TrainSettings.from_mapping(settings.plain(), "here") == settings


def test_identity_leaves_out_what_does_not_change_the_result():
    plain = TrainSettings().plain(identity_only=True)
    assert not {"run", "time_limit", "workers", "only_folds", "data", "cache_dir", "tensorboard"} & set(plain)
    assert {"seed", "epochs", "model", "image_size"} <= set(plain)
