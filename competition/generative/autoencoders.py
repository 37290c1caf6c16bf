"""Autoencoders: plain, with a critic of interpolations (ACAI), and variational."""

import math

import torch
from torch import Tensor, nn

from competition.generative.bodies import ends_of, latent_side, make_decoder, make_encoder, with_classes
from competition.generative.design import Design
from competition.generative.model import Batch, ClassEmbedding, GenerativeModel, detached

CLASS_CHANNELS = 16  # at most, appended to the latent map where the model is told the classes
KL_WARMUP = 0.25  # share of the training in which the linear schedule rises
KL_CYCLES = 4
LOG_VARIANCE_LIMIT = 10.0  # keeps exp() finite while the first steps are wild


class LatentPrior(nn.Module):
    """A Gaussian per class over the latents of real pictures: own mean, shared covariance.

    An autoencoder has no distribution to sample from; this one is fitted to what its encoder does.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, classes: int, size: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(max(classes, 1), size))
        self.register_buffer("scale", torch.eye(size))

    def fit(self, latents: Tensor, weights: Tensor) -> None:
        """Fit to (N, D) latents of pictures whose classes have weights (N, K); K may be 0."""
        flat = latents.flatten(1).double().cpu()
        weights = weights.double().cpu() if weights.shape[1] else torch.ones(len(flat), 1, dtype=torch.float64)
        mean = weights.T @ flat / weights.sum(dim=0).clamp(min=1e-9)[:, None]
        centred = flat - weights @ mean
        covariance = centred.T @ centred / max(len(flat) - len(mean), 1)  # a mean of each class was fitted
        # Shrunk a little, so that few pictures in many dimensions still have a Cholesky factor.
        size = len(covariance)
        ridge = 1e-3 * covariance.diagonal().mean() + 1e-9
        factor = torch.linalg.cholesky(covariance + ridge * torch.eye(size, dtype=torch.float64))
        self.mean.copy_(mean)
        self.scale.copy_(factor)

    def forward(self, noise: Tensor, weights: Tensor) -> Tensor:
        """Turn standard normal noise (B, ...) into latents of the classes."""
        mean = weights @ self.mean if weights.shape[1] else self.mean
        return (mean + noise.flatten(1) @ self.scale.T).view_as(noise)


class Autoencoder(GenerativeModel):
    """x -> z = encoder(x) -> decoder(z, class); the loss is the mean squared error of a value in [-1, 1].

    With ``dense_latent`` a linear layer of the map's size stands on either side of a latent vector.
    """

    has_encoder = True
    criterion = "minus the distance by which encoding the picture again moves its latent, in units of their spread"

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        side = latent_side(design)
        classes = min(design.classes, CLASS_CHANNELS)
        self._map_shape = (design.latent, side, side)
        size = math.prod(self._map_shape)
        self.latent_shape = (size,) if design.dense_latent else self._map_shape
        self.encoder = make_encoder(design, self.encoder_channels)
        self.decoder = make_decoder(design, design.latent + classes)
        self.embedding = ClassEmbedding(design.classes, classes) if classes else None
        encoded = self.encoder_channels * side * side
        self.to_vector = nn.Linear(encoded, encoded) if design.dense_latent else None
        self.from_vector = nn.Linear(size, size) if design.dense_latent else None
        self.prior: LatentPrior | None = LatentPrior(design.classes, size)
        self.edges = (*ends_of("encoder", self.encoder), *ends_of("decoder", self.decoder), "embedding.")

    @property
    def encoder_channels(self) -> int:
        """Channels that the encoder ends in."""
        return self.design.latent

    def encode(self, images: Tensor) -> Tensor:
        latents = self.encoder(images)
        return latents if self.to_vector is None else self.to_vector(latents.flatten(1))

    def decode_raw(self, latents: Tensor, labels: Tensor) -> Tensor:
        """Return the decoder's own numbers: logits where a sigmoid follows, else values in about [-1, 1]."""
        if self.from_vector is not None:
            latents = self.from_vector(latents).view(-1, *self._map_shape)
        classes = None if self.embedding is None else self.embedding(self.class_weights(labels))
        return self.decoder(with_classes(latents, classes))

    def decode(self, latents: Tensor, labels: Tensor) -> Tensor:
        raw = self.decode_raw(latents, labels)
        return 2 * torch.sigmoid(raw) - 1 if self.design.final_sigmoid else raw

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        pictures = self.decode(self.encode(batch.images), batch.labels)
        loss = nn.functional.mse_loss(pictures.float(), batch.images)
        batch.minimize("model", loss)
        return detached({"reconstruction": loss})

    def settle(self, latents: Tensor, labels: Tensor) -> None:
        if self.prior is not None:
            self.prior.fit(latents, self.class_weights(labels))

    def to_latents(self, noise: Tensor, labels: Tensor) -> Tensor:
        return noise if self.prior is None else self.prior(noise, self.class_weights(labels))

    def realism(self, latents: Tensor, labels: Tensor) -> Tensor:
        again = self.encode(self.decode(latents, labels).clamp(-1, 1))
        spread = 1.0 if self.prior is None else self.prior.scale.square().sum(dim=1).mean().sqrt()
        return -((again - latents) / spread).flatten(1).square().mean(dim=1).sqrt()


class ACAI(Autoencoder):
    """An autoencoder whose critic guesses how a picture was mixed; Berthelot et al. 2018, arXiv 1807.07543.

    With z = alpha z1 + (1 - alpha) z2, alpha in [0, 1/2]: the critic minimises (critic(decode(z)) - alpha)^2 +
    critic(gamma x + (1 - gamma) decode(encode(x)))^2, the autoencoder its squared error + lambda critic(decode(z))^2.
    """

    adversaries = ("critic",)
    criterion = "minus the critic's guess of the mixing share (0: a picture it takes for unmixed)"

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.critic = make_encoder(design, design.latent)
        self.edges += ends_of("critic", self.critic)

    def guess(self, images: Tensor) -> Tensor:
        """Return the critic's alpha. (B, C, S, S) -> (B,)."""
        return self.critic(images).float().mean(dim=(1, 2, 3))

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        images, labels = batch.images, batch.labels
        latents = self.encode(images)
        pictures = self.decode(latents, labels).float()
        mixed, alpha = self._mix(latents, labels, batch)
        reconstruction = nn.functional.mse_loss(pictures, images)
        fooling = self.guess(mixed).square().mean()
        batch.minimize("model", reconstruction + self.design.critic_weight * fooling)
        gamma = self.design.critic_mix
        shown = torch.cat([mixed.detach(), gamma * images + (1 - gamma) * pictures.detach()])
        wanted = torch.cat([alpha, torch.zeros_like(alpha)])
        # The sum of two means, as the paper has it.
        critic = 2 * (self.guess(shown) - wanted).square().mean()
        batch.minimize("critic", critic)
        return detached({"reconstruction": reconstruction, "fooling": fooling, "critic": critic})

    def _mix(self, latents: Tensor, labels: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """Decode mixtures of each latent with its opposite in the batch; returns them and alpha, the lesser share."""
        alpha = 0.5 - (batch.uniform(len(latents)) - 0.5).abs()
        share = alpha.view(-1, *[1] * (latents.dim() - 1))
        if self.design.classes:
            weights = self.class_weights(labels)
            labels = alpha[:, None] * weights + (1 - alpha[:, None]) * weights.flip(0)
        return self.decode(share * latents + (1 - share) * latents.flip(0), labels), alpha

    def realism(self, latents: Tensor, labels: Tensor) -> Tensor:
        return -self.guess(self.decode(latents, labels).clamp(-1, 1)).abs()


def kl_factor(schedule: str, progress: Tensor) -> Tensor:
    """Return the factor on the weight of the divergence at a share of the training: a pure function.

    ``linear`` rises to 1 in the first quarter; ``cyclic`` rises in the first half of each of four cycles (Fu et al.
    2019, arXiv 1903.10145).
    """
    if schedule == "linear":
        return (progress / KL_WARMUP).clamp(max=1)
    if schedule == "cyclic":
        return (2 * (progress * KL_CYCLES % 1)).clamp(max=1)
    return torch.ones_like(progress)


class VariationalAutoencoder(Autoencoder):
    """Encoder -> mean and log-variance; the loss is -log p(x|z) + w KL(q(z|x) || N(0, I)), summed over a picture.

    p is Bernoulli over values in [0, 1], as in Berthelot et al. 2018; so the decoder ends in a sigmoid.
    """

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.prior = None  # the standard normal itself

    @property
    def encoder_channels(self) -> int:
        return 2 * self.design.latent

    def distribution(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and log-variance, each (B, *latent_shape)."""
        mean, log_variance = super().encode(images).float().chunk(2, dim=1)
        return mean, log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)

    def encode(self, images: Tensor) -> Tensor:
        return self.distribution(images)[0]

    def decode(self, latents: Tensor, labels: Tensor) -> Tensor:
        return 2 * torch.sigmoid(self.decode_raw(latents, labels)) - 1

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        mean, log_variance = self.distribution(batch.images)
        latents = mean + (log_variance / 2).exp() * batch.normal(*mean.shape)
        logits = self.decode_raw(latents, batch.labels).float()
        count = len(batch.images)
        wanted = (batch.images + 1) / 2
        reconstruction = nn.functional.binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / count
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum() / count
        weight = self.design.kl_weight * kl_factor(self.design.kl_schedule, batch.progress)
        batch.minimize("model", reconstruction + weight * divergence)
        return detached({"reconstruction": reconstruction, "divergence": divergence})
