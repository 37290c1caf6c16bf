"""Flow matching: a network learns the velocity from noise to pictures; sampling follows it.

Lipman et al. 2022 (arXiv 2210.02747) with the straight paths of Liu et al. 2022 (arXiv 2209.03003):
x_t = (1 - t) noise + t picture, and the velocity is picture - noise.
"""

import itertools

import torch
from torch import Tensor

from competition.generative.design import Design
from competition.generative.model import Batch, GenerativeModel, detached
from competition.generative.unet import UNet

LABEL_DROPOUT = 0.1  # share of the steps' pictures without their class: what guidance extrapolates from
REALISM_TIMES = (0.3, 0.5, 0.7)
# Of the normal distribution of the logit of the times to learn from. Esser et al. 2024 (arXiv 2403.03206) take 0 and 1
# for large pictures, Karras et al. 2022 (arXiv 2206.00364) 1.2 and 1.2 for small ones; between them is best here.
TIME_MEAN, TIME_SPREAD = 0.6, 1.2
SHIFT = 4 / 3  # of the times at which the velocity is followed; see `sampling_times`


def learning_times(count: int, offset: Tensor) -> Tensor:
    """Return times to learn from, one in each of ``count`` equally probable parts of their distribution: (count,).

    So spread, the losses of batches differ less (Kingma et al. 2021, arXiv 2107.00630, appendix I.1).

    Args:
        count: how many.
        offset: (1,), uniform in [0, 1): where in their parts they lie.
    """
    shares = (torch.arange(count, device=offset.device) + offset) / count
    return torch.sigmoid(TIME_MEAN + TIME_SPREAD * torch.special.ndtri(shares))


def sampling_times(steps: int) -> list[float]:
    """Return ``steps + 1`` times from 0 to 1, closer together near the noise, where what is to be seen is settled.

    The shift of Esser et al. 2024, section 5.3.2, written for times that begin at the noise.
    """
    shares = [step / steps for step in range(steps + 1)]
    return [share / (SHIFT - (SHIFT - 1) * share) for share in shares]


class FlowMatching(GenerativeModel):
    """A latent is noise of the picture's own shape; ``decode`` integrates the velocity from t = 0 to t = 1."""

    edges = ("network.stem", "network.head", "network.classes")
    criterion = "minus the mean squared error with which the network undoes noise added to the picture"

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.latent_shape = (design.channels, design.image_size, design.image_size)
        self.network = UNet(design.channels, design.image_size, design.patch, design.width, design.classes)

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        count = len(batch.images)
        times = learning_times(count, batch.uniform(1))
        weights = self.class_weights(batch.labels)
        if self.design.classes:
            weights = weights * (batch.uniform(count, 1) >= LABEL_DROPOUT)
        loss = self._losses(batch.images, batch.normal(*batch.images.shape), times, weights).mean()
        batch.minimize("model", loss)
        return detached({"velocity": loss})

    def _losses(self, images: Tensor, noise: Tensor, times: Tensor, weights: Tensor) -> Tensor:
        """Return each picture's mean squared error of the velocity: (B,)."""
        share = times[:, None, None, None]
        velocity = self._predict((1 - share) * noise + share * images, times, weights)
        return (velocity - (images - noise)).square().mean(dim=(1, 2, 3))

    def decode(self, latents: Tensor, labels: Tensor) -> Tensor:
        weights = self.class_weights(labels)
        images = latents
        for time, later in itertools.pairwise(sampling_times(self.design.sampling_steps)):
            velocity, length = self.velocity(images, time, weights), later - time
            if self.design.solver == "heun" and later < 1:
                # The trapezoid rule: the mean of the velocities at both ends of the step.
                velocity = (velocity + self.velocity(images + length * velocity, later, weights)) / 2
            images = images + length * velocity
        return images

    def velocity(self, images: Tensor, time: float, weights: Tensor) -> Tensor:
        """Return the velocity at one time, guided towards the class (Ho & Salimans 2022, arXiv 2207.12598)."""
        times, guidance = images.new_full((len(images),), time), self.design.guidance
        if not self.design.classes or guidance == 1.0:
            return self._predict(images, times, weights)
        both = [torch.cat(pair) for pair in ((images, images), (times, times), (weights, torch.zeros_like(weights)))]
        told, untold = self._predict(*both).chunk(2)
        return untold + guidance * (told - untold)

    def _predict(self, images: Tensor, times: Tensor, weights: Tensor) -> Tensor:
        with self.precision.autocast(images.device):
            return self.network(images, times, weights).float()

    def realism(self, latents: Tensor, labels: Tensor) -> Tensor:
        images = self.decode(latents, labels).clamp(-1, 1)
        weights = self.class_weights(labels)
        # The same noise for every picture, so that they are compared under the same conditions.
        noise = torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0)).to(images).expand_as(images)
        losses = [self._losses(images, noise, images.new_full((len(images),), time), weights) for time in REALISM_TIMES]
        return -torch.stack(losses).mean(dim=0)
