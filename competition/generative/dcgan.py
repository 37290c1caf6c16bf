"""A deep convolutional GAN; Radford et al. 2015 (arXiv 1511.06434), with later remedies as options."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from competition.errors import UserError
from competition.generative.design import Design
from competition.generative.diffaug import augment
from competition.generative.model import Batch, ClassEmbedding, GenerativeModel, detached

CLASS_VALUES = 32  # at most, appended to the latent vector where the model is told the classes
SLOPE = 0.2
SETTLE_BATCH = 64  # latents whose statistics are taken together


def stage_widths(image_size: int, width: int) -> list[int]:
    """Return the channels from the 4x4 map to the largest one: 8w, 4w, 2w, w for 64 px.

    Raises:
        UserError: a side that is not a power of two from 8 on.
    """
    stages = image_size.bit_length() - 3
    if stages < 1 or image_size != 4 << stages:
        raise UserError(f"--image-size {image_size}: dcgan doubles from 4 px on: take 8, 16, 32, 64 or 128")
    return [width << stage for stage in reversed(range(stages))]


class Generator(nn.Module):
    """Latent x 1 x 1 -> 8w x 4 x 4 -> ... -> C x S x S by transposed 4x4 convolutions, batch norm, ReLU, tanh.

    The class's vector is appended at the length that noise of its size has: left free, one class's grew to twice the
    others', drowned the latent, and all its pictures became one.
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        values = min(design.classes, CLASS_VALUES)
        self.embedding = ClassEmbedding(design.classes, values) if values else None
        widths = stage_widths(design.image_size, design.width)
        layers: list[nn.Module] = [_up(design.latent + values, widths[0], stride=1), *_norm_relu(widths[0])]
        for before, width in itertools.pairwise(widths):
            layers += [_up(before, width), *_norm_relu(width)]
        self.layers = nn.Sequential(*layers, _up(widths[-1], design.channels), nn.Tanh())
        self.apply(_initialise)

    def forward(self, latents: Tensor, class_weights: Tensor) -> Tensor:
        if self.embedding is not None:
            vectors = self.embedding(class_weights)  # (B, V)
            vectors = math.sqrt(vectors.shape[1]) * nn.functional.normalize(vectors)
            latents = torch.cat([latents, vectors], dim=1)
        return self.layers(latents[:, :, None, None])  # (B, Z) -> (B, C, S, S)


class Discriminator(nn.Module):
    """The generator mirrored: strided 4x4 convolutions, leaky ReLU; logits (B,).

    A class adds the product of its vector with the pooled features (projection; Miyato & Koyama 2018, arXiv
    1802.05637). Spectral norm (Miyato et al. 2018, arXiv 1802.05957) leaves no place for batch norm. The layers have
    biases then, for without any the logit would double with the picture's contrast, and the features are summed over
    all places: with their mean, the logits and what is told of the class would be small.
    """

    def __init__(self, design: Design) -> None:
        super().__init__()
        widths = stage_widths(design.image_size, design.width)[::-1]
        self.has_norm = has_norm = not design.spectral_norm
        layers: list[nn.Module] = [
            nn.Conv2d(design.channels, widths[0], 4, 2, 1, bias=not has_norm),
            nn.LeakyReLU(SLOPE),
        ]
        for before, width in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, width, 4, 2, 1, bias=not has_norm)]
            layers += [nn.BatchNorm2d(width)] if has_norm else []
            layers += [nn.LeakyReLU(SLOPE)]
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(widths[-1], 1, 4, bias=False) if has_norm else nn.Linear(widths[-1], 1)
        self.embedding = ClassEmbedding(design.classes, widths[-1]) if design.classes else None
        self.apply(_initialise)
        if design.spectral_norm:
            weighted = [layer for layer in [*self.features, self.head] if isinstance(layer, nn.Conv2d | nn.Linear)]
            for layer in weighted:
                nn.init.kaiming_normal_(layer.weight, SLOPE)  # nothing else scales the features
            for module in [*weighted, self.embedding] if self.embedding is not None else weighted:
                spectral_norm(module)

    def forward(self, images: Tensor, class_weights: Tensor) -> Tensor:
        features = self.features(images)  # (B, 8w, 4, 4)
        pooled = features.mean(dim=(2, 3)) if self.has_norm else features.sum(dim=(2, 3))  # (B, 8w)
        logits = self.head(features if self.has_norm else pooled).flatten()
        if self.embedding is not None:
            logits = logits + (self.embedding(class_weights) * pooled).sum(dim=1)
        return logits.float()


def _up(inputs: int, outputs: int, stride: int = 2) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(inputs, outputs, 4, stride, padding=stride - 1, bias=False)


def _norm_relu(width: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(width), nn.ReLU()]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    elif isinstance(module, ClassEmbedding):
        nn.init.normal_(module.weight, 0.0, 0.02 if module.weight.shape[1] > CLASS_VALUES else 1.0)


class DCGAN(GenerativeModel):
    """Generator against discriminator; with ``diffaug`` the discriminator sees both kinds of pictures augmented."""

    adversaries = ("discriminator",)
    criterion = "the discriminator's logit"

    def __init__(self, design: Design) -> None:
        super().__init__(design)
        self.latent_shape = (design.latent,)
        self.generator = Generator(design)
        self.discriminator = Discriminator(design)

    def settle(self, latents: Tensor, labels: Tensor) -> None:
        """Measure the batch norms' statistics with the weights as they are (Brock et al. 2018, arXiv 1809.11096)."""
        norms = [layer for layer in self.generator.modules() if isinstance(layer, nn.BatchNorm2d)]
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.train().momentum = None  # the mean over all batches
        parts = -(-len(latents) // SETTLE_BATCH)
        for first in range(parts):  # every so many: the latents may come class after class, training batches are mixed
            self.decode(latents[first::parts], labels[first::parts])
        for norm, momentum in zip(norms, usual, strict=True):
            norm.eval().momentum = momentum

    def decode(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.generator(latents, self.class_weights(labels))

    def judge(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the discriminator's logits (B,): above 0 is real."""
        return self.discriminator(images, self.class_weights(labels))

    def train_step(self, batch: Batch) -> dict[str, Tensor]:
        latents = batch.normal(len(batch.images), *self.latent_shape)
        fakes = self.decode(latents, batch.labels)
        shown, shown_fakes = (self._shown(images, batch) for images in (batch.images, fakes.detach()))
        real, fake = self.judge(shown, batch.labels), self.judge(shown_fakes, batch.labels)
        discriminator = self._discriminator_loss(real, fake)
        batch.minimize("discriminator", discriminator)
        fooled = self.judge(self._shown(fakes, batch), batch.labels)
        generator = self._generator_loss(fooled)
        batch.minimize("model", generator)
        return detached({"generator": generator, "discriminator": discriminator})

    def _shown(self, images: Tensor, batch: Batch) -> Tensor:
        return augment(images, batch.noise) if self.design.diffaug else images

    def _discriminator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        if self.design.gan_loss == "hinge":  # Lim & Ye 2017, arXiv 1705.02894
            return nn.functional.relu(1 - real).mean() + nn.functional.relu(1 + fake).mean()
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()  # binary cross entropy

    def _generator_loss(self, fake: Tensor) -> Tensor:
        return -fake.mean() if self.design.gan_loss == "hinge" else nn.functional.softplus(-fake).mean()

    def realism(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.judge(self.decode(latents, labels), labels)
