"""Views and the one evaluation path."""

import numpy as np
import pytest
import torch
from torch import nn

from competition.data.loader import Loader, image_keys
from competition.inference import Preprocessing, blurred, mirrored, predict_probabilities, shifted, views_of
from competition.precision import Precision

CPU = torch.device("cpu")
PREPROCESSING = Preprocessing(16, "squash", (0.5, 0.25, 0.0), (0.5, 0.5, 0.25))


def test_preprocessing_normalises_each_channel():
    pictures = torch.tensor([0, 127.5, 255]).to(torch.uint8).view(1, 1, 3, 1).expand(1, 1, 3, 3).contiguous()
    images = PREPROCESSING.to_input(pictures, CPU, torch.channels_last)
    assert images.shape == (1, 3, 1, 3)
    assert images[0, :, 0, 0].tolist() == pytest.approx([-1, -0.5, 0])
    assert images[0, :, 0, 2].tolist() == pytest.approx([1, 1.5, 4])
    assert images.is_contiguous(memory_format=torch.channels_last)


def test_views_are_their_own_pictures():
    images = torch.arange(16 * 16, dtype=torch.float32).view(1, 1, 16, 16)
    assert torch.equal(mirrored(images)[..., 0], images[..., -1])
    assert torch.equal(shifted(1, 0)(images)[..., 1:, :], images[..., :-1, :])
    assert torch.equal(shifted(0, -1)(images)[..., :-1], images[..., 1:])
    assert torch.equal(shifted(1, 0)(images)[..., 0, :], images[..., 0, :])  # the edge is repeated
    spot = torch.zeros(1, 1, 5, 5)
    spot[..., 2, 2] = 16
    assert blurred(spot)[0, 0, 1:4, 1:4].tolist() == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]


def test_the_views_in_their_order():
    images = torch.rand(1, 3, 32, 32)
    down, up, right, left = (shifted(*by)(images) for by in ((1, 0), (-1, 0), (0, 1), (0, -1)))
    seen = [view(images) for view in views_of(8)]
    expected = [images, mirrored(images), down, mirrored(up), right, mirrored(left), blurred(images)]
    expected.append(mirrored(blurred(images)))
    assert all(torch.equal(one, other) for one, other in zip(seen, expected, strict=True))


@pytest.mark.parametrize("count", range(1, 9))
def test_as_many_views_as_asked_for_and_all_different(count):
    images = torch.rand(1, 3, 32, 32)
    seen = [view(images) for view in views_of(count)]
    assert len(seen) == count
    assert all(not torch.equal(a, b) for i, a in enumerate(seen) for b in seen[:i])


class Hungry(nn.Module):
    """Has no room for more than three pictures."""

    def __init__(self, most=3):
        super().__init__()
        self.most, self.sizes = most, []

    def forward(self, images):
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.mean((2, 3))


def test_memory_that_runs_out_halves_what_is_predicted_at_once(array_images):
    answers, said = [], []
    for most in (3, 40):
        network = Hungry(most)
        loader = Loader(array_images, np.arange(40), image_keys([str(n) for n in range(40)]), 10)
        answers.append(
            predict_probabilities(network, loader, 3, PREPROCESSING, Precision(), CPU, views_of(1), note=said.append)
        )
        assert network.sizes[:4] == ([10, 5, 3, 3] if most == 3 else [10] * 4)
        assert max(network.sizes[3:]) <= most
    np.testing.assert_allclose(*answers, atol=1e-6)
    assert said == [
        "memory ran out with 10 images at once; going on with 5",
        "memory ran out with 5 images at once; going on with 3",
    ]


class Brightest(nn.Module):
    """Logits from the left half's mean brightness: a mirror view changes the answer."""

    def __init__(self):
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        return self.dropout(images[..., :8].mean((2, 3)))


def predict(images, views, batch_size=7):
    loader = Loader(images, np.arange(40), image_keys([str(n) for n in range(40)]), batch_size)
    network = Brightest().train()
    result = predict_probabilities(network, loader, 3, PREPROCESSING, Precision(), CPU, views)
    assert not network.training
    return result


def test_probabilities_are_the_mean_over_views_in_row_order(array_images):
    both = predict(array_images, views_of(2))
    plain, flipped = predict(array_images, views_of(2)[:1]), predict(array_images, views_of(2)[1:])
    np.testing.assert_allclose(both, (plain + flipped) / 2, atol=1e-6)
    np.testing.assert_allclose(both.sum(axis=1), 1, atol=1e-6)
    assert np.abs(plain - flipped).max() > 1e-3


def test_the_batch_size_does_not_matter(array_images):
    np.testing.assert_allclose(predict(array_images, views_of(3), 1), predict(array_images, views_of(3), 40), atol=1e-6)


class Halved(nn.Module):
    """Answers in a format of 8 bits of mantissa, as under autocast."""

    def forward(self, images):
        return (8 * images.mean((2, 3))).bfloat16()


def test_probabilities_of_a_low_precision_are_computed_in_float32(array_images):
    loader = Loader(array_images, np.arange(40), image_keys([str(n) for n in range(40)]), 7)
    result = predict_probabilities(Halved(), loader, 3, PREPROCESSING, Precision(), CPU, views_of(2))
    np.testing.assert_allclose(result.sum(axis=1), 1, atol=1e-6)
