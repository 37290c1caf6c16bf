"""The contract that every generative model keeps; the loop, the sheets and the export know nothing else."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from competition.generative.design import Design
from competition.precision import Precision


@dataclass(frozen=True)
class Batch:
    """One training step's pictures and all it may draw on.

    Attributes:
        images: (B, C, S, S) float32 in [-1, 1].
        labels: (B,) class numbers.
        noise: seeded by (seed, step) alone, so a restart draws the same.
        progress: (), share of the training that is done, from 0 to 1.
        minimize: takes the name of a parameter group and its loss, and takes one optimisation step.
    """

    images: Tensor
    labels: Tensor
    noise: torch.Generator
    progress: Tensor
    minimize: Callable[[str, Tensor], None]

    def normal(self, *shape: int) -> Tensor:
        """Return standard normal noise on the images' device."""
        return torch.randn(shape, generator=self.noise, device=self.images.device)

    def uniform(self, *shape: int) -> Tensor:
        """Return uniform noise in [0, 1) on the images' device."""
        return torch.rand(shape, generator=self.noise, device=self.images.device)


class GenerativeModel(nn.Module):
    """A model that turns latents into pictures.

    Labels are class numbers (B,), or weights of the classes (B, K) where a latent is a mixture; a model without classes
    ignores them.

    Attributes:
        design: what it was built from.
        latent_shape: shape of one latent.
        has_encoder: whether `encode` exists.
        adversaries: child modules that only criticise; they have optimisers of their own and no moving average.
        edges: beginnings of the names of the weights that Muon leaves alone: a network's first and last layers.
        criterion: what `realism` measures, in words.
        precision: how a network runs that makes a picture in many passes; one pass is float32, which costs little.
    """

    has_encoder: bool = False
    adversaries: tuple[str, ...] = ()
    edges: tuple[str, ...] = ()
    criterion: str = ""
    latent_shape: tuple[int, ...] = ()

    def __init__(self, design: Design) -> None:
        super().__init__()
        self.design = design
        self.precision = Precision()

    def place(self, precision: Precision, device: torch.device) -> None:
        """Move to a device, and run in a number format and a memory layout from now on."""
        self.precision = precision
        precision.place(self, device)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return the parameters by the name of their optimiser: ``model`` and each adversary."""
        groups: dict[str, list[nn.Parameter]] = {"model": [], **{name: [] for name in self.adversaries}}
        for name, parameter in self.named_parameters():
            top = name.partition(".")[0]
            groups[top if top in self.adversaries else "model"].append(parameter)
        return groups

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        """Take one training step; returns the losses by name, without gradient."""
        raise NotImplementedError

    def decode(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return pictures. (B, *latent_shape), labels -> (B, C, S, S), about in [-1, 1]."""
        raise NotImplementedError

    def encode(self, images: Tensor) -> Tensor:
        """Return latents. (B, C, S, S) -> (B, *latent_shape)."""
        raise NotImplementedError(f"{self.design.model} has no encoder")

    def to_latents(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Turn standard normal noise into latents of the model's own distribution. (B, *latent_shape), same."""
        return noise

    def settle(self, latents: Tensor, labels: Tensor) -> None:
        """Estimate what sampling needs beside the weights, from encoded real pictures or, without an encoder, noise."""

    def realism(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return how real the decoded pictures look to the model itself: (B,), higher is better."""
        raise NotImplementedError

    def class_weights(self, labels: Tensor) -> Tensor:
        """Return (B, K) weights of the classes: one-hot for class numbers, mixtures as they are; K is 0 without any."""
        if not self.design.classes:
            return torch.zeros(len(labels), 0, device=labels.device)
        if labels.is_floating_point():
            return labels
        return nn.functional.one_hot(labels, self.design.classes).float()


class ClassEmbedding(nn.Module):
    """A learnt vector per class; mixtures of classes get mixtures of vectors. (B, K) -> (B, size)."""

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, size))

    def forward(self, weights: Tensor) -> Tensor:
        return weights @ self.weight


def detached(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return losses that hold on to no graph."""
    return {name: loss.detach().float() for name, loss in losses.items()}
