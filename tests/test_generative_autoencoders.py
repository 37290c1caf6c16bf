"""What is the autoencoders' own: the fitted prior, the critic's target, the course of the KL weight."""

import pytest
import torch

from competition.generative.autoencoders import LatentPrior, kl_factor
from competition.generative.factory import create_model
from competition.generative.model import Batch
from tests.generative_data import SIZE, design_for


def test_the_prior_has_the_means_and_covariance_of_the_latents():
    torch.manual_seed(0)
    labels = torch.arange(4000) % 2
    centres = torch.tensor([[1.0, 5.0], [-3.0, 0.0]])
    factor = torch.tensor([[2.0, 0.0], [1.0, 0.5]])
    latents = centres[labels] + torch.randn(4000, 2) @ factor.T
    prior = LatentPrior(2, 2)
    prior.fit(latents, torch.nn.functional.one_hot(labels, 2).float())
    torch.testing.assert_close(prior.mean, centres, atol=0.15, rtol=0)
    torch.testing.assert_close(prior.scale @ prior.scale.T, factor @ factor.T, atol=0.25, rtol=0)
    drawn = prior(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(drawn, prior.mean[1:])


def test_the_spread_of_the_prior_does_not_shrink_with_many_classes():
    torch.manual_seed(0)
    labels = torch.arange(4000) % 1000  # four of each
    prior = LatentPrior(1000, 2)
    prior.fit(torch.randn(4000, 2), torch.nn.functional.one_hot(labels, 1000).float())
    torch.testing.assert_close(prior.scale @ prior.scale.T, torch.eye(2), atol=0.1, rtol=0)


def test_few_latents_in_many_dimensions_still_give_a_prior():
    prior = LatentPrior(0, 20)
    prior.fit(torch.randn(3, 20), torch.zeros(3, 0))
    assert torch.isfinite(prior.scale).all()


def test_the_critic_learns_alpha_of_mixtures_and_zero_of_nearly_real_pictures():
    """The losses are recomputed by hand from what the critic was shown."""
    model = create_model(design_for("acai", ("line",)))
    shown, losses = [], {}
    plain = model.guess
    model.guess = lambda images: shown.append(images.detach()) or plain(images)
    images = torch.rand(4, 3, SIZE, SIZE) * 2 - 1
    batch = Batch(
        images, torch.zeros(4).long(), torch.Generator().manual_seed(0), torch.tensor(0.0), losses.__setitem__
    )
    model.train_step(batch)
    alpha = 0.5 - (torch.rand(4, generator=torch.Generator().manual_seed(0)) - 0.5).abs()
    with torch.no_grad():
        latents = model.encode(images)
        share = alpha[:, None, None, None]
        mixed = model.decode(share * latents + (1 - share) * latents.flip(0), batch.labels)
        pictures = model.decode(latents, batch.labels)
        blended = 0.2 * images + 0.8 * pictures
        critic = (plain(mixed) - alpha).square().mean() + plain(blended).square().mean()
        own = (pictures - images).square().mean() + 0.5 * plain(mixed).square().mean()
    torch.testing.assert_close(shown[0], mixed)
    torch.testing.assert_close(shown[1], torch.cat([mixed, blended]))
    torch.testing.assert_close(losses["critic"].detach(), critic)
    torch.testing.assert_close(losses["model"].detach(), own)


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        ("constant", 0.0, 1.0),
        ("linear", 0.0, 0.0),
        ("linear", 0.125, 0.5),
        ("linear", 0.9, 1.0),
        ("cyclic", 0.0, 0.0),
        ("cyclic", 0.0625, 0.5),
        ("cyclic", 0.2, 1.0),
        ("cyclic", 0.25, 0.0),
    ],
)
def test_kl_factor(schedule, progress, factor):
    assert kl_factor(schedule, torch.tensor(progress)).item() == pytest.approx(factor)


def test_the_vae_loss_is_the_negative_evidence_bound():
    model = create_model(design_for("vae", ("line",), kl_weight=2.0))
    losses = {}
    images = torch.rand(4, 3, SIZE, SIZE) * 2 - 1
    batch = Batch(
        images, torch.zeros(4).long(), torch.Generator().manual_seed(0), torch.tensor(0.0), losses.__setitem__
    )
    told = model.train_step(batch)
    mean, log_variance = model.distribution(images)
    posterior = torch.distributions.Normal(mean, (log_variance / 2).exp())
    divergence = torch.distributions.kl_divergence(posterior, torch.distributions.Normal(0.0, 1.0)).sum() / 4
    torch.testing.assert_close(told["divergence"], divergence.detach())
    torch.testing.assert_close(losses["model"], told["reconstruction"] + 2 * divergence)
