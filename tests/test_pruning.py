"""Two-level pruning: hand-worked reports, the two ladders guard by guard, and a real Optuna study."""

import math

import optuna
import pytest
from optuna.trial import TrialState

from competition.tuning.pruning import (
    PRIOR_SPREAD,
    PRUNED_BECAUSE,
    Record,
    TwoLevelPruner,
    best_finished,
    create_pruner,
    decide,
    expected_gain,
    final_scores,
    is_judged,
    judge_epochs,
    judge_folds,
    paired_spread,
    rungs,
    running_mean,
    step_of,
)

# Two folds of two validations: 0.2, 0.4 and 0.6, 0.8. Means: 0.2, 0.4, (0.4 + 0.6) / 2, (0.4 + 0.8) / 2.
REPORTED = {1: 0.2, 2: 0.4, 3: 0.5, 4: 0.6}


def reports(curves, validations):
    """Return what a trial with these curves reports."""
    values = {}
    for fold, curve in enumerate(curves):
        finished = [before[-1] for before in curves[:fold]]
        for validation, macro_f1 in enumerate(curve, start=1):
            values[step_of(fold, validation, validations)] = running_mean(finished, macro_f1)
    return values


def record(number, curves, validations, is_complete=False):
    return Record(number, reports(curves, validations), is_complete)


def flat(number, scores, is_complete=False):
    """A trial with one validation per fold."""
    return record(number, [[score] for score in scores], 1, is_complete)


# -- what is reported


@pytest.mark.parametrize(
    ("fold", "validation", "validations", "step"),
    [(0, 1, 3, 1), (0, 3, 3, 3), (1, 1, 3, 4), (2, 3, 3, 9), (4, 1, 1, 5)],
)
def test_steps(fold, validation, validations, step):
    assert step_of(fold, validation, validations) == step


def test_running_means_by_hand():
    assert reports([[0.2, 0.4], [0.6, 0.8]], 2) == pytest.approx(REPORTED)


@pytest.mark.parametrize(
    ("values", "finals"),
    [
        ({}, []),
        (REPORTED, [0.4, 0.8]),
        ({1: 0.2}, []),
        ({1: 0.2, 2: 0.4, 3: 0.5}, [0.4]),
        ({2: 0.4, 4: 0.6}, [0.4, 0.8]),  # final scores alone, as after a restart
        ({1: 0.2, 3: 0.5, 4: 0.6}, []),  # without the first fold's final score the second is unknown
    ],
)
def test_each_folds_own_final_score_is_had_back(values, finals):
    assert final_scores(values, 2) == pytest.approx(finals)


@pytest.mark.parametrize("name", ["two-level", "hyperband", "median", "none"])
@pytest.mark.parametrize("validations", [1, 2, 5, 22])
def test_every_pruner_lets_the_best_trial_finish_and_can_be_asked_at_every_step(name, validations):
    study = optuna.create_study(direction="maximize", pruner=create_pruner(name, 3, validations))
    for number in range(8):
        trial = study.ask()
        for step in range(1, 3 * validations + 1):
            trial.report(0.1 * number, step)
            assert not trial.should_prune()
        study.tell(trial, 0.1 * number)


def test_unknown_pruner():
    with pytest.raises(ValueError, match="two-level, hyperband, median, none"):
        create_pruner("wilcoxon", 5, 5)


# -- within a fold


@pytest.mark.parametrize(
    ("validations", "expected"), [(1, set()), (2, {1}), (3, {1, 2}), (4, {1, 2}), (5, {2, 3}), (10, {3, 5})]
)
def test_rungs(validations, expected):
    assert rungs(validations) == expected


def test_judged_steps():
    assert [step for step in range(1, 21) if is_judged(step, 10)] == [3, 5, 10, 20]


# Four validations in the first fold. The largest rise from validation 2 to the end is 0.15, and twice that 0.3.
BEST_OF_EPOCHS = record(0, [[0.5, 0.8, 0.85, 0.9]] * 5, 4, is_complete=True)
EPOCHS = [BEST_OF_EPOCHS, *(record(n, [[0.4, 0.7, 0.8, 0.8 + 0.01 * min(n, 5)]], 4) for n in range(1, 8))]


@pytest.mark.parametrize(
    ("curve", "stops"),
    [
        ([0.1, 0.59], True),
        ([0.1, 0.61], False),  # 0.61 + 0.3 reaches 0.9
        ([0.1, 0.2, 0.2], False),  # the third validation is no rung
        ([0.1, 0.7], False),  # not below the median, 0.7
        ([0.1], False),  # 0.1 + 2 * 0.45 reaches 0.9
    ],
)
def test_epochs_are_judged_guard_by_guard(curve, stops):
    assert (judge_epochs(EPOCHS, record(9, [curve], 4), BEST_OF_EPOCHS, 4) is not None) == stops


def test_the_reason_names_the_numbers():
    assert judge_epochs(EPOCHS, record(9, [[0.1, 0.5]], 4), BEST_OF_EPOCHS, 4) == (
        "in the first fold at validation 2 of 4: 0.500, which 2 times the largest rise seen from there (0.150) "
        "would not bring to trial 0's 0.900"
    )


def test_epochs_wait_for_enough_trials_that_finished_the_fold():
    hopeless = record(9, [[0.1, 0.1]], 4)
    assert judge_epochs([*EPOCHS[:7], record(8, [[0.4, 0.7]], 4)], hopeless, BEST_OF_EPOCHS, 4) is None
    assert judge_epochs(EPOCHS, hopeless, BEST_OF_EPOCHS, 4) is not None


def test_the_better_half_goes_on_however_far_the_best_trial_is():
    flat_ones = [record(n, [[0.1] * 4], 4) for n in range(8)]
    best = record(8, [[0.9] * 4] * 5, 4, is_complete=True)
    assert judge_epochs([*flat_ones, best], record(9, [[0.1, 0.1]], 4), best, 4) is None
    assert judge_epochs([*flat_ones, best], record(9, [[0.1, 0.09]], 4), best, 4) is not None


def test_epochs_of_later_folds_are_not_judged():
    this = record(9, [[0.1, 0.1, 0.1, 0.1], [0.1, 0.1]], 4)
    assert judge_epochs(EPOCHS, this, BEST_OF_EPOCHS, 4) is None


# -- between folds


def test_spread_by_hand():
    """Differences 0.1, 0.3, 0.2 have variance 0.01; two degrees of freedom beside the prior's four."""
    pair = [flat(0, [0.6, 0.9, 0.7]), flat(1, [0.5, 0.6, 0.5])]
    expected = math.sqrt((2 * 0.01 + 4 * PRIOR_SPREAD**2) / 6)
    assert paired_spread(pair, 1) == pytest.approx(expected)
    # One fold says nothing of the spread, and of unequal trials the folds count that both have.
    assert paired_spread([*pair, flat(2, [0.1])], 1) == pytest.approx(expected)
    assert paired_spread([flat(0, [0.6, 0.9, 0.7, 0.1]), pair[1]], 1) == pytest.approx(expected)


def test_spread_without_trials_is_the_prior():
    assert paired_spread([], 1) == pytest.approx(PRIOR_SPREAD)


def test_spread_forgets_the_prior_and_bad_settings():
    """Twelve good trials differ by 0.01 from fold to fold; wild bad ones change nothing."""
    good = [flat(n, [0.8 + 0.01 * (n == k % 12) for k in range(24)]) for n in range(12)]
    calm = paired_spread(good, 1)
    assert calm < 0.006
    assert paired_spread([*good, flat(20, [0.0, 0.5] * 12), flat(21, [0.4, 0.1] * 12)], 1) == calm


@pytest.mark.parametrize(
    ("difference", "noise", "gain"),
    [
        (0.0, 0.01, 0.01 * 0.398942),  # the normal density at 0
        (-0.01, 0.01, 0.01 * 0.083315),  # 0.241971 - 1 * 0.158655
        (-0.02, 0.01, 0.01 * 0.008491),  # 0.053991 - 2 * 0.022750
        (0.1, 0.01, 0.1),
    ],
)
def test_expected_gain_by_hand(difference, noise, gain):
    assert expected_gain(difference, noise) == pytest.approx(gain, rel=1e-3)


# Every difference to these is the same in all folds: the pair brings degrees of freedom and no spread.
BEST = flat(7, [0.80, 0.82, 0.78, 0.80, 0.80], is_complete=True)


@pytest.mark.parametrize(
    ("behind", "folds", "noise"),
    [
        # With d degrees of freedom of the pair the spread is 0.02 * sqrt(4 / (4 + d)), here d = n - 1, and the noise
        # that times sqrt((5 - n) / (5 n)). The expected gain is 0.002 at 0.84, 0.49 and, for n = 4, no noises behind.
        (0.016, 1, "0.018"),
        (0.014, 1, None),
        (0.006, 2, "0.010"),
        (0.004, 2, None),
        (0.001, 4, "0.003"),
        (-0.0001, 4, None),  # ahead, though by less than is worth a fold
        (0.5, 5, None),  # finished
    ],
)
def test_folds_are_judged_by_the_paired_difference(behind, folds, noise):
    this = flat(9, [score - behind for score in final_scores(BEST.values, 1)[:folds]])
    reason = judge_folds([BEST], this, BEST, 5, 1)
    assert (reason is not None) == (noise is not None)
    if noise is not None:
        start = f"after {folds} of 5 folds: {behind:.3f} below trial 7 on the same folds"
        assert reason == f"{start} (noise {noise})"


# -- the whole decision


def test_no_decision_before_a_trial_has_finished():
    bad = flat(9, [0.1])
    assert decide([], bad, 5, 1) is None
    assert decide([flat(0, [0.8] * 5)], bad, 5, 1) is None  # pruned or under way
    assert decide([flat(0, [0.8] * 4, is_complete=True)], bad, 5, 1) is None  # a result that was not trained here
    assert decide([flat(0, [0.8] * 5, is_complete=True)], bad, 5, 1) is not None
    assert decide([flat(0, [0.8] * 5, is_complete=True)], Record(9, {}), 5, 1) is None


def test_the_best_finished_trial_has_the_highest_mean():
    without_the_first_fold = Record(3, {2: 0.9}, is_complete=True)
    trials = [flat(0, [0.9, 0.1], True), flat(1, [0.6, 0.6], True), flat(2, [0.9, 0.9]), without_the_first_fold]
    assert best_finished(trials, 2, 1) is trials[1]


def test_last_validation_goes_to_the_folds_and_others_to_the_epochs():
    this = [[0.1, 0.1, 0.1, 0.1]]
    assert decide(EPOCHS, record(9, this, 4), 5, 4).startswith("after 1 of 5 folds")
    assert decide(EPOCHS, record(9, [[0.1, 0.1]], 4), 5, 4).startswith("in the first fold at validation 2")


def test_in_a_real_study_the_pruned_trial_keeps_its_reason():
    study = optuna.create_study(direction="maximize", pruner=TwoLevelPruner(folds=5, validations=1))
    for scores in ([0.8] * 5, [0.7, 0.7, 0.7, 0.7, 0.7], [0.81] * 5):
        trial = study.ask()
        for fold, score in enumerate(scores):
            trial.report(running_mean(scores[:fold], score), fold + 1)
            if trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, sum(scores) / 5)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE"]
    reasons = [trial.user_attrs.get(PRUNED_BECAUSE) for trial in study.trials]
    assert reasons == [None, "after 1 of 5 folds: 0.100 below trial 0 on the same folds (noise 0.018)", None]


def test_pruned_and_running_trials_tell_how_far_a_trial_may_rise():
    """Of the eight whose rise must be known one is complete, four are pruned and three under way."""
    study = optuna.create_study(direction="maximize", pruner=TwoLevelPruner(folds=5, validations=4))
    states = [TrialState.COMPLETE, *[TrialState.PRUNED] * 4, *[TrialState.RUNNING] * 3]
    for trial, state in zip(EPOCHS, states, strict=True):
        value = 0.9 if state == TrialState.COMPLETE else None
        study.add_trial(optuna.trial.create_trial(state=state, value=value, intermediate_values=dict(trial.values)))
    trial = study.ask()
    trial.report(0.1, 2)
    assert trial.should_prune()
    assert study.trials[-1].user_attrs[PRUNED_BECAUSE].startswith("in the first fold at validation 2 of 4: 0.100")


def test_values_that_are_no_numbers_stop_nobody():
    study = optuna.create_study(direction="maximize", pruner=TwoLevelPruner(folds=2, validations=1))
    study.add_trial(optuna.trial.create_trial(value=0.9, intermediate_values={1: 0.9, 2: 0.9}))
    trial = study.ask()
    trial.report(math.nan, 1)
    assert not trial.should_prune()
