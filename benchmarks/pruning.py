"""Replay recorded learning curves against every pruner: epochs spent, and what the pruning cost the chosen setting.

  python benchmarks/pruning.py [--orders 100] [--curves benchmarks/learning_curves.csv]

Every setting of `record_curves.py` becomes one trial of a real Optuna study; each order of the settings is another
study. Epochs are a share of the unpruned ones. Regret is the mean macro F1 over the folds of the best setting of the
file minus that of the study's best complete trial. Two-level pruning's constants were settled on the first 30 settings
of the recorded file, so its figures there flatter it; settings recorded later are replayed alone.
"""

import argparse
import csv
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray

from competition.tuning.pruning import create_pruner, running_mean, step_of

SETTLED_ON = 30  # settings that the constants of two-level pruning were settled on

Curves = NDArray[np.float64]  # (settings, folds, epochs) macro F1


@dataclass(frozen=True)
class Outcome:
    """One study: epochs spent, as a share of the unpruned ones, and regret of the chosen setting."""

    epochs: float
    regret: float


def read_curves(path: Path) -> Curves:
    """Return the recorded curves of all settings whose folds are all there."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    epochs = [name for name in rows[0] if name.startswith("epoch_")]
    settings: dict[int, dict[int, list[float]]] = {}
    for row in rows:
        settings.setdefault(int(row["setting"]), {})[int(row["fold"])] = [float(row[name]) for name in epochs]
    folds = max(len(by_fold) for by_fold in settings.values())
    return np.array([[by_fold[k] for k in range(folds)] for by_fold in settings.values() if len(by_fold) == folds])


def run_trial(study: optuna.Study, curves: NDArray[np.float64], is_by_fold: bool) -> int:
    """Let one trial report its curves until it is pruned or done; returns the epochs it spent.

    Args:
        study: the study.
        curves: (folds, epochs) of the setting.
        is_by_fold: report each fold's own final score and nothing else, as WilcoxonPruner asks for.
    """
    folds, epochs = curves.shape
    trial = study.ask()
    for fold in range(folds):
        finished = curves[:fold, -1].tolist()
        for epoch in range(epochs - 1 if is_by_fold else 0, epochs):
            value = curves[fold, epoch]
            if is_by_fold:
                trial.report(value, fold)
            else:
                trial.report(running_mean(finished, value), step_of(fold, epoch + 1, epochs))
            if trial.should_prune() and (fold, epoch) != (folds - 1, epochs - 1):
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return fold * epochs + epoch + 1
    study.tell(trial, curves[:, -1].mean())
    return folds * epochs


def replay(curves: Curves, make_pruner: Callable[[], optuna.pruners.BasePruner], orders: int) -> list[Outcome]:
    """Run one study for each random order of the settings."""
    truth = curves[:, :, -1].mean(axis=1)
    outcomes = []
    for order in range(orders):
        pruner = make_pruner()
        study = optuna.create_study(
            study_name=f"order {order}",  # Hyperband deals trials into brackets by the study's name
            direction="maximize",
            pruner=pruner,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
        is_by_fold = isinstance(pruner, optuna.pruners.WilcoxonPruner)
        settings = np.random.default_rng(order).permutation(len(curves))
        spent = sum(run_trial(study, curves[setting], is_by_fold) for setting in settings)
        outcomes.append(Outcome(spent / curves.size, float(truth.max()) - study.best_value))
    return outcomes


def contenders(folds: int, epochs: int) -> dict[str, Callable[[], optuna.pruners.BasePruner]]:
    """Return what makes each pruner anew."""
    makers: dict[str, Callable[[], optuna.pruners.BasePruner]] = {
        name: lambda name=name: create_pruner(name, folds, epochs)  # type: ignore[misc]
        for name in ("two-level", "hyperband", "median", "none")
    }
    return {**makers, "wilcoxon": lambda: optuna.pruners.WilcoxonPruner(p_threshold=0.1)}


def show(name: str, outcomes: list[Outcome]) -> str:
    """Return one row of the table."""
    epochs = [outcome.epochs for outcome in outcomes]
    regrets = [outcome.regret for outcome in outcomes]
    return (
        f"{name:10} {statistics.mean(epochs):.3f} [{min(epochs):.3f}, {max(epochs):.3f}]    "
        f"{statistics.mean(regrets):.4f}    {max(regrets):.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--curves", type=Path, default=Path(__file__).with_name("learning_curves.csv"))
    parser.add_argument("--orders", type=int, default=100)
    values = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # WilcoxonPruner is one
    curves = read_curves(values.curves)
    parts = {f"the first {SETTLED_ON} settings": curves[:SETTLED_ON], "the later settings": curves[SETTLED_ON:]}
    for title, part in parts.items():
        if not len(part):
            continue
        print(f"\n{title}: {len(part)}, {values.orders} orders")
        print("pruner     epochs [least, most]      mean regret, worst")
        for name, make_pruner in contenders(*part.shape[1:]).items():
            print(show(name, replay(part, make_pruner, values.orders)), flush=True)


if __name__ == "__main__":
    main()
