"""Paths between latents, by hand."""

import pytest
import torch

from competition.generative.latents import lerp, slerp

RIGHT, UP = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])


@pytest.mark.parametrize(
    ("share", "point"), [(1.0, [1.0, 0.0]), (0.0, [0.0, 1.0]), (0.5, [0.5**0.5] * 2), (1 / 3, [0.5, 0.75**0.5])]
)
def test_slerp_walks_the_arc(share, point):
    torch.testing.assert_close(slerp(RIGHT, UP, share), torch.tensor([point]))


def test_lerp_takes_the_share_of_the_first():
    torch.testing.assert_close(lerp(RIGHT, UP, 0.4), torch.tensor([[0.4, 0.6]]))


@pytest.mark.parametrize(
    ("first", "second"),
    [([1.0, 2.0], [2.0, 4.0]), ([1.0, 2.0], [-1.0, -2.0]), ([0.0, 0.0], [3.0, 1.0]), ([0.0, 0.0], [0.0, 0.0])],
)
def test_slerp_falls_back_to_the_straight_line(first, second):
    first, second = torch.tensor([first]), torch.tensor([second])
    torch.testing.assert_close(slerp(first, second, 0.3), lerp(first, second, 0.3))


def test_each_row_has_its_own_share_and_shape_is_kept():
    first, second = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    mixed = slerp(first, second, torch.tensor([1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(mixed, torch.stack([first[0], second[1]]))
    assert mixed.dtype == torch.float32
