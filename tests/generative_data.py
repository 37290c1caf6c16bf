"""Shared by the tests of the generative half: tiny pictures, tiny models, and a trained run of each."""

from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import torch

from competition.generative.checkpoint import Generator
from competition.generative.design import Design
from competition.generative.fit import fit
from competition.generative.model import GenerativeModel
from competition.generative.run import Run, open_run
from competition.generative.settings import GenerateSettings
from competition.precision import Precision

SIZE = 8
CLASSES = ("bird", "horse", "ship")
SMALL = {
    "autoencoder": {"width": 2, "latent": 3, "latent_width": 2, "mirror": "none"},
    "acai": {"width": 2, "latent": 3, "latent_width": 2},
    "vae": {"width": 2, "latent": 3, "latent_width": 2, "kl_weight": 0.01},
    "dcgan": {"width": 4, "latent": 5},
    "flow": {"width": 4, "sampling_steps": 2, "patch": 1},
}


def write_pictures(folder: Path, per_class: int = 8, size: int = SIZE, classes: tuple[str, ...] = CLASSES) -> Path:
    """Write noise with a bright square in another channel for each class."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(classes):
        for number in range(per_class):
            picture = rng.integers(0, 120, (size, size, 3), dtype=np.uint8)
            picture[2:-2, 2:-2, channel % 3] = rng.integers(180, 255)
            path = folder / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), picture)
    return folder


def settings_for(model: str, data: Path, **changes: object) -> GenerateSettings:
    """Settings of a training that takes a second."""
    values = {
        "model": model,
        "data": data,
        "cache_dir": data.parent / "cache",
        "image_size": SIZE,
        "steps": 6,
        "batch_size": 8,
        "precision": "fp32",
        **SMALL[model],
        **changes,
    }
    return GenerateSettings(**values)


def design_for(model: str, classes: tuple[str, ...] = CLASSES, image_size: int = SIZE, **changes: object) -> Design:
    """A small design of a model."""
    return Design(
        model=model,
        image_size=image_size,
        class_names=classes,
        is_conditional=len(classes) > 1,
        **{**SMALL[model], **changes},  # type: ignore[arg-type]
    )


def begin(settings: GenerateSettings) -> Run:
    """Open a run in fp32 and one layout, without the probe's seconds: what it picks depends on the machine."""
    with patch("competition.generative.run.probe_precision", return_value=(Precision(), {})):
        return open_run(settings)


def trained(model: str, folder: Path, per_class: int = 8, **changes: object) -> Path:
    """Train a tiny model and return its run folder."""
    data = write_pictures(folder / "data", per_class)
    run = begin(settings_for(model, data, **{"run": folder / "run", "steps": 2, **changes}))
    fit(run)
    return run.folder


class Painter(GenerativeModel):
    """Pictures of one colour that tells what they were made from: red the class, green and blue a latent of two."""

    criterion = "how little green there is"

    def __init__(self) -> None:
        super().__init__(design_for("dcgan"))
        self.latent_shape = (2,)
        self.weight = torch.nn.Parameter(torch.zeros(1))  # where the model is

    def decode(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        classes = self.class_weights(labels) @ torch.arange(len(CLASSES), dtype=torch.float32)
        colours = torch.stack([(classes + 1) / 10, latents[:, 0] / 5, latents[:, 1] / 5], dim=1)
        return colours[:, :, None, None].expand(-1, -1, SIZE, SIZE)

    def realism(self, latents: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return -latents[:, 0].square()

    def colour(self, latent: torch.Tensor, label: float) -> list[int]:
        """Red, green and blue of the picture of one latent, 0 to 255."""
        return [round((value + 1) * 127.5) for value in ((label + 1) / 10, *(latent.double() / 5).tolist())]

    @property
    def described(self) -> Generator:
        """What a checkpoint of it would say."""
        return Generator(self.design, 1, "squash", "data", self.precision, sha256="painted")


def colour_of(path: Path) -> list[int]:
    """Red, green and blue of a picture of one colour."""
    (colour,) = {tuple(pixel) for pixel in cv2.imread(str(path)).reshape(-1, 3).tolist()}
    return list(colour[::-1])
