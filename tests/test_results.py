"""A study's files: every trial in trials.csv, the best one in best.yaml, the front and its picks."""

import csv
from types import SimpleNamespace

import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState, create_trial

from competition.cli import read_settings
from competition.config import TrainSettings
from competition.tuning.results import (
    best_of,
    pareto_front,
    pick,
    reason_of,
    trial_rows,
    write_best,
    write_front,
    write_rows,
)

BASE = TrainSettings()


def trial(values=None, state=TrialState.COMPLETE, rate=0.01, **attributes):
    """A trial with one parameter, and one or two values."""
    known = {"settings": {"learning_rate": rate}, "interval_95": [0.4, 0.6], **attributes}
    return create_trial(
        state=state,
        values=values,
        params={"learning_rate": rate},
        distributions={"learning_rate": FloatDistribution(0.001, 1)},
        user_attrs=known,
    )


def numbered(trials):
    """The trials as a study numbers them."""
    study = optuna.create_study(directions=["maximize", "minimize"][: len(trials[0].values or [0])])
    study.add_trials(trials)
    return study.get_trials()


def test_only_complete_trials_can_be_best_and_the_earliest_of_equals_is():
    trials = numbered([trial([0.5]), trial([0.7]), trial([0.7]), trial([0.9], TrialState.PRUNED)])
    assert best_of(trials).number == 1


def test_a_rule_picks_the_trial_that_becomes_best_yaml(tmp_path):
    pairs = [[0.5, 90.0], [0.795, 900.0], [0.8, 1000.0]]
    trials = numbered([trial(pair, interval_95=[0.4, 0.9], settings={"epochs": 5 + n}) for n, pair in enumerate(pairs)])
    assert [best_of(trials, rule).number for rule in ("score", "cost", "within")] == [2, 0, 1]
    write_best(tmp_path / "best.yaml", trials, BASE, "within")
    assert read_settings(TrainSettings, {"config": tmp_path / "best.yaml"}).epochs == 6
    assert "picked by the rule 'within' of 3 finished trials" in (tmp_path / "best.yaml").read_text()


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({}, ""),
        ({"failed_because": "out of memory"}, "out of memory"),
        ({"pruned_because": "fold 2"}, "fold 2"),
        ({"reused_from": 0}, "the settings of trial 0, whose result it has"),
        ({"goes_on_as": 4, "failed_because": "killed"}, "killed; goes on as trial 4"),
    ],
)
def test_reasons(attributes, reason):
    assert reason_of(trial([0.5], **attributes)) == reason


def test_every_trial_is_a_row_with_the_same_columns(tmp_path):
    first = trial([0.5], macro_f1=0.5, per_fold={"0": 0.4, "10": 0.6, "2": 0.5}, seconds=3.5, epochs_trained=4)
    rows = trial_rows(numbered([first, trial(state=TrialState.FAIL, failed_because='a, "b"\nc')]))
    assert [name for name in rows[0] if name.startswith("fold_")] == ["fold_0", "fold_2", "fold_10"]
    write_rows(tmp_path / "trials.csv", rows)
    with open(tmp_path / "trials.csv", newline="") as file:
        read = list(csv.DictReader(file))
    assert [row["state"] for row in read] == ["complete", "fail"]
    assert (read[0]["macro_f1"], read[0]["interval_low"], read[0]["learning_rate"]) == ("0.5", "0.4", "0.01")
    assert read[1]["reason"] == 'a, "b"\nc'
    assert read[1]["macro_f1"] == ""


def test_best_yaml_is_read_back_by_train(tmp_path):
    base = TrainSettings(data=tmp_path, epochs=3, run="runs/other", only_folds="0")
    changes = {"learning_rate": 0.02, "model_options": {"widths": [64, 128, 256]}, "mix": "none"}
    trials = numbered([trial([0.5]), trial([0.6], settings=changes, interval_95=[0.55, 0.65])])
    write_best(tmp_path / "best.yaml", trials, base)
    read = read_settings(TrainSettings, {"config": tmp_path / "best.yaml"})
    assert read == base.replace(**changes, run=None, only_folds=None)
    header = (tmp_path / "best.yaml").read_text().splitlines()[:2]
    assert all(line.startswith("# ") for line in header)
    words = "".join(header)
    assert all(word in words for word in ("Trial 1", "0.6000", "[0.550, 0.650]", "2 finished trials", "optimistic"))


def test_best_yaml_says_that_its_trials_saw_a_part_of_the_images(tmp_path):
    write_best(tmp_path / "best.yaml", numbered([trial([0.5])]), BASE.replace(train_share=0.3))
    assert "# note: a fold trains on 0.3 of its images, as in the trials; on all with --train-share 1" in (
        (tmp_path / "best.yaml").read_text().splitlines()
    )
    write_best(tmp_path / "best.yaml", numbered([trial([0.5])]), BASE)
    assert "note" not in (tmp_path / "best.yaml").read_text()


def test_best_yaml_says_when_its_score_is_from_an_epoch_picked_on_its_own_fold(tmp_path):
    write_best(tmp_path / "best.yaml", numbered([trial([0.5], warning="the kept epoch was picked")]), BASE)
    assert "\n# note: the kept epoch was picked\n" in (tmp_path / "best.yaml").read_text()


def test_best_yaml_holds_the_number_format_that_its_trial_was_trained_in(tmp_path):
    write_best(tmp_path / "best.yaml", numbered([trial([0.5], number_format="bf16")]), BASE)
    assert read_settings(TrainSettings, {"config": tmp_path / "best.yaml"}).precision == "bf16"
    assert "\n# precision bf16 is what 'auto' found" in (tmp_path / "best.yaml").read_text()
    write_best(tmp_path / "best.yaml", numbered([trial([0.5], number_format="bf16")]), BASE.replace(precision="bf16"))
    assert "'auto' found" not in (tmp_path / "best.yaml").read_text()


def test_the_front_is_what_nothing_beats():
    values = [[0.5, 100.0], [0.6, 200.0], [0.55, 300.0], [0.6, 200.0], [0.5, 90.0], [0.8, 1000.0], [0.4, 90.0]]
    front = pareto_front(numbered([trial(pair) for pair in values]))
    assert [(trial.number, *trial.values) for trial in front] == [(4, 0.5, 90.0), (1, 0.6, 200.0), (5, 0.8, 1000.0)]


FRONT = [
    SimpleNamespace(number=number, values=values)
    for number, values in ((4, [0.5, 90.0]), (1, [0.7, 200.0]), (7, [0.795, 900.0]), (5, [0.8, 1000.0]))
]


@pytest.mark.parametrize(("rule", "number"), [("score", 5), ("cost", 4), ("within", 7), ("knee", 1)])
def test_picks(rule, number):
    # knee: 0.7 is 2/3 of the rise at 0.12 of the length; 0.795 is 0.983 of it at 0.89
    assert pick(FRONT, rule).number == number


@pytest.mark.parametrize("rule", ["score", "cost", "within", "knee"])
def test_a_front_of_one_is_picked_by_every_rule(rule):
    assert pick(FRONT[:1], rule).number == 4


def test_the_front_s_file_says_who_picks_what(tmp_path):
    write_front(tmp_path / "pareto.csv", FRONT, "parameters")
    assert (tmp_path / "pareto.csv").read_text().splitlines() == [
        "trial,macro_f1,parameters,picked_by",
        "4,0.5,90,cost",
        "1,0.7,200,knee",
        "7,0.795,900,within",
        "5,0.8,1000,score",
    ]
