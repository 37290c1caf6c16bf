"""What a person sees while a study runs: a live table, or one line per finished trial without a terminal."""

from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState
from rich.console import Group
from rich.table import Table

from competition.errors import clock, counted
from competition.progress import LiveTable
from competition.tuning.claims import ended_trials
from competition.tuning.owners import statuses


class Board(LiveTable):
    """Best so far, trials under way, what pruning saved, and the time left.

    Used as a context manager around the whole search.

    Args:
        folder: the study's folder, where workers note what they do.
        total: trials wanted.
        workers: processes at work.
    """

    def __init__(self, folder: Path, total: int, workers: int) -> None:
        self._folder, self._total, self._workers = folder, total, workers
        self._announced: set[int] | None = None
        self._summary = "starting"
        super().__init__(self._table, per_second=2)

    def refresh(self, trials: Sequence[FrozenTrial]) -> None:
        """Take in the trials as they stand; new results become lines where there is no live table."""
        ended = ended_trials(trials)
        is_first = self._announced is None
        announced = self._announced or set()
        news = [trial for trial in ended if trial.number not in announced]
        self._announced = {trial.number for trial in ended}
        self._summary = self._summarize(ended)
        if is_first:
            return  # of a study that goes on, whose earlier trials are no news
        for trial in news:
            self.line(lambda trial=trial: f"{in_words(trial)}; {self._summary}")  # type: ignore[misc]

    def _summarize(self, ended: Sequence[FrozenTrial]) -> str:
        parts = [f"{len(ended)}/{self._total} trials"]
        complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
        if complete:
            best = max(complete, key=lambda trial: trial.values[0])
            parts.append(f"best {best.values[0]:.4f} (trial {best.number})")
        for name, state in (("pruned", TrialState.PRUNED), ("failed", TrialState.FAIL)):
            count = sum(trial.state == state for trial in ended)
            if count:
                parts.append(f"{count} {name}")
        saved = epochs_saved(ended)
        if saved:
            parts.append(f"{counted(saved, 'epoch')} saved")
        left = seconds_left(ended, self._total, self._workers)
        if left is not None:
            parts.append(f"time left {clock(left)}")
        return ", ".join(parts)

    def _table(self) -> Group:
        table = Table("trial", "fold", "epoch", "loss", "macro F1", "images/s")
        for status in statuses(self._folder):
            if "trial" not in status:
                continue
            table.add_row(
                str(status["trial"]),
                f"{status['fold']}/{status['folds']}" if "fold" in status else "",
                f"{status['epoch']:.1f}/{status['epochs']}" if "epoch" in status else "",
                f"{status['loss']:.3f}" if "loss" in status else "",
                f"{status['macro_f1']:.3f}" if "macro_f1" in status else "",
                f"{status['rate']:,.0f}" if "rate" in status else "",
            )
        return Group(table, self._summary)


def in_words(trial: FrozenTrial) -> str:
    """Return how a trial ended in a line."""
    notes = trial.user_attrs
    if trial.state == TrialState.FAIL:
        return f"trial {trial.number}: failed: {notes.get('failed_because', 'no reason known')}"
    reused = f", as trial {notes['reused_from']}" if "reused_from" in notes else ""
    if trial.state == TrialState.PRUNED:
        return f"trial {trial.number}: pruned{reused}, {notes.get('pruned_because', '')}".rstrip(", ")
    second = f", {_in_digits(trial.values[1])}" if len(trial.values) > 1 else ""
    return f"trial {trial.number}: macro F1 {trial.values[0]:.4f}{second}{reused}"


def _in_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def epochs_saved(ended: Sequence[FrozenTrial]) -> int:
    """Return the epochs that pruned and repeated trials did not train."""
    notes = [trial.user_attrs for trial in ended if trial.state != TrialState.FAIL]
    return sum(max(0, note.get("epochs_planned", 0) - note.get("epochs_trained", 0)) for note in notes)


def seconds_left(ended: Sequence[FrozenTrial], total: int, workers: int) -> float | None:
    """Return the expected seconds to the end: the trials left take as long as those so far did on average."""
    seconds = [trial.user_attrs["seconds"] for trial in ended if "seconds" in trial.user_attrs]
    if not seconds or len(ended) >= total:
        return None
    return (total - len(ended)) * sum(seconds) / len(seconds) / workers
