"""Who trains which trial: claimed under the study's one lock, so the total is exact over workers and restarts.

A trial that is stopped or whose worker died is marked as failed and its settings are queued again with the user
attributes ``continues`` (the trial it takes the place of) and ``folder`` (whose finished folds are not trained again).
It is counted once: the one that failed carries ``goes_on_as``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, Trial, TrialState

from competition.errors import UserError, counted
from competition.tuning.owners import Worker, forget, is_alive
from competition.tuning.samplers import StudyGrid, create_sampler
from competition.tuning.search import Search

MOST_DEATHS = 3  # workers that a trial may outlive before it is blamed
MOST_FAILURES = 10  # trials in a row, after which the study stops
SPENT = "mend the cause; failed trials count, so then raise --trials, or begin anew with another --study (a grid must)"

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True)
class Claim:
    """A trial that is this worker's.

    Attributes:
        trial: Optuna's trial, its parameters drawn.
        changes: settings over the base.
        folder: where it is trained, relative to the study: its own, or that of the trial it continues.
    """

    trial: Trial
    changes: dict[str, Any]
    folder: Path


class Nothing(Enum):
    """Why there is nothing to claim."""

    DONE = "every trial is finished"
    WAIT = "the last trials are under way elsewhere"


class Claims:
    """The trials of a study, as one worker takes and returns them.

    Args:
        search: the study.
        worker: this process.
    """

    def __init__(self, search: Search, worker: Worker) -> None:
        self.search, self.worker = search, worker
        self._first = len(search.trials())  # failures of earlier ones are forgiven: they were before this command
        is_grid = search.settings.sampler == "grid"
        self._grid = StudyGrid(search.space.search_space(), search.base.seed) if is_grid else None

    def claim(self) -> Claim | Nothing:
        """Return a trial to train, or why there is none; stale trials are queued again first.

        Raises:
            UserError: the last `MOST_FAILURES` trials have all failed.
            StorageDown: the storage is away for too long.
        """
        return self.search.storage.patiently(self._claim_once)

    def _claim_once(self) -> Claim | Nothing:
        settings, grid = self.search.settings, self._grid
        with self.search.storage.lock():
            self.sweep()
            trials = self.trials()
            is_used_up = grid is not None and grid.is_used_up(trials)
            is_spent = is_used_up or sum(map(counts, trials)) >= settings.trials
            self._refuse_failures(trials, is_spent)
            if is_spent:
                is_under_way = any(trial.state == TrialState.RUNNING for trial in trials)
                return Nothing.WAIT if is_under_way else Nothing.DONE
            self.search.study.sampler = grid or create_sampler(settings.sampler, self.search.base.seed, len(trials))
            return self._take()

    def _take(self) -> Claim:
        """Take the next trial; a kill before ``worker`` is set leaves one without owner, which the lock's next
        holder knows to be dead.
        """
        trial = self.search.study.ask()
        trial.set_user_attr("worker", self.worker.name)
        self.search.storage.beat(trial._trial_id)
        folder = trial.user_attrs.get("folder") or f"trials/{trial.number:04d}"
        trial.set_user_attr("folder", folder)
        return Claim(trial, self.search.space.suggest(trial), Path(folder))

    def trials(self) -> list[FrozenTrial]:
        """Return all trials of the study, without patience: a lost connection takes the lock with it."""
        return self.search.study.get_trials(deepcopy=False)

    def enqueue_first(self, params: dict[str, Any]) -> None:
        """Make the defaults trial 0 of a new study; a point of the grid that they are is not tried again."""
        point = None if self._grid is None else self._grid.number_of(params)
        # As Optuna's own enqueue_trial, whole at once: a kill leaves no trial 0 that has lost its point.
        known = {"fixed_params": params} | ({} if point is None else {"grid_id": point})

        def enqueue() -> None:
            with self.search.storage.lock():
                if not self.trials():
                    self.search.study.add_trial(optuna.create_trial(state=TrialState.WAITING, system_attrs=known))

        self.search.storage.patiently(enqueue)

    # -- giving back ---------------------------------------------------------------------------------------

    def release(self, claim: Claim) -> None:
        """Queue a trial again that this worker was asked to stop."""

        def give_back() -> None:
            with self.search.storage.lock():
                trial = next(item for item in self.trials() if item.number == claim.trial.number)
                if trial.state == TrialState.RUNNING:
                    self._queue_again(trial, "stopped", deaths=trial.user_attrs.get("deaths", 0))

        self.search.storage.patiently(give_back)

    def sweep(self) -> None:
        """Queue the trials of dead workers again; the lock must be held."""
        running = [trial for trial in self.trials() if trial.state == TrialState.RUNNING]
        silent = self.search.storage.silent_trials(self.search.study._study_id) if running else set()
        for trial in running:
            owner = trial.user_attrs.get("worker")
            # A worker trains nothing while it claims: what is its own was claimed as the connection was lost.
            other = None if owner == self.worker.name else owner
            if other is not None and self._lives(other, trial._trial_id in silent):
                continue
            deaths = trial.user_attrs.get("deaths", 0) + (other is not None)
            if deaths >= MOST_DEATHS:
                self._fail(trial, f"its process died {deaths} times (out of memory?)")
            else:
                ended = f"its process ended ({owner or 'before it began'})"
                self._queue_again(trial, ended if other == owner else "its claim was lost with the connection", deaths)
            if other is not None:
                forget(self.search.folder, other)

    def _lives(self, owner: str, is_silent: bool) -> bool:
        """Return whether a trial's worker lives: on this machine its lock knows, on another its heartbeat tells."""
        known = is_alive(self.search.folder, owner)
        if known is not None:
            return known
        # Without a heartbeat there are locks, or the study was refused; so no lock file means that it has left.
        return self.search.storage.has_heartbeat and not is_silent

    def _queue_again(self, trial: FrozenTrial, why: str, deaths: int) -> None:
        """Add the trial's successor, then mark it; a kill in between is seen by ``continues``."""
        trials = self.trials()
        successor = next((item for item in trials if item.user_attrs.get("continues") == trial.number), None)
        number = len(trials) if successor is None else successor.number
        if successor is None:
            kept = {"continues": trial.number, "deaths": deaths}
            if "folder" in trial.user_attrs:
                kept["folder"] = trial.user_attrs["folder"]
            self.search.study.add_trial(
                optuna.create_trial(
                    state=TrialState.WAITING,
                    params=trial.params,
                    distributions=trial.distributions,
                    user_attrs=kept,
                    system_attrs=trial.system_attrs,
                    intermediate_values=trial.intermediate_values,
                )
            )
        self._set(trial, "goes_on_as", number)
        self._fail(trial, why)

    def _fail(self, trial: FrozenTrial, why: str) -> None:
        try:
            self._set(trial, "failed_because", why)
            self.search.storage.trials.set_trial_state_values(trial._trial_id, TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            pass  # its worker lives after all, and has just finished it

    def _set(self, trial: FrozenTrial, name: str, value: Any) -> None:
        self.search.storage.trials.set_trial_user_attr(trial._trial_id, name, value)

    # -- when to stop --------------------------------------------------------------------------------------

    def _refuse_failures(self, trials: Sequence[FrozenTrial], is_spent: bool) -> None:
        ended = [trial for trial in ended_trials(trials) if trial.number >= self._first]
        ended.sort(key=lambda trial: trial.datetime_complete or trial.datetime_start)  # type: ignore[arg-type, return-value]
        last = ended[-MOST_FAILURES:]
        if len(last) < MOST_FAILURES or any(trial.state != TrialState.FAIL for trial in last):
            return
        way_on = SPENT if is_spent else "mend the cause; the same command goes on"
        words = f"the last {counted(MOST_FAILURES, 'trial')} all failed, so the study stops:"
        raise UserError("\n".join([words, *_reasons(last), way_on]))


def refuse_no_result(trials: Sequence[FrozenTrial]) -> None:
    """Raise UserError where a study is at its end and none of its trials has finished: why, and what helps."""
    ended = [trial for trial in trials if counts(trial)]
    if any(trial.state == TrialState.COMPLETE for trial in ended):
        return
    failed = [trial for trial in ended if trial.state == TrialState.FAIL]
    words = f"no trial of this study has finished; of {counted(len(ended), 'trial')} {len(failed)} failed:"
    raise UserError("\n".join([words, *_reasons(failed), SPENT]))


def _reasons(failed: Sequence[FrozenTrial]) -> list[str]:
    return list(dict.fromkeys(f"  {trial.user_attrs.get('failed_because')}" for trial in failed))


def ended_trials(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that count and have ended, well or not."""
    return [trial for trial in trials if trial.state in FINISHED and counts(trial)]


def counts(trial: FrozenTrial) -> bool:
    """Return whether a trial counts towards the total: not while it waits, nor where another goes on for it."""
    return trial.state != TrialState.WAITING and "goes_on_as" not in trial.user_attrs


Objective = Callable[[Claim], "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        state: complete, pruned or failed.
        values: of the objectives, where it is complete.
        attributes: user attributes to keep.
    """

    state: TrialState
    values: tuple[float, ...] | None
    attributes: dict[str, Any]
