"""Differentiable augmentation: shapes, gradients, and what each part does."""

import torch

from competition.generative.diffaug import augment, cut_out, translate


def noise(seed=0):
    return torch.Generator().manual_seed(seed)


def test_the_same_noise_does_the_same():
    images = torch.rand(4, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(augment(images, noise()), augment(images, noise()))
    assert not torch.allclose(augment(images, noise()), augment(images, noise(1)))


def test_gradients_reach_the_pictures():
    images = (torch.rand(4, 3, 16, 16) * 2 - 1).requires_grad_()
    augment(images, noise()).sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_translation_moves_by_whole_pixels_and_keeps_the_rest():
    images = torch.zeros(64, 1, 16, 16)
    images[:, 0, 8, 8] = 1.0
    moved = translate(images, noise())
    places = moved.flatten(1).argmax(dim=1)
    rows, columns = places // 16 - 8, places % 16 - 8
    assert (moved.flatten(1).sum(dim=1) == 1).all()
    assert (rows.abs().max(), columns.abs().max()) == (2, 2)


def test_the_hole_is_a_square_of_at_most_half_the_side():
    holes = cut_out(torch.ones(64, 3, 16, 16), noise()) == 0
    areas = holes[:, 0].flatten(1).sum(dim=1)
    assert areas.max() == 64
    assert areas.min() >= 16  # a centre in the corner leaves a quarter
    assert (holes[:, 0] == holes[:, 2]).all()
