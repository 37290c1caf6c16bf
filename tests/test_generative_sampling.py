"""A picture depends on its own seed; batches of any length are decoded alike."""

import torch

from competition.generative.factory import MODELS, create_model
from competition.generative.sampling import SAMPLE_BATCH, counted_noise, decode_pixels, sample
from tests.generative_data import design_for


def test_noise_of_a_seed_is_its_own():
    both = counted_noise([3, 2**64 - 1], (2, 4))
    torch.testing.assert_close(both[1:], counted_noise([2**64 - 1], (2, 4)))
    assert not torch.allclose(both[0], both[1])


def test_every_decoded_batch_has_the_same_length():
    lengths = []
    for name in MODELS:
        torch.manual_seed(0)
        model = create_model(design_for(name)).eval()
        plain = model.decode
        model.decode = lambda latents, labels, plain=plain: lengths.append(len(latents)) or plain(latents, labels)
        labels = torch.arange(SAMPLE_BATCH + 3) % 3
        pixels = sample(model, list(range(SAMPLE_BATCH + 3)), labels)
        assert pixels.shape == (SAMPLE_BATCH + 3, 8, 8, 3)
        few = sample(model, [0, 1, 2], labels[:3])
        assert (few == pixels[:3]).all()
    assert set(lengths) == {SAMPLE_BATCH}


def test_labels_may_be_mixtures():
    model = create_model(design_for("dcgan")).eval()
    latents = torch.randn(2, *model.latent_shape)
    one_hot = torch.eye(3)[:2]
    numbers = decode_pixels(model, latents, torch.tensor([0, 1]))
    assert (decode_pixels(model, latents, one_hot) == numbers).all()
