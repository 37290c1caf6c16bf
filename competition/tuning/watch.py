"""What looks on while the folds of a trial train: reports validations and asks the pruner."""

from collections.abc import Callable
from typing import Any

import optuna
from optuna.trial import Trial

from competition.tuning.pruning import running_mean, step_of
from competition.tuning.storage import StudyStorage


class TrialWatch:
    """Reports a trial's validations as running means, see `competition.tuning.pruning`.

    Args:
        trial: Optuna's trial.
        storage: where it is recorded.
        folds: folds of a trial.
        validations: validations per fold that are reported, the out-of-fold score among them.
    """

    def __init__(self, trial: Trial, storage: StudyStorage, folds: int, validations: int) -> None:
        self._trial, self._storage = trial, storage
        self._folds, self._validations = folds, validations
        self._is_judged = len(trial.study.directions) == 1
        self._reported = set(storage.patiently(lambda: storage.trials.get_trial(trial._trial_id)).intermediate_values)
        self.finished: list[float] = []

    def validated(self, step: int, total_steps: int, macro_f1: float) -> None:
        """Report a validation at its share of the training, so that trials of other lengths compare.

        Raises:
            optuna.TrialPruned: the pruner stops the trial.
        """
        validation = self._validations * step // total_steps
        if 1 <= validation < self._validations:
            self._report(validation, macro_f1)

    def finished_fold(self, macro_f1: float) -> None:
        """Report a fold's out-of-fold score; raises optuna.TrialPruned as `validated` does."""
        self._report(self._validations, macro_f1)
        self.finished.append(macro_f1)

    def _report(self, validation: int, macro_f1: float) -> None:
        if not self._is_judged:
            return  # Optuna keeps no curve of a trial with two objectives
        step = step_of(len(self.finished), validation, self._validations)
        if step not in self._reported:
            value = running_mean(self.finished, macro_f1)
            self._storage.patiently(lambda: self._trial.report(value, step))
            self._reported.add(step)
        is_last = step == self._folds * self._validations
        if not is_last and self._storage.patiently(self._trial.should_prune):
            if validation == self._validations:
                self.finished.append(macro_f1)
            raise optuna.TrialPruned(f"in fold {(step - 1) // self._validations} at validation {validation}")


class TrialDisplay:
    """Tells the display of the study how a trial's folds go."""

    def __init__(self, number: int, folds: int, epochs: int, tell: Callable[[dict[str, Any]], None]) -> None:
        self._status: dict[str, Any] = {"trial": number, "folds": folds, "epochs": epochs}
        self._tell = tell

    def note(self, text: str) -> None:
        """Say something that is not a number."""
        print(f"trial {self._status['trial']}, {text}", flush=True)

    def start_fold(self, fold: int, epochs: float) -> None:
        """A fold begins or goes on; its epochs are those of every other one."""
        self._add(fold=fold, epoch=0.0)

    def update(self, fold: int, *, done: float, loss: float, images_per_second: float, seconds_left: float) -> None:
        """Some batches are done."""
        self._add(fold=fold, epoch=done, loss=loss, rate=images_per_second)

    def validated(self, fold: int, macro_f1: float) -> None:
        """A validation is done."""
        self._add(fold=fold, macro_f1=macro_f1)

    def finish_fold(self, fold: int, macro_f1: float) -> None:
        """A fold is finished."""
        self._add(fold=fold, macro_f1=macro_f1)

    def _add(self, **news: Any) -> None:
        self._status.update(news)
        self._tell(self._status)
