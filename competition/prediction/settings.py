"""Every setting of `predict.py`. Read by ``--help``, so nothing heavy is imported here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from competition.config import MACHINE, OUTPUT, TRAINING, RunDataSettings
from competition.settings import setting


@dataclass(frozen=True)
class PredictSettings(RunDataSettings):
    """Everything `predict.py` can be told."""

    out: Path | None = setting(None, OUTPUT, "submission to write; auto: submissions/ and the runs' names")
    views: Literal["own", "auto", "1", "2", "3", "4", "5", "6", "7", "8"] = setting(
        "own",
        TRAINING,
        "test-time views of each image: those of each run's own score, a number, or auto: chosen on held-out images",
    )
    ensemble: Literal["auto", "best", "mean", "geometric", "rank", "weighted", "greedy", "stacked"] = setting(
        "auto", TRAINING, "how the runs are joined; auto: the simplest way that nothing beats out of fold"
    )
    decide: Literal["argmax", "auto", "prior", "weights"] = setting(
        "argmax", TRAINING, "probabilities to classes; auto: whatever raises macro F1 out of fold beyond noise"
    )
    allow_partial: bool = setting(False, OUTPUT, "use the folds that are finished although others are not")
    batch_size: int = setting(256, MACHINE, "images per forward pass", low=1)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the network runs")

    def contradictions(self) -> Iterator[str]:
        """Yield settings that cannot stand together."""
        if self.out is not None and self.out.suffix != ".csv":
            yield f"--out {self.out}: the submission is a CSV with a .json beside it; name a file that ends in .csv"

    @property
    def view_count(self) -> int | None:
        """The number of views, where one is given."""
        return int(self.views) if self.views.isdigit() else None
