"""The loop of one worker: claim a trial, train it, record how it ended; stopped by signals with everything saved."""

import errno
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.trial import TrialState

from competition.errors import UserError
from competition.runs import write_atomically
from competition.stop import Stop, Stopped
from competition.tuning.claims import Claim, Claims, Nothing, Objective, Outcome
from competition.tuning.storage import StorageDown, StudyStorage

POLL_SECONDS = 1.0  # between two looks at trials that are under way elsewhere
NOT_THE_TRIALS_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def work(claims: Claims, objective: Objective, stop: Stop, refresh: Callable[[], None] = lambda: None) -> None:
    """Claim trials and train them, one after another; waits while the last ones are under way elsewhere.

    Args:
        claims: the study's trials.
        objective: trains one.
        stop: asked between trials.
        refresh: called after each.
    """
    while not stop():
        claim = claims.claim()
        if claim is Nothing.DONE:
            return
        if isinstance(claim, Nothing):
            time.sleep(POLL_SECONDS)
            continue
        claims.worker.tell({"trial": claim.trial.number}, now=True)
        with claims.search.storage.beating(claim.trial._trial_id):
            outcome = _attempt(claims, claim, objective)
        if outcome is not None:
            with suppress(optuna.exceptions.UpdateFinishedTrialError):  # it was taken for dead, and goes on elsewhere
                record(claims.search.storage, claim, outcome)
        claims.worker.tell({}, now=True)
        refresh()


def _attempt(claims: Claims, claim: Claim, objective: Objective) -> Outcome | None:
    """Return how a trial ended; None where it goes on later or elsewhere."""
    try:
        return objective(claim)
    except Stopped:
        claims.release(claim)
        return None
    except optuna.exceptions.UpdateFinishedTrialError:
        return None
    except StorageDown:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NOT_THE_TRIALS_FAULT:
            with suppress(OSError):  # the journal may lie on the same full disk; then its death is seen later
                claims.release(claim)
            raise
        return _failed(claims.search.folder / claim.folder, error)


def _failed(folder: Path, error: Exception) -> Outcome:
    reason = (str(error).splitlines() or [""])[0]
    if not isinstance(error, UserError):
        reason = f"{type(error).__name__}: {reason}".rstrip(": ")
        write_atomically(folder / "error.txt", "".join(traceback.format_exception(error)))
    remove_state(folder)
    return Outcome(TrialState.FAIL, None, {"failed_because": reason})


def record(storage: StudyStorage, claim: Claim, outcome: Outcome) -> None:
    """Tell the storage how a trial ended."""
    for name, value in outcome.attributes.items():
        storage.patiently(lambda name=name, value=value: claim.trial.set_user_attr(name, value))  # type: ignore[misc]
    study = claim.trial.study
    storage.patiently(lambda: study.tell(claim.trial, outcome.values, outcome.state, skip_if_finished=True))


def remove_state(folder: Path) -> None:
    """Remove what a trial that will not go on has kept to go on from."""
    for path in folder.glob("fold_*/state.pt"):
        path.unlink()
