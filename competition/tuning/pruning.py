"""Two-level pruning: within a fold by epochs, between folds by a paired comparison with the best finished trial.

A trial reports every validation. With V validations per fold, the last of them the fold's out-of-fold score, the
validation ``v`` (from 1) of the fold at position ``f`` (from 0) is step ``f * V + v``. The value reported there is the
running mean: (the final macro F1 of the finished folds, summed, + this validation's macro F1) / (f + 1). So values
at the same step compare one trial with another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median, variance

import optuna
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial, TrialState

PRUNED_BECAUSE = "pruned_because"  # user attribute of a pruned trial: the reason in a sentence

FEWEST_RISES = 8  # trials whose rise is known: the next one's is larger than all of theirs in 1 case of 9
SLACK = 2.0  # times the largest rise seen that a trial is still trusted with: an annealed high rate climbs late
WORTH = 0.002  # macro F1: a trial goes on while its remaining folds are expected to gain this much
PRIOR_SPREAD = 0.02  # of one fold's paired difference, while the study has none of its own: two trainings, 1,000 rows
PRIOR_WEIGHT = 4  # degrees of freedom the prior counts for
NEAREST = 10  # best trials whose differences give the spread; bad settings scatter more, and are far off anyway

Values = Mapping[int, float]  # step -> running mean of macro F1


def create_pruner(name: str, folds: int, validations: int) -> BasePruner:
    """Return a pruner for values reported as running means (see the module's text).

    Args:
        name: ``two-level``, ``hyperband``, ``median`` or ``none``.
        folds: folds per trial.
        validations: validations per fold, the out-of-fold score among them.
    """
    first = max(1, validations // 4)
    if name == "two-level":
        return TwoLevelPruner(folds, validations)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=first, max_resource=folds * validations)
    if name == "median":
        return optuna.pruners.MedianPruner(n_warmup_steps=first)
    if name == "none":
        return optuna.pruners.NopPruner()
    raise ValueError(f"no pruner is called {name!r}: there are two-level, hyperband, median, none")


# -- what a trial reports --------------------------------------------------------------------------------------


def step_of(fold_position: int, validation: int, validations: int) -> int:
    """Return the step at which a validation is reported; folds count from 0, validations from 1."""
    return fold_position * validations + validation


def running_mean(finished: Sequence[float], macro_f1: float) -> float:
    """Return the value to report: the mean of the finished folds' final scores and this validation's score."""
    return (sum(finished) + macro_f1) / (len(finished) + 1)


def final_scores(values: Values, validations: int) -> list[float]:
    """Return the final macro F1 of each finished fold, up to the first that is missing."""
    scores: list[float] = []
    while (mean := values.get(validations * (len(scores) + 1))) is not None:
        scores.append(mean * (len(scores) + 1) - sum(scores))
    return scores


# -- the decision ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """What the decision needs of a trial.

    Attributes:
        number: the trial's number.
        values: step -> running mean of macro F1.
        is_complete: it ran to its end, neither pruned nor under way.
    """

    number: int
    values: Values
    is_complete: bool = False


def decide(others: Sequence[Record], this: Record, folds: int, validations: int) -> str | None:
    """Return why a trial that has just reported should stop, or None.

    Args:
        others: every other trial of the study, in any state.
        this: the trial, judged at its last step.
        folds: folds per trial.
        validations: validations per fold.
    """
    best = best_finished(others, folds, validations)
    if best is None or not this.values:
        return None
    if max(this.values) % validations == 0:  # the end of a fold
        return judge_folds(others, this, best, folds, validations)
    return judge_epochs(others, this, best, validations)


def best_finished(others: Sequence[Record], folds: int, validations: int) -> Record | None:
    """Return the complete trial with the highest mean over the folds, of those that reported every fold."""
    ends = {step_of(fold, validations, validations) for fold in range(folds)}
    finished = [record for record in others if record.is_complete and ends <= record.values.keys()]
    return max(finished, key=lambda record: record.values[max(ends)], default=None)


def rungs(validations: int) -> set[int]:
    """Return the validations of the first fold at which its epochs are judged: a quarter and a half of the way."""
    return {math.ceil(validations * share) for share in (0.25, 0.5)} - {validations}


def is_judged(step: int, validations: int) -> bool:
    """Return whether a trial may be stopped at a step: a rung of the first fold, or the end of any fold."""
    return step in rungs(validations) or step % validations == 0


def judge_epochs(others: Sequence[Record], this: Record, best: Record, validations: int) -> str | None:
    """Return why a trial should stop within its first fold, or None.

    Asynchronous successive halving (Li et al. 2020, arXiv 1810.05934): of all that reached a rung the better half
    goes on. Of the others only those stop that would end this fold below the best trial even if they rose `SLACK` times
    as much from here as any trial has: settings that learn slowly at first are often the best at last. In later folds
    nothing is judged by epochs: the first fold has shown how the setting learns, and the paired comparison knows more.
    """
    step = max(this.values)
    if step not in rungs(validations):
        return None
    rises = [
        record.values[validations] - record.values[step]
        for record in others
        if {step, validations} <= record.values.keys()
    ]
    if len(rises) < FEWEST_RISES:
        return None
    value, wanted = this.values[step], best.values[validations]
    if value >= median(record.values[step] for record in others if step in record.values):
        return None
    if value + SLACK * max(rises) >= wanted:
        return None
    return (
        f"in the first fold at validation {step} of {validations}: {value:.3f}, which {SLACK:g} times the largest "
        f"rise seen from there ({max(rises):.3f}) would not bring to trial {best.number}'s {wanted:.3f}"
    )


def judge_folds(others: Sequence[Record], this: Record, best: Record, folds: int, validations: int) -> str | None:
    """Return why a trial should stop after a finished fold, or None.

    The mean of n paired differences still moves until all K folds are known. With spread s of one fold's difference
    that noise is s * sqrt((K - n) / (K n)), the standard error of a mean of n drawn from K without replacement (Cochran
    1977, section 2.6). A trial stops when it is behind and what the other folds may gain on the best trial is expected
    to be less than `WORTH`.
    """
    step = max(this.values)
    finished = step // validations
    difference = this.values[step] - best.values[step]  # running means at the end of a fold are means of final scores
    if finished >= folds or difference >= 0:
        return None
    noise = paired_spread([*others, this], validations) * math.sqrt((folds - finished) / (folds * finished))
    if expected_gain(difference, noise) >= WORTH:
        return None
    return (
        f"after {finished} of {folds} folds: {-difference:.3f} below trial {best.number} on the same folds "
        f"(noise {noise:.3f})"
    )


def expected_gain(difference: float, noise: float) -> float:
    """Return the mean of max(0, x) for a normal x: the expected improvement of Jones et al. 1998, equation 15."""
    z = difference / noise
    normal = NormalDist()
    return noise * (normal.pdf(z) + z * normal.cdf(z))


def paired_spread(records: Sequence[Record], validations: int) -> float:
    """Return the standard deviation of one fold's difference between two good trials.

    Pooled over the pairs among the `NEAREST` best trials with two folds or more; shrunk to `PRIOR_SPREAD` while those
    are few.
    """
    scores = [final_scores(record.values, validations) for record in records]
    scores = sorted((s for s in scores if len(s) > 1), key=lambda s: -sum(s) / len(s))[:NEAREST]
    squares, weight = PRIOR_WEIGHT * PRIOR_SPREAD**2, float(PRIOR_WEIGHT)
    for one, other in combinations(scores, 2):
        differences = [a - b for a, b in zip(one, other)]  # noqa: B905 (the folds both have)
        squares += (len(differences) - 1) * variance(differences)
        weight += len(differences) - 1
    return math.sqrt(squares / weight)


class TwoLevelPruner(BasePruner):
    """`decide` as an Optuna pruner; a pruned trial's reason is its user attribute ``pruned_because``.

    Args:
        folds: folds per trial.
        validations: validations per fold, the out-of-fold score among them.
    """

    def __init__(self, folds: int, validations: int) -> None:
        self._folds, self._validations = folds, validations

    def prune(self, study: optuna.study.Study, trial: FrozenTrial) -> bool:
        """Return whether the trial should stop; the study maximises macro F1."""
        step = trial.last_step
        if step is None or not is_judged(step, self._validations):
            return False  # before every trial is fetched
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
        others = [_record(other) for other in trials if other.number != trial.number]
        reason = decide(others, _record(trial), self._folds, self._validations)
        if reason is None:
            return False
        # The trial is a copy: only the storage reaches the study, as in Optuna's own pruners.
        study._storage.set_trial_user_attr(trial._trial_id, PRUNED_BECAUSE, reason)
        return True


def _record(trial: FrozenTrial) -> Record:
    # A validation that is no number says nothing of the setting; whether it is a failure, the objective decides.
    values = {step: value for step, value in trial.intermediate_values.items() if math.isfinite(value)}
    return Record(trial.number, values, trial.state == TrialState.COMPLETE)
