"""One trial: the folds of `train.py` with other settings, watched by a pruner.

studies/NAME/trials/0007/    a run folder as train.py makes them, out-of-fold probabilities rounded to float16
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState

from competition import metrics
from competition.config import TrainSettings
from competition.models.factory import count_parameters
from competition.prediction.fold_prediction import ImageRows, predict_fold
from competition.predictions import Predictions, load_predictions, save_predictions
from competition.runs import read_history
from competition.stop import Stop
from competition.training.cross_validation import Run, save_score, score_folds
from competition.training.fit import fit_fold
from competition.training.start import untrained_network
from competition.tuning.claims import Claim, Outcome
from competition.tuning.latency import measure_latency
from competition.tuning.pruning import PRUNED_BECAUSE
from competition.tuning.search import Search
from competition.tuning.watch import TrialDisplay, TrialWatch
from competition.tuning.work import remove_state

# What a trial that proposes settings already tried takes over from the first one.
SCORES = ("macro_f1", "interval_95", "per_fold", "warning")
TAKEN_OVER = (*SCORES, "epochs_planned", "parameters", "latency_ms", "number_format", "folder", PRUNED_BECAUSE)


@dataclass(frozen=True)
class TrialRunner:
    """Trains claimed trials.

    Attributes:
        search: the study.
        tell: notes what this worker is doing.
        stop: whether to save and stop now.
    """

    search: Search
    tell: Callable[[dict[str, Any]], None]
    stop: Stop

    def __call__(self, claim: Claim) -> Outcome:
        """Train a trial, or take over the result of the same settings.

        Raises:
            Stopped: somebody wants to stop; the state is saved.
            UserError: settings that cannot run, or a loss that is not finite.
        """
        start, search = time.perf_counter(), self.search
        settings = search.base.replace(**claim.changes)
        changes = differences(search.base, settings)
        search.storage.patiently(lambda: claim.trial.set_user_attr("settings", changes))
        earlier = already_tried(search.trials(), changes)
        if earlier is not None:
            return self._take_over(claim, earlier)
        outcome = self._train(claim, search.shelf.open_run(settings, search.folder / claim.folder))
        outcome.attributes["seconds"] = round(time.perf_counter() - start, 2)
        return outcome

    def _train(self, claim: Claim, run: Run) -> Outcome:
        attributes = self._measure(run)
        search, folds = self.search, len(run.settings.fold_numbers)
        watch = TrialWatch(claim.trial, search.storage, folds, search.validations)
        display = TrialDisplay(claim.trial.number, folds, planned_epochs(run, fold=0), self.tell)
        attributes["epochs_planned"] = sum(planned_epochs(run, fold) for fold in run.settings.fold_numbers)
        try:
            for fold in run.settings.fold_numbers:
                fit_fold(run.job(fold), display, self.stop, watch.validated)
                watch.finished_fold(self._finish_fold(run, fold))
        except optuna.TrialPruned as pruned:
            attributes[PRUNED_BECAUSE] = f"{search.settings.pruner_name} pruner {pruned}"
            return self._pruned(claim, run, watch, attributes)
        pooled, score = score_folds(run)
        save_score(run, pooled, score)
        attributes |= {name: score[name] for name in SCORES if name in score}
        attributes["epochs_trained"] = trained_epochs(run)
        return Outcome(TrialState.COMPLETE, self._values(attributes), attributes)

    def _pruned(self, claim: Claim, run: Run, watch: TrialWatch, attributes: dict[str, Any]) -> Outcome:
        remove_state(run.folder)
        attributes["per_fold"] = {str(fold): score for fold, score in enumerate(watch.finished)}
        attributes["epochs_trained"] = trained_epochs(run)
        storage = self.search.storage
        told = storage.patiently(lambda: storage.trials.get_trial(claim.trial._trial_id)).user_attrs
        if PRUNED_BECAUSE in told:  # the pruner gave its own reason
            attributes[PRUNED_BECAUSE] = told[PRUNED_BECAUSE]
        return Outcome(TrialState.PRUNED, None, attributes)

    def _measure(self, run: Run) -> dict[str, Any]:
        """Return the size of the trial's network, its number format and, where it is an objective, its latency."""
        size = run.preprocessing.image_size
        network = untrained_network(run.settings, len(run.data.class_names), size)
        measured: dict[str, Any] = {"parameters": count_parameters(network)}
        measured["number_format"] = run.machine.precision.number_format
        if self.search.settings.objective2 == "latency":
            measured["latency_ms"] = measure_latency(network, run.machine, size)
        return measured

    def _values(self, attributes: Mapping[str, Any]) -> tuple[float, ...]:
        second = {"parameters": "parameters", "latency": "latency_ms"}.get(self.search.settings.objective2 or "")
        return (attributes["macro_f1"], *((float(attributes[second]),) if second else ()))

    def _finish_fold(self, run: Run, fold: int) -> float:
        """Keep a fold's predictions small, drop its weights, and return its macro F1."""
        folder, weights = run.fold_folder(fold), run.fold_folder(fold) / "model.safetensors"
        predictions = load_predictions(folder / "predictions.npz")
        if weights.exists():  # otherwise it was finished before
            if self.search.settings.predict_test:
                images = ImageRows.of_test(self.search.shelf.catalog, run.material.images.store)
                predict_fold(folder, images, run.settings.views, run.machine.device, must_keep=True)
            save_predictions(folder / "predictions.npz", halved(predictions))
            if not self.search.settings.keep_weights:
                weights.unlink()
        return metrics.macro_f1(predictions.confusion())

    def _take_over(self, claim: Claim, earlier: FrozenTrial) -> Outcome:
        """Return the result of an earlier trial of the same settings."""
        known = earlier.user_attrs
        attributes = {name: known[name] for name in TAKEN_OVER if name in known}
        attributes |= {"reused_from": known.get("reused_from", earlier.number), "epochs_trained": 0, "seconds": 0.0}
        if earlier.state == TrialState.COMPLETE:
            return Outcome(TrialState.COMPLETE, tuple(earlier.values), attributes)
        last = earlier.last_step
        if last is not None:  # a pruned trial's value is the last that it reported
            self.search.storage.patiently(lambda: claim.trial.report(earlier.intermediate_values[last], last))
        return Outcome(TrialState.PRUNED, None, attributes)


def differences(base: TrainSettings, settings: TrainSettings) -> dict[str, Any]:
    """Return the settings that differ from the base, as plain values."""
    before, after = base.plain(), settings.plain()
    return {name: value for name, value in after.items() if value != before[name]}


def already_tried(trials: list[FrozenTrial], changes: Mapping[str, Any]) -> FrozenTrial | None:
    """Return the first trial that ended, other than by failing, with the same settings."""
    ended = (TrialState.COMPLETE, TrialState.PRUNED)
    return next((item for item in trials if item.state in ended and item.user_attrs.get("settings") == changes), None)


def planned_epochs(run: Run, fold: int) -> int:
    """Return the epochs that a fold takes to its end."""
    settings, job = run.settings, run.job(fold)
    if settings.steps is None:
        return settings.epochs
    return math.ceil(settings.steps / math.ceil(len(job.train_rows) * (1 + settings.copies) / job.batch_size))


def trained_epochs(run: Run) -> int:
    """Return the epochs that were trained in all folds."""
    histories = (read_history(run.fold_folder(fold) / "history.jsonl") for fold in run.settings.fold_numbers)
    return sum(sum("train_loss" in record for record in history) for history in histories)


def halved(predictions: Predictions) -> Predictions:
    """Return the predictions with float16 probabilities and the same most probable class in every row."""
    exact = predictions.probabilities
    half: NDArray[np.float16] = exact.astype(np.float16)
    top = exact.argmax(axis=1)
    rows = np.flatnonzero(half.argmax(axis=1) != top)  # rounded to a tie
    half[rows, top[rows]] = np.nextafter(half[rows].max(axis=1), np.float16(2))
    return replace(predictions, probabilities=half)  # type: ignore[arg-type]
