"""Pictures from a model, each from a seed of its own: the same picture whatever else is asked for with it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competition.generative.model import GenerativeModel
from competition.generative.pictures import to_pixels

# Pictures are always decoded so many at a time, the last batch filled up: the kernels of a matrix product may round
# otherwise for another batch.
SAMPLE_BATCH = 64


def counted_noise(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Return standard normal noise, each row from its own 64-bit seed. -> (B, *shape) on the CPU."""
    rows = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows)


def device_of(model: GenerativeModel) -> torch.device:
    """Return where a model's weights are."""
    return next(model.parameters()).device


@torch.no_grad()
def sample_latents(model: GenerativeModel, seeds: Sequence[int], labels: Tensor) -> Tensor:
    """Return latents of the model's own distribution. B seeds, labels (B,) or (B, K) -> (B, *latent_shape)."""
    noise = counted_noise(seeds, model.latent_shape).to(device_of(model))
    return model.to_latents(noise, labels.to(noise.device))


@torch.no_grad()
def decode_pixels(model: GenerativeModel, latents: Tensor, labels: Tensor) -> NDArray[np.uint8]:
    """Decode any number of latents in batches of one size. -> (B, S, S, 3) uint8."""
    labels = labels.to(latents.device)
    pixels = []
    for begin in range(0, len(latents), SAMPLE_BATCH):
        part, classes = latents[begin : begin + SAMPLE_BATCH], labels[begin : begin + SAMPLE_BATCH]
        count = len(part)
        if count < SAMPLE_BATCH:
            filling = torch.zeros(SAMPLE_BATCH, dtype=torch.long, device=part.device)
            filling[:count] = torch.arange(count, device=part.device)
            part, classes = part[filling], classes[filling]
        pixels.append(to_pixels(model.decode(part, classes))[:count])
    return np.concatenate(pixels)


def sample(model: GenerativeModel, seeds: Sequence[int], labels: Tensor) -> NDArray[np.uint8]:
    """Return one picture per seed. B seeds, labels (B,) class numbers or (B, K) weights -> (B, S, S, 3) uint8."""
    parts = []
    for begin in range(0, len(seeds), SAMPLE_BATCH):
        end = begin + SAMPLE_BATCH
        latents = sample_latents(model, seeds[begin:end], labels[begin:end])
        parts.append(decode_pixels(model, latents, labels[begin:end]))
    return np.concatenate(parts)
