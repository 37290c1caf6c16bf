"""Every setting of ``generate measure``. Read by ``--help``, so nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from competition.config import DATA, MACHINE, NETWORK, OUTPUT, TRAINING, DecodeSettings
from competition.settings import Settings, setting

DEFAULT_FEATURES = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class ComparedSettings(Settings):
    """What is compared with what, and how large."""

    against: Path | None = setting(
        None, DATA, "real images: a folder, a zip, or a run, whose held-out images are meant; auto: those of RUN"
    )
    trained_on: Path | None = setting(
        None,
        DATA,
        "images whose copies are looked for: a folder or zip, without its validation split, or a run, what it learned "
        "from; auto: the training images of RUN",
    )
    data: Path | None = setting(None, DATA, "where the images of a run are now; auto: where they were")
    per_class: int | None = setting(
        None,
        DATA,
        "most images of a class, of both sides; auto: all (a run makes as many of each as --against has)",
        low=1,
    )
    most: int = setting(10_000, DATA, "most images of a side; the larger side is cut to the smaller", low=1)
    neighbours: int = setting(10_000, DATA, "most training images searched for the nearest; 0: do not search", low=0)
    image_size: int | None = setting(
        None, DATA, "side at which both are compared; auto: the smaller of their own", unit="px", low=8, high=1024
    )
    resize: Literal["squash", "crop", "letterbox"] | None = setting(
        None, DATA, "how a picture that is not square becomes one; auto: as in the run's training, else squash"
    )


@dataclass(frozen=True)
class MeasureSettings(DecodeSettings, ComparedSettings):  # in this order --help names what is compared first
    """Everything ``generate measure`` can be told beside what is measured."""

    features: str = setting(
        DEFAULT_FEATURES,
        NETWORK,
        "what looks at the images: tf_efficientnet_lite0 (or lite1, lite2), inception, inception=FILE, or a run of "
        "train.py",
    )
    perceptual: bool = setting(True, NETWORK, "perceptual distances too, where stlpips-pytorch is installed")
    seed: int = setting(0, TRAINING, "seed of the pictures a run makes and of every choice among images", low=0)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the networks run")
    out: Path | None = setting(None, OUTPUT, "folder to write; auto: RUN/measured, or FOLDER-measured beside it")
