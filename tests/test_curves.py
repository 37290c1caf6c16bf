"""Learning curves come from the folds' histories, the best trials first."""

import json

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState, create_trial

from competition.config import TrainSettings
from competition.tuning.curves import mean_losses, read_curves


def write(folder, fold, records, tail=""):
    path = folder / f"fold_{fold}" / "history.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + tail)


def losses(*values):
    """Records of a validation per epoch, with the training's own between them."""
    for epoch, value in enumerate(values, 1):
        yield {"epoch": epoch, "step": epoch, "train_loss": 9.0}
        yield {"epoch": epoch, "step": epoch, "valid_loss": value}


def test_losses_are_the_mean_of_the_folds_that_have_the_epoch(tmp_path):
    write(tmp_path, 0, losses(1.0, 0.5, 0.25))
    write(tmp_path, 1, [*losses(2.0), {"epoch": 1, "step": 1, "valid_loss": 3.0}], tail='{"epoch": 2, "val')
    assert mean_losses(tmp_path) == {1: 2.0, 2: 0.5, 3: 0.25}
    assert mean_losses(tmp_path / "missing") == {}


def trial(number, optimizer, value=None, state=TrialState.COMPLETE, **attributes):
    settings = {} if optimizer == "nmuon" else {"optimizer": optimizer}
    return create_trial(
        state=state,
        value=value,
        params={"optimizer": optimizer, "model_options.width": 32, "learning_rate": 0.123456},
        distributions={
            "optimizer": CategoricalDistribution(["adam", "nmuon"]),
            "model_options.width": CategoricalDistribution([32]),
            "learning_rate": FloatDistribution(0, 1),
        },
        user_attrs={"settings": settings, "folder": f"trials/{number:04d}", **attributes},
    )


@pytest.fixture
def trials(tmp_path):
    study = optuna.create_study()
    study.add_trials(
        [
            trial(0, "nmuon", 0.5),
            trial(1, "adam", 0.4),
            trial(2, "adam", state=TrialState.PRUNED),
            trial(3, "adam", 0.6),
            trial(4, "adam", 0.6, reused_from=3),
            trial(5, "adam", state=TrialState.FAIL),
            trial(6, "nmuon", 0.7),
        ]
    )
    for number in range(6):  # trial 6 has no history left
        write(tmp_path / f"trials/{number:04d}", 0, losses(1.0, 0.1 * number))
    return study.get_trials()


def test_finished_trials_first_by_optimiser_and_without_those_that_were_not_trained(tmp_path, trials):
    curves, left_out = read_curves(tmp_path, trials, TrainSettings(), most=5)
    found = [(optimizer, curve) for optimizer, panel in curves.items() for curve in panel]
    assert [(optimizer, curve.number, curve.is_complete) for optimizer, curve in found] == [
        ("adam", 3, True),
        ("adam", 1, True),
        ("adam", 2, False),
        ("nmuon", 0, True),
    ]
    assert left_out == 0
    best = curves["adam"][0]
    assert best.epochs == (1, 2)
    assert best.losses == pytest.approx((1.0, 0.3))
    assert best.label == "width 32, learning_rate 0.123"


def test_what_is_left_out_is_counted(tmp_path, trials):
    curves, left_out = read_curves(tmp_path, trials, TrainSettings(), most=1)
    assert {optimizer: [curve.number for curve in panel] for optimizer, panel in curves.items()} == {
        "adam": [3],
        "nmuon": [0],
    }
    assert left_out == 2
