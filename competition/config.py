"""Settings of the data and the training: type, default, unit, limits and help text.

Command-line flags, YAML keys and attribute names are the same words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from competition.settings import Duration, Settings, setting

DATA, NETWORK, TRAINING, MACHINE, OUTPUT = "data", "network", "training", "machine", "output"


@dataclass(frozen=True)
class SourceSettings(Settings):
    """Where the images are, and what of the tables says it."""

    data: Path | None = setting(
        None, DATA, "folder or zip of the competition; without it, the embedded sample", identity=False
    )
    train_csv: Path | None = setting(
        None, DATA, "CSV of training ids and labels, if not found by looking", identity=False
    )
    val_csv: Path | None = setting(None, DATA, "CSV of validation ids and labels", identity=False)
    test_csv: Path | None = setting(None, DATA, "CSV of test ids", identity=False)
    images: Path | None = setting(None, DATA, "folder that holds the images named in the CSVs", identity=False)
    id_column: str | None = setting(None, DATA, "column of image ids in the CSVs", identity=False)
    label_column: str | None = setting(None, DATA, "column of labels in the CSVs", identity=False)
    group_column: str | None = setting(
        None, DATA, "column whose equal values share a fold; auto: group; none: no column", none="none", identity=False
    )


# What whoever reads a run's data again takes over from it.
DATA_FLAGS = tuple(item.name for item in fields(SourceSettings))


@dataclass(frozen=True)
class DecodeSettings(Settings):
    """How images are read."""

    on_bad: Literal["fail", "skip"] = setting(
        "fail", DATA, "bad images: refuse to start, or leave them out and say so", identity=False
    )
    cache_dir: Path = setting(
        Path("~/.cache/competition"), DATA, "where decoded images are kept for later runs", identity=False
    )
    cache_limit: float = setting(
        16.0, DATA, "largest cache; a larger set is decoded as needed", unit="GB", low=0, high=1_000_000, identity=False
    )


@dataclass(frozen=True)
class DataSettings(DecodeSettings, SourceSettings):  # in this order --help names the source first
    """Where the images are and how they are read.

    None of it is part of a run's identity: a run knows its images by their contents, wherever they lie.
    """

    @property
    def is_strict(self) -> bool:
        """Whether bad images are refused; the sample's damaged file is there to be found, not to stop a first try."""
        return self.on_bad == "fail" and self.data is not None


@dataclass(frozen=True)
class RunDataSettings(DataSettings):
    """Where the images of a run are and how they are read."""

    data: Path | None = setting(None, DATA, "folder or zip of the competition; without it, the data of the run")


@dataclass(frozen=True)
class CheckSettings(DataSettings):
    """Everything ``check`` can be told."""

    folds: int = setting(5, DATA, "folds that every class must fill", low=2, high=100)


@dataclass(frozen=True)
class HostSettings(DataSettings):
    """Everything ``host`` can be told."""

    out: Path | None = setting(None, OUTPUT, "folder to make: public/ to share, private/ to keep")
    test: float = setting(0.3, DATA, "part of the images that becomes the test set", low=0.01, high=0.9)
    public: float = setting(0.3, DATA, "part of the test rows behind the public score", low=0.01, high=0.99)
    image_size: int | None = setting(
        None, DATA, "shrink or stretch all images to squares of this side; auto: each keeps its size", unit="px", low=8
    )
    seed: int | None = setting(
        None, DATA, "who knows it can work out the answers from the names; auto: drawn, kept in private/seed.txt", low=0
    )


@dataclass(frozen=True)
class TrainSettings(DataSettings):
    """Everything `train.py` can be told."""

    image_size: int | None = setting(
        None,
        DATA,
        "side of the square the network sees; auto: the weights' or the images' own",
        unit="px",
        low=8,
        high=1024,
    )
    resize: Literal["squash", "crop", "letterbox"] = setting(
        "squash", DATA, "how a picture that is not square becomes one"
    )
    holdout: bool = setting(False, DATA, "keep a given validation split out of the folds and score it at the end")
    folds: int = setting(5, DATA, "number of folds", low=2, high=100)
    repeats: int = setting(1, DATA, "how many times the images are dealt into folds anew", low=1, high=20)
    fold_file: str | None = setting(
        None, DATA, "a fold table: its name under folds/ or a path; auto: made once from the data"
    )
    train_share: float | None = setting(
        None, DATA, "share of each class's images that a fold trains on, all being scored; auto: 1", low=1e-6, high=1
    )

    model: str = setting("resnet_fast", NETWORK, "any network of timm's, or one of our own")
    model_options: dict[str, Any] = setting(
        {}, NETWORK, "further options of the network: activation=gelu,widths=[48,96,192]"
    )
    dropout: float | None = setting(None, NETWORK, "dropout before the head; auto: the network's own", low=0, high=0.95)
    weights: str | None = setting(
        None, NETWORK, "start from: 'pretrained', a weights file, a folder of them, or a run, each fold from its own"
    )
    freeze: Literal["none", "all", "all-but-last-block"] = setting(
        "none", NETWORK, "layers that keep their starting weights"
    )
    max_parameters: int | None = setting(None, NETWORK, "refuse a larger network, or prune down to this", low=1)
    prune_from: Path | None = setting(
        None, NETWORK, "a finished run whose folds are pruned to --max-parameters, then tuned on"
    )
    prune_method: Literal["structured", "magnitude"] = setting(
        "structured", NETWORK, "remove whole channels, or set the smallest weights to zero"
    )

    epochs: int = setting(22, TRAINING, "passes over the training images of a fold", low=1)
    steps: int | None = setting(None, TRAINING, "optimisation steps, in place of --epochs", low=1)
    batch_size: int | None = setting(
        None,
        TRAINING,
        "images per optimisation step; auto: 256, halved down to 32 while an epoch has fewer than 40 steps",
        low=2,
    )
    learning_rate: float | None = setting(
        None,
        TRAINING,
        "peak learning rate; auto: 0.005 for Muon (0.001 for CNNs without norm layers), 0.1 for SGD, else 0.001",
        low=1e-9,
        high=100,
    )
    optimizer: str = setting(
        "nmuon",
        TRAINING,
        "any of timm's: sgd (with Nesterov's momentum), momentum (SGD with the classical one), adam, adamw, rmsprop, "
        "muon, nmuon (Muon with Nesterov), lion, ...",
    )
    momentum: float | None = setting(
        None, TRAINING, "for optimisers that have one; 0: plain SGD; auto: 0.95 for Muon, else 0.9", low=0, high=0.9999
    )
    weight_decay: float | None = setting(
        None,
        TRAINING,
        "weight decay, not applied to biases and norms; auto: 60 / steps of an epoch, 10 at most, for Muon from fresh "
        "weights, 5e-4 for SGD, else 0.05",
        low=0,
        high=10,
    )
    layer_decay: float = setting(
        1.0, TRAINING, "factor on the learning rate per layer away from the head", low=0.05, high=1
    )
    clip_norm: float | None = setting(None, TRAINING, "largest gradient norm; auto: none", low=1e-6)
    grow_from: float | None = setting(
        None,
        TRAINING,
        "side of the pictures in the first epochs, as a share of --image-size; they grow in three stages; "
        "auto: 0.5 from 48 px on where the network takes any size and has no --weights, else 1",
        low=0.25,
        high=1,
    )
    schedule: Literal["cosine", "onecycle", "cyclic", "step", "plateau", "constant"] = setting(
        "cosine", TRAINING, "course of the learning rate"
    )
    milestones: tuple[int, ...] | None = setting(
        None, TRAINING, "epochs after which --schedule step takes a tenth of the rate: 20,35; auto: at 1/2 and 3/4"
    )
    warmup: float = setting(0.15, TRAINING, "share of the training in which the learning rate rises", low=0, high=0.9)
    augment: str = setting(
        "light", TRAINING, "none, light, medium, heavy, a seed's own policy, or an albumentations YAML file"
    )
    copies: int = setting(
        0, TRAINING, "augmented copies appended to the training set, each fixed for all epochs", low=0, high=100
    )
    mix: Literal["none", "mixup", "cutmix", "both"] = setting(
        "cutmix", TRAINING, "mix pairs of images and their labels"
    )
    mix_probability: float = setting(0.5, TRAINING, "share of the batches that are mixed", low=0, high=1)
    mixup_alpha: float = setting(0.2, TRAINING, "mixup's Beta parameter", low=1e-3)
    cutmix_alpha: float = setting(1.0, TRAINING, "CutMix's Beta parameter", low=1e-3)
    label_smoothing: float = setting(0.1, TRAINING, "label smoothing", low=0, high=0.9)
    loss: Literal["ce", "focal", "balanced"] = setting(
        "ce", TRAINING, "cross entropy, focal loss, or weighted by rarity"
    )
    ema: float | None = setting(
        None, TRAINING, "decay per step of the moving average of weights; auto: none", low=0, high=0.99999
    )
    views: int = setting(
        6,
        TRAINING,
        "views averaged for a held-out image: 1 plain, 2 mirrored, to 6 shifted, to 8 blurred",
        low=1,
        high=8,
    )
    validate_every: int = setting(
        5, TRAINING, "epochs between validations; the last epoch always is", unit="epochs", low=1
    )
    stop_after: int | None = setting(
        None,
        TRAINING,
        "stop after this many validations without gain and keep the best (the score then says so)",
        low=1,
    )
    pseudo_labels: Path | None = setting(
        None,
        TRAINING,
        "a finished run on the same folds whose fold k labels test images for fold k here",
        identity=False,  # its weights are
    )
    quota: int | None = setting(
        None, TRAINING, "most pseudo-labelled images of a class; auto: an even share of the test images", low=1
    )
    seed: int = setting(0, TRAINING, "seed of everything random", low=0)

    precision: Literal["auto", "fp32", "bf16", "fp16"] = setting(
        "auto", MACHINE, "number format; auto times a few and takes the fastest"
    )
    compile: bool = setting(False, MACHINE, "torch.compile the network (pays on a GPU)")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the network runs")
    workers: int | None = setting(
        None, MACHINE, "processes that augment the pictures; auto: none on a CPU", low=0, high=256, identity=False
    )
    time_limit: Duration | None = setting(
        None,
        MACHINE,
        "stop by then with everything saved; the same command goes on: 90s, 15m, 2h",
        low=1,
        identity=False,
    )

    run: Path | None = setting(
        None, OUTPUT, "run folder; auto: runs/ and a name made from the settings", identity=False
    )
    only_folds: tuple[int, ...] | None = setting(None, OUTPUT, "train only these folds now: 0,2", identity=False)
    tensorboard: bool = setting(False, OUTPUT, "write TensorBoard files beside the history", identity=False)

    def contradictions(self) -> Iterator[str]:
        """Yield settings that cannot stand together."""
        outside = [fold for fold in self.only_folds or () if fold not in self.fold_numbers]
        if outside:
            yield f"--only-folds {outside[0]}: with --folds {self.folds} the folds are 0 to {self.fold_numbers[-1]}"
        if self.only_folds == ():
            yield "--only-folds: name at least one fold"
        if self.prune_from and self.max_parameters is None:
            yield "--prune-from needs --max-parameters: the size to prune to"
        if self.prune_from and self.weights:
            yield "--prune-from starts from that run's own weights: leave --weights out"
        if self.schedule == "plateau" and self.validate_every != 1:
            yield "--schedule plateau follows the macro F1 of the validations: add --validate-every 1"
        if self.milestones is not None and (self.schedule != "step" or self.steps is not None):
            yield "--milestones are epochs of --schedule step: add that, and leave --steps out"
        elif any(later <= earlier for earlier, later in pairwise((0, *(self.milestones or ()), self.epochs))):
            given = ",".join(map(str, self.milestones or ()))
            yield f"--milestones {given}: must rise from 1 to below --epochs {self.epochs}"
        if self.quota is not None and self.pseudo_labels is None:
            yield "--quota is about --pseudo-labels: name the run that labels the test images"
        if self.freeze != "none" and not self.weights:
            yield f"--freeze {self.freeze} without --weights would keep random layers: name the weights"

    @property
    def fold_numbers(self) -> range:
        """Every fold, counted over the repeats."""
        return range(self.folds * self.repeats)

    @property
    def drops(self) -> tuple[float, ...]:
        """Shares of the training after which ``--schedule step`` takes a tenth of the learning rate."""
        return tuple(epoch / self.epochs for epoch in self.milestones or ()) or (0.5, 0.75)
