"""What a study with a finished trial found, as files: trials.csv, best.yaml, and for two objectives pareto.csv."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import yaml
from optuna.trial import FrozenTrial, TrialState

from competition.config import TrainSettings
from competition.data.csvfile import write_csv
from competition.errors import counted
from competition.metrics import Interval
from competition.runs import write_atomically

Rule = Literal["score", "cost", "knee", "within"]
WITHIN = 0.01  # of macro F1: what the rule ``within`` gives away for a cheaper network


def complete_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that finished: the only ones that have a score."""
    return [trial for trial in trials if trial.state == TrialState.COMPLETE]


def best_of(trials: Sequence[FrozenTrial], rule: Rule = "score") -> FrozenTrial:
    """Return the complete trial with the highest macro F1, the earliest of equals, or what another rule picks."""
    if rule == "score":
        return max(complete_trials(trials), key=lambda trial: trial.values[0])
    return pick(pareto_front(trials), rule)


def score_in_words(trial: FrozenTrial) -> str:
    """Return the score of a complete trial with its interval."""
    return f"out-of-fold macro F1 {trial.values[0]:.4f}, 95 % interval {Interval(*trial.user_attrs['interval_95'])}"


# -- trials.csv ------------------------------------------------------------------------------------------------


def trial_rows(trials: Sequence[FrozenTrial]) -> list[dict[str, Any]]:
    """Return one row per trial; all have the same columns."""
    folds = sorted({fold for trial in trials for fold in _per_fold(trial)}, key=int)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    return [_row(trial, folds, names) for trial in sorted(trials, key=lambda trial: trial.number)]


def _row(trial: FrozenTrial, folds: Sequence[str], names: Sequence[str]) -> dict[str, Any]:
    known = trial.user_attrs
    low, high = known.get("interval_95", (None, None))
    facts = ("seconds", "epochs_trained", "epochs_planned", "parameters", "latency_ms", "worker", "folder")
    return {
        "trial": trial.number,
        "state": trial.state.name.lower(),
        "macro_f1": known.get("macro_f1"),
        "interval_low": low,
        "interval_high": high,
        **{f"fold_{fold}": _per_fold(trial).get(fold) for fold in folds},
        **{name: known.get(name) for name in facts},
        "reason": reason_of(trial),
        **{name: trial.params.get(name) for name in names},
    }


def _per_fold(trial: FrozenTrial) -> Mapping[str, float]:
    return trial.user_attrs.get("per_fold") or {}


def reason_of(trial: FrozenTrial) -> str:
    """Return why a trial ended as it did, where there is more to say than its score."""
    known = trial.user_attrs
    reasons = [str(known[name]) for name in ("failed_because", "pruned_because") if known.get(name)]
    if known.get("reused_from") is not None:
        reasons.append(f"the settings of trial {known['reused_from']}, whose result it has")
    if known.get("goes_on_as") is not None:
        reasons.append(f"goes on as trial {known['goes_on_as']}")
    return "; ".join(reasons)


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows that have the same columns; an unknown value is an empty cell."""
    write_csv(path, rows[0], (row.values() for row in rows))


# -- best.yaml -------------------------------------------------------------------------------------------------


def write_best(path: Path, trials: Sequence[FrozenTrial], base: TrainSettings, rule: Rule = "score") -> None:
    """Write the settings of the best trial for ``train.py --config``."""
    best = best_of(trials, rule)
    picked = "the best" if rule == "score" else f"picked by the rule '{rule}'"
    header = (
        f"# Trial {best.number} of {path.parent}: {score_in_words(best)},\n"
        f"# {picked} of {counted(len(complete_trials(trials)), 'finished trial')}. A score picked as the best of many "
        "is optimistic: expect less on new images.\n"
    )
    if "warning" in best.user_attrs:
        header += f"# note: {best.user_attrs['warning']}\n"
    header += "".join(f"# note: {note}\n" for note in share_note(base))
    plain = {**base.replace(**best.user_attrs["settings"]).plain(), "run": None, "only_folds": None}
    if plain["precision"] == "auto" and "number_format" in best.user_attrs:
        plain["precision"] = found = best.user_attrs["number_format"]
        header += f"# precision {found} is what 'auto' found where this trial was trained; 'auto' times it anew.\n"
    write_atomically(path, header + yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))


def share_note(base: TrainSettings) -> list[str]:
    """Return what to know before the best settings are trained in earnest, where trials saw a part of the images."""
    if base.train_share in (None, 1):
        return []
    return [f"a fold trains on {base.train_share:g} of its images, as in the trials; on all with --train-share 1"]


# -- two objectives --------------------------------------------------------------------------------------------


def pareto_front(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that no other beats in both objectives, the cheapest first; of equals the earliest."""
    front: list[FrozenTrial] = []
    for trial in sorted(complete_trials(trials), key=lambda trial: (trial.values[1], -trial.values[0], trial.number)):
        if not front or trial.values[0] > front[-1].values[0]:
            front.append(trial)
    return front


def pick(front: Sequence[FrozenTrial], rule: Rule) -> FrozenTrial:
    """Return one trial of a Pareto front.

    Args:
        front: as `pareto_front` returns it.
        rule: ``score``: the highest macro F1; ``cost``: the cheapest; ``within``: the cheapest that is at most 0.01
            below the highest macro F1; ``knee``: the farthest from the line between the front's ends, each objective
            counted in its range over the front.
    """
    cheapest, best = front[0], front[-1]
    if rule == "within":
        return next(trial for trial in front if trial.values[0] >= best.values[0] - WITHIN)
    if rule == "knee" and best is not cheapest:
        return max(front, key=lambda trial: _above_line(trial, cheapest, best))
    return best if rule == "score" else cheapest


def _above_line(trial: FrozenTrial, cheapest: FrozenTrial, best: FrozenTrial) -> float:
    """Return the height of a trial above the line between the ends, both objectives scaled to 0 to 1."""
    (macro_f1, cost), (lowest, least), (highest, most) = trial.values, cheapest.values, best.values
    return (macro_f1 - lowest) / (highest - lowest) - (cost - least) / (most - least)


def write_front(path: Path, front: Sequence[FrozenTrial], cost: str) -> None:
    """Write the Pareto front and which rule picks which of its trials."""
    picked = {rule: pick(front, rule) for rule in get_args(Rule)}
    rows = [
        {
            "trial": trial.number,
            "macro_f1": trial.values[0],
            cost: whole(trial.values[1]),
            "picked_by": " ".join(rule for rule, other in picked.items() if other is trial),
        }
        for trial in front
    ]
    write_rows(path, rows)


def whole(value: float) -> float:
    """Return a whole number as an integer, which is shown without a point."""
    return int(value) if value == int(value) else value
