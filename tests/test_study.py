"""The steps of tune.py that decide something: identity, number of validations, the commands that are printed."""

import pytest

from competition.config import TrainSettings
from competition.errors import UserError, without_passwords
from competition.tuning.samplers import refuse_missing_package
from competition.tuning.study import refuse_other_identity, validations_per_fold


@pytest.mark.parametrize(
    ("settings", "images", "validations"),
    [
        ({"epochs": 22, "validate_every": 5}, 1000, 5),  # 5, 10, 15, 20 and the last
        ({"epochs": 20, "validate_every": 5}, 1000, 4),
        ({"epochs": 1}, 1000, 1),
        ({"epochs": 3, "validate_every": 1}, 1000, 3),
        # 800 images in batches of 100: 8 steps an epoch, so 30 steps are 4 epochs.
        ({"steps": 30, "batch_size": 100, "validate_every": 2}, 1000, 2),
        ({"steps": 30, "batch_size": 100, "copies": 1, "validate_every": 1}, 1000, 2),
        ({"steps": 30, "batch_size": 100, "train_share": 0.5, "validate_every": 1}, 1000, 8),
    ],
)
def test_validations_of_a_fold(settings, images, validations):
    assert validations_per_fold(TrainSettings(**settings), images) == validations


def test_the_same_identity_is_taken():
    refuse_other_identity("studies/s", {"a": 1, "space": {"x": [1, 2]}}, {"space": {"x": [1, 2]}, "a": 1}, "--study")


def test_differences_are_listed_down_to_the_parameter():
    before = {"a": 1, "space": {"x": [1, 2], "y": [3]}, "gone": 5}
    now = {"a": 2, "space": {"x": [1, 2], "y": [4]}, "new": 6}
    with pytest.raises(UserError) as refusal:
        refuse_other_identity("studies/s", before, now, "--study")
    assert str(refusal.value).splitlines() == [
        "studies/s was begun with other settings:",
        "  a: 1 then, 2 now",
        "  space.y: [3] then, [4] now",
        "  gone: 5 then, None now",
        "  new: None then, 6 now",
        "choose another --study",
    ]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("postgresql://u:secret@h/d", "postgresql://u:***@h/d"),
        ("--storage=postgresql://u:sec:r@et@h/d refused", "--storage=postgresql://u:***@h/d refused"),
        ("postgresql://h/d?user=u&password=secret&x=1", "postgresql://h/d?user=u&password=***&x=1"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("https://h:80/path and me@home", "https://h:80/path and me@home"),
    ],
)
def test_passwords_are_blotted_out(text, clean):
    assert without_passwords(text) == clean


def test_a_sampler_whose_package_is_missing_is_refused(monkeypatch):
    monkeypatch.setattr("competition.tuning.samplers.find_spec", lambda name: None)
    with pytest.raises(UserError, match="--sampler cmaes needs a package that is not installed: pip install cmaes"):
        refuse_missing_package("cmaes")
    refuse_missing_package("tpe")
