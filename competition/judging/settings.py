"""Every setting of ``generate judge``. Read by ``--help``, so nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from competition.config import DATA, MACHINE, NETWORK, OUTPUT, TRAINING, DataSettings, TrainSettings
from competition.settings import Duration, setting


@dataclass(frozen=True)
class JudgeSettings(DataSettings):
    """Everything ``generate judge`` can be told beside the generated images."""

    data: Path | None = setting(
        None,
        DATA,
        "folder or zip of real images; without it, what RUN was trained on, for a FOLDER the embedded sample",
    )
    per_class: int | None = setting(
        None, DATA, "most generated images of a class; auto: all (a run makes as many as there are real ones)", low=1
    )
    image_size: int | None = setting(
        None, DATA, "side of the square the classifiers see; auto: the real images' own", unit="px", low=8, high=1024
    )
    resize: Literal["squash", "crop", "letterbox"] | None = setting(
        None, DATA, "how a picture that is not square becomes one; auto: as in the run's training, else squash"
    )
    folds: int = setting(3, DATA, "number of folds of the real images", low=2, high=100)
    fold_file: str | None = setting(
        None, DATA, "a fold table of train.py: its name under folds/ or a path; auto: made once from the data"
    )
    model: str = setting("resnet_fast", NETWORK, "classifier: any network of timm's, or one of our own")
    epochs: int = setting(10, TRAINING, "passes over the real images; all trainings take as many steps as that", low=1)
    seed: int = setting(0, TRAINING, "seed of everything random", low=0)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", MACHINE, "number format; auto times a few and takes the fastest"
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the networks run")
    time_limit: Duration | None = setting(
        None, MACHINE, "stop by then with everything saved; the same command goes on: 90s, 15m, 2h", low=1
    )
    out: Path | None = setting(None, OUTPUT, "folder to write; auto: RUN/judged, or FOLDER-judged beside it")

    def training(self) -> TrainSettings:
        """Return the settings of `train.py` that the classifiers are trained with."""
        own = {**self.plain(), "resize": self.resize or "squash"}
        left_out = ("per_class", "time_limit", "out")
        return TrainSettings(**{name: value for name, value in own.items() if name not in left_out})
