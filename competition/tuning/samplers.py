"""Who proposes settings: Optuna's samplers, seeded by the number of the trial.

A sampler is made anew for each trial, but for the grid, which draws nothing. So workers that share a seed never repeat
each other's draws, a study that was stopped goes on as if it had not been, and one worker's study can be had again from
its seed.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import optuna
from optuna.samplers import BaseSampler, GridSampler
from optuna.trial import FrozenTrial, TrialState

from competition.errors import UserError
from competition.runs import counted_seed


def create_sampler(name: str, seed: int, trial_number: int) -> BaseSampler:
    """Return the sampler of ``--sampler`` for one trial.

    Args:
        name: ``tpe``, ``random``, ``gp``, ``cmaes`` or ``nsga2``.
        seed: of the study.
        trial_number: of the trial that it proposes.
    """
    drawn = counted_seed(seed, "sampler", trial_number) % 2**32
    if name == "tpe":
        return optuna.samplers.TPESampler(seed=drawn)
    if name == "random":
        return optuna.samplers.RandomSampler(seed=drawn)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=drawn, warn_independent_sampling=False)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=drawn, warn_independent_sampling=False)
    if name == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=drawn)
    raise ValueError(f"no sampler is called {name!r}")


def refuse_missing_package(name: str) -> None:
    """Raise UserError when a sampler's package is not installed."""
    if name == "cmaes" and find_spec("cmaes") is None:
        raise UserError("--sampler cmaes needs a package that is not installed: pip install cmaes")


class StudyGrid(GridSampler):
    """Optuna's grid, for trials that are asked for one by one under a lock; the study ends by `is_used_up`.

    It is seeded by the study alone: all workers must number the points alike.
    """

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Give a trial the first point that none has begun; Optuna goes by its number, and would repeat trial 0's."""
        if "grid_id" in trial.system_attrs or "fixed_params" in trial.system_attrs:
            return
        # Not the study's own list, which Hyperband's pruner filters.
        begun = _begun(study._storage.get_all_trials(study._study_id, deepcopy=False))
        point = min(set(range(len(self._all_grids))) - begun, default=0)
        study._storage.set_trial_system_attr(trial._trial_id, "grid_id", point)

    def number_of(self, params: Mapping[str, Any]) -> int | None:
        """Return the number of a point, or None where it does not lie on the grid."""
        points = [dict(zip(self._param_names, point, strict=True)) for point in self._all_grids]
        return points.index(dict(params)) if params in points else None

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Do nothing: the study is not inside Optuna's own loop, which this would stop."""

    def is_used_up(self, trials: Sequence[FrozenTrial]) -> bool:
        """Return whether no trial waits, and every point of the grid has been tried or is under way."""
        is_waiting = any(trial.state == TrialState.WAITING for trial in trials)
        return not is_waiting and len(_begun(trials)) >= len(self._all_grids)


def _begun(trials: Sequence[FrozenTrial]) -> set[int]:
    return {trial.system_attrs["grid_id"] for trial in trials if "grid_id" in trial.system_attrs}
