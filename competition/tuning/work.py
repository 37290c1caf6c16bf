"""The loop of one worker: claim a trial, train it, record how it ended; stopped by signals with everything saved."""

import errno
import math
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import optuna
from optuna.trial import TrialState

from competition.errors import UserError
from competition.runs import write_atomically
from competition.state import TimeUp
from competition.tuning.claims import Claim, Claims, Nothing, Objective, Outcome
from competition.tuning.storage import StorageDown, StudyStorage

POLL_SECONDS = 1.0  # between two looks at trials that are under way elsewhere
NOT_THE_TRIALS_FAULT = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


class Stop:
    """Whether to save and stop: for a signal, the time limit, or the death of the process that started this one.

    Args:
        deadline: `time.perf_counter` value.
        parent: process that must live, or None.
    """

    def __init__(self, deadline: float = math.inf, parent: int | None = None) -> None:
        self.deadline, self._parent, self.is_signalled = deadline, parent, False

    @property
    def is_time_up(self) -> bool:
        """Whether the time limit has passed."""
        return time.perf_counter() > self.deadline

    def __call__(self) -> bool:
        """Return whether to stop."""
        return self.is_signalled or self.is_time_up or (self._parent is not None and os.getppid() != self._parent)

    def wish(self, number: int, frame: FrameType | None) -> None:
        """Take a signal as a wish to stop: a signal handler."""
        self.is_signalled = True

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the first interrupt or termination signal as a wish; a second one acts at once."""
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) for number in numbers}

        def first_wish(number: int, frame: FrameType | None) -> None:
            self.wish(number, frame)
            for number, handler in before.items():
                signal.signal(number, handler)

        for number in numbers:
            signal.signal(number, first_wish)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


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
    except TimeUp:
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
