"""Every setting of ``generate train``: type, default, unit, limits and help text, and what each model takes by itself.

Read by ``--help``, so nothing heavy is imported here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from competition.config import DATA, MACHINE, NETWORK, OUTPUT, TRAINING, DataSettings
from competition.settings import Duration, Settings, flag, setting

SEED_LIMIT = 1_000_052  # parameters of the pruned DCGAN that this half measures itself against
AUTOENCODERS = ("autoencoder", "acai", "vae")


@dataclass(frozen=True)
class Recipe:
    """What a model takes where the settings say nothing."""

    learning_rate: float
    schedule: str
    betas: tuple[float, float]  # of Adam or NAdam
    ema: float | None
    latent: int  # channels of a latent map, or length of a latent vector
    batch_size: int = 64
    is_muon: bool = True  # inside the network; at its edges NAdam


RECIPES = {
    "autoencoder": Recipe(2e-3, "cosine", (0.9, 0.99), None, 16),
    "acai": Recipe(2e-3, "cosine", (0.9, 0.99), None, 16),
    "vae": Recipe(2e-3, "cosine", (0.9, 0.99), None, 16),
    # Radford et al. 2015 (arXiv 1511.06434), section 3.
    "dcgan": Recipe(2e-4, "step", (0.5, 0.999), None, 100, is_muon=False),
    "flow": Recipe(5e-3, "cosine", (0.9, 0.99), 0.999, 0, batch_size=32),
}

# What only some models have; told to another, it would be silently without effect.
OWNED = {
    (*AUTOENCODERS, "dcgan"): ("latent",),
    AUTOENCODERS: ("latent_width", "dense_latent", "final_sigmoid", "mirror"),
    ("acai",): ("critic_mix", "critic_weight"),
    ("vae",): ("kl_weight", "kl_schedule"),
    ("dcgan",): ("spectral_norm", "gan_loss", "diffaug"),
    ("flow",): ("patch", "sampling_steps", "solver", "guidance"),
}


def unowned(model: str, given: Iterable[str]) -> Iterator[str]:
    """Yield a message for each of the settings that a model has no use for."""
    for owners, names in OWNED.items():
        for name in given if model not in owners else ():
            if name in names:
                yield f"{flag(name)} is for {', '.join(owners)}; --model {model} has no use for it"


@dataclass(frozen=True)
class GenerateSettings(DataSettings):
    """Everything ``generate train`` can be told."""

    classes: str = setting("all", DATA, "classes to learn, separated by commas, or all")
    image_size: int | None = setting(
        None, DATA, "side of the pictures; auto: 32 or 64, whichever is nearer to the images' own", unit="px", low=8
    )
    resize: Literal["squash", "crop", "letterbox"] = setting(
        "squash", DATA, "how a picture that is not square becomes one"
    )
    with_val: bool = setting(False, DATA, "learn from a given validation split too")
    hold_out: float = setting(
        0.0,
        DATA,
        "share of the images kept out of the training, the same ones in every run and duplicates and groups whole; "
        "listed in held_out.csv",
        low=0,
        high=0.9,
    )

    model: Literal["autoencoder", "acai", "vae", "dcgan", "flow"] = setting("flow", NETWORK, "kind of model")
    unconditional: bool = setting(False, NETWORK, "do not tell the model the classes; its pictures have no label then")
    max_parameters: int = setting(SEED_LIMIT, NETWORK, "most parameters of all networks together", low=1)
    width: int | None = setting(
        None, NETWORK, "channels of the first block; auto: as many as --max-parameters allows", low=1, high=1024
    )
    prune: Literal["none", "magnitude"] = setting(
        "none", NETWORK, "magnitude: begin with a --width past --max-parameters and set the smallest weights to zero"
    )
    latent: int | None = setting(
        None,
        NETWORK,
        "channels of the latent map (auto: 16), or length of dcgan's latent vector (auto: 100)",
        low=1,
        high=4096,
    )
    latent_width: int | None = setting(
        None, NETWORK, "side of the autoencoders' latent map; auto: 4, or what --mirror leaves", unit="px", low=1
    )
    dense_latent: bool = setting(False, NETWORK, "autoencoders: dense layers around a latent vector")
    final_sigmoid: bool = setting(False, NETWORK, "autoencoders: a sigmoid after the decoder (vae always has one)")
    mirror: Literal["none", "imp_cnn", "plain_cnn", "dilated_cnn"] | None = setting(
        None,
        NETWORK,
        "classifier whose convolutions the encoder takes, without its pools; auto: imp_cnn for autoencoder",
    )
    spectral_norm: bool = setting(False, NETWORK, "dcgan: spectral norm in place of batch norm in the discriminator")
    patch: int | None = setting(
        None, NETWORK, "flow: pixels on a side that become one place of the network; auto: --image-size / 32", low=1
    )
    sampling_steps: int = setting(8, NETWORK, "flow: steps from noise to picture", low=1, high=1000)
    solver: Literal["heun", "euler"] = setting("heun", NETWORK, "flow: rule of a sampling step")
    guidance: float = setting(2.0, NETWORK, "flow: weight of the class while sampling; 1: as learnt", low=0, high=20)

    epochs: int = setting(20, TRAINING, "passes over the images", low=1)
    steps: int | None = setting(None, TRAINING, "optimisation steps, in place of --epochs", low=1)
    batch_size: int | None = setting(None, TRAINING, "images per step; auto: 64, for flow 32", low=2)
    learning_rate: float | None = setting(
        None,
        TRAINING,
        "peak learning rate of Muon, for dcgan of Adam; auto: 2e-4 dcgan, 5e-3 flow, else 2e-3",
        low=1e-9,
        high=1,
    )
    schedule: Literal["constant", "step", "cosine"] | None = setting(
        None, TRAINING, "course of the learning rate; auto: cosine, for dcgan step (halved at 1/2, 3/4)"
    )
    ema: float | None = setting(
        None, TRAINING, "decay per step of the averaged weights that are kept; auto: 0.999 for flow", low=0, none=0.0
    )
    flips: bool = setting(True, TRAINING, "mirror half of the pictures")
    critic_mix: float = setting(0.2, TRAINING, "acai: share of the real picture the critic sees (gamma)", low=0, high=1)
    critic_weight: float = setting(0.5, TRAINING, "acai: weight of the critic (lambda)", low=0, high=100)
    kl_weight: float = setting(1.0, TRAINING, "vae: weight of the divergence from the prior", low=0, high=1000)
    kl_schedule: Literal["constant", "linear", "cyclic"] = setting(
        "constant", TRAINING, "vae: course of that weight: rising in the first quarter, or in four cycles"
    )
    gan_loss: Literal["bce", "hinge"] = setting("bce", TRAINING, "dcgan: loss")
    diffaug: bool = setting(False, TRAINING, "dcgan: show the discriminator augmented pictures, real and generated")
    sheet_every: int | None = setting(
        None, TRAINING, "steps between two sample sheets and checkpoints; auto: a tenth of all", low=1, identity=False
    )
    seed: int = setting(0, TRAINING, "seed of everything random", low=0)

    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", MACHINE, "number format; auto times a few and takes the fastest"
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the network runs")
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

    def contradictions(self) -> Iterator[str]:
        """Yield settings that cannot stand together."""
        is_mirrored = self.model in AUTOENCODERS and self.mirrored != "none"
        if self.prune != "none" and self.width is None and not is_mirrored:
            yield "--prune needs --width: the size to begin with"
        given = [item.name for item in fields(self) if getattr(self, item.name) != item.default]
        for name in ("width", "latent_width") if is_mirrored else ():
            if name in given:
                yield f"{flag(name)} is given by --mirror {self.mirrored}: leave it out, or take --mirror none"
        yield from unowned(self.model, given)
        if self.model == "flow" and self.unconditional and "guidance" in given:
            yield "--guidance weighs the class, which --unconditional does not tell the model: leave one of them out"
        if self.ema is not None and self.ema >= 1:
            yield "--ema 1 would never follow the weights: take a value below 1, such as 0.999"

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are learned from."""
        return ("train", "val") if self.with_val else ("train",)

    @property
    def recipe(self) -> Recipe:
        """What the model takes where these settings say nothing."""
        return RECIPES[self.model]

    @property
    def mirrored(self) -> str:
        """The classifier whose convolutions an autoencoder takes, or ``none``."""
        return self.mirror or ("imp_cnn" if self.model == AUTOENCODERS[0] else "none")

    @property
    def images_per_step(self) -> int:
        """Images per step."""
        return self.batch_size or self.recipe.batch_size

    @property
    def ema_decay(self) -> float | None:
        """Decay of the averaged weights, or None where there are none."""
        return self.recipe.ema if self.ema is None else self.ema or None


@dataclass(frozen=True)
class InterpolateSettings(Settings):
    """Everything ``generate interpolate`` can be told beside the run and its two ends."""

    alpha: float = setting(0.4, NETWORK, "share of --from in the picture that is written by itself", low=0, high=1)
    method: Literal["auto", "lerp", "slerp"] = setting(
        "auto", NETWORK, "straight line, or arc on the sphere; auto: slerp for latents that are noise"
    )
    search: int = setting(1, NETWORK, "pairs tried; the best by the model's own criterion come first", low=1)
    frames: int = setting(9, NETWORK, "pictures of a path, ends included", low=2, high=64)
    sampling_steps: int | None = setting(None, NETWORK, "flow: steps from noise to picture; auto: as trained", low=1)
    seed: int = setting(0, TRAINING, "seed of the pairs", low=0)
    data: Path | None = setting(None, DATA, "where the run's images are now; auto: where they were")
    cache_dir: Path | None = setting(None, DATA, "where decoded images are kept; auto: as trained")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the network runs")
    out: Path | None = setting(None, OUTPUT, "PNG to write; auto: in the run folder")

    def contradictions(self) -> Iterator[str]:
        """Yield what is wrong with the file to write."""
        if self.out is not None and self.out.suffix.lower() != ".png":
            yield f"--out {self.out}: the pictures are PNG; name a file that ends in .png"


@dataclass(frozen=True)
class ExportSettings(Settings):
    """Everything ``generate export`` can be told beside the run."""

    per_class: int = setting(100, DATA, "pictures of each class", low=1)
    classes: str = setting("all", DATA, "classes to make, separated by commas, or all")
    frames: int = setting(
        1, NETWORK, "pictures of a walk between two samples; a walk is one group, which no fold divides", low=1
    )
    sampling_steps: int | None = setting(None, NETWORK, "flow: steps from noise to picture; auto: as trained", low=1)
    solver: Literal["heun", "euler"] | None = setting(None, NETWORK, "flow: rule of a step; auto: as trained")
    guidance: float | None = setting(None, NETWORK, "flow: weight of the class; auto: as trained", low=0, high=20)
    seed: int = setting(0, TRAINING, "seed of everything random", low=0)
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the network runs")
    out: Path | None = setting(None, OUTPUT, "folder to write")

    @property
    def design_changes(self) -> dict[str, Any]:
        """The parts of the model's design that these settings replace."""
        named = {"sampling_steps": self.sampling_steps, "solver": self.solver, "guidance": self.guidance}
        return {name: value for name, value in named.items() if value is not None}
