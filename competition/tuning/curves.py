"""Learning curves of a study's trials, from the histories of their folds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from competition.config import TrainSettings
from competition.runs import read_history


@dataclass(frozen=True)
class Curve:
    """The validation loss of a trial per epoch, as the mean of the folds that have it.

    Attributes:
        number: of the trial.
        label: its parameters but for the optimiser.
        epochs: numbers of the epochs.
        losses: one per epoch.
        is_complete: whether the trial finished.
    """

    number: int
    label: str
    epochs: tuple[int, ...]
    losses: tuple[float, ...]
    is_complete: bool


def read_curves(
    folder: Path, trials: Sequence[FrozenTrial], base: TrainSettings, most: int
) -> tuple[dict[str, list[Curve]], int]:
    """Return the curves of trained trials by optimiser, at most so many of each, and how many are left out.

    Finished trials come first, the best of them first, then pruned ones.
    """
    trained = [trial for trial in trials if trial.user_attrs.get("folder") and "reused_from" not in trial.user_attrs]
    ended = [trial for trial in trained if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    curves: dict[str, list[Curve]] = {}
    left_out = 0
    for trial in sorted(ended, key=_rank):
        settings: Mapping[str, str] = trial.user_attrs.get("settings") or {}
        panel = curves.setdefault(settings.get("optimizer", base.optimizer), [])
        if len(panel) >= most:
            left_out += 1
            continue
        losses = mean_losses(folder / trial.user_attrs["folder"])
        if losses:
            is_complete = trial.state == TrialState.COMPLETE
            panel.append(Curve(trial.number, _label(trial), tuple(losses), tuple(losses.values()), is_complete))
    return {optimizer: curves[optimizer] for optimizer in sorted(curves) if curves[optimizer]}, left_out


def mean_losses(folder: Path) -> dict[int, float]:
    """Return epoch -> validation loss, the mean of the folds that have it; a fold's last record of an epoch counts."""
    by_epoch: dict[int, list[float]] = {}
    for path in sorted(folder.glob("fold_*/history.jsonl")):
        records = {item["epoch"]: item["valid_loss"] for item in read_history(path) if "valid_loss" in item}
        for epoch, loss in records.items():
            by_epoch.setdefault(epoch, []).append(loss)
    return {epoch: sum(losses) / len(losses) for epoch, losses in sorted(by_epoch.items())}


def _rank(trial: FrozenTrial) -> tuple[bool, float, int]:
    is_complete = trial.state == TrialState.COMPLETE
    return (not is_complete, -trial.values[0] if is_complete else 0.0, trial.number)


def _label(trial: FrozenTrial) -> str:
    """Return the trial's parameters but for its optimiser, which its panel names."""
    words = {
        name.removeprefix("model_options."): f"{value:.3g}" if isinstance(value, float) else str(value)
        for name, value in trial.params.items()
        if name != "optimizer"
    }
    return ", ".join(f"{name} {value}" for name, value in words.items())
