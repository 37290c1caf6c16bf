"""mixup, CutMix and resizing."""

import numpy as np
import pytest
import torch

from competition.training.mixing import cutmix, mix_batch, mixup, resized


def test_mixup_blends():
    images = torch.tensor([0.0, 10.0]).view(2, 1, 1, 1).expand(2, 3, 4, 4)
    mixed, weight = mixup(images, torch.tensor([1, 0]), 0.8)
    assert mixed[0].unique().tolist() == pytest.approx([2.0])
    assert mixed[1].unique().tolist() == pytest.approx([8.0])
    assert weight == 0.8


@pytest.mark.parametrize(
    ("weight", "centre", "box", "left"),
    [
        (0.75, (0.5, 0.5), (2, 6, 2, 6), 0.75),
        (0.75, (0.0, 0.0), (0, 2, 0, 2), 1 - 4 / 64),  # cut at the border: more of the own picture is left
        (1.0, (0.5, 0.5), (4, 4, 4, 4), 1.0),
        (0.0, (0.5, 0.5), (0, 8, 0, 8), 0.0),
    ],
)
def test_cutmix_pastes_a_box_and_counts_what_is_left(weight, centre, box, left):
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    mixed, share = cutmix(images, torch.tensor([1, 0]), weight, centre)
    top, bottom, first, last = box
    expected = torch.zeros(3, 8, 8)
    expected[:, top:bottom, first:last] = 1
    assert torch.equal(mixed[0], expected)
    assert share == pytest.approx(left)
    assert 1 - mixed[0].mean().item() == pytest.approx(share)


@pytest.mark.parametrize("kind", ["mixup", "cutmix", "both"])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_any_batch_size_and_the_same_draw_for_the_same_number(kind, size):
    images = torch.rand(size, 3, 8, 8)
    results = [mix_batch(images, kind, 1.0, 0.2, 1.0, np.random.default_rng(4)) for _ in range(2)]
    assert torch.equal(results[0][0], results[1][0])
    mixed, partner, weight = results[0]
    assert mixed.shape == images.shape
    assert sorted(partner.tolist()) == list(range(size))
    assert 0 <= weight <= 1


def test_probability():
    images = torch.rand(4, 3, 8, 8)
    mixed = sum(
        mix_batch(images, "cutmix", 0.3, 1, 1, np.random.default_rng(seed))[1] is not None for seed in range(1000)
    )
    assert 240 < mixed < 360
    assert mix_batch(images, "none", 1.0, 1, 1, np.random.default_rng(0))[0] is images


def test_resizing_keeps_the_mean_and_the_layout():
    images = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    small = resized(images, 32)
    assert small.shape == (2, 3, 32, 32)
    assert small.is_contiguous(memory_format=torch.channels_last)
    assert small.mean().item() == pytest.approx(images.mean().item(), abs=1e-3)
    assert resized(images, 64) is images
    stripes = (torch.arange(64) % 4 < 1).float().expand(1, 3, 64, 64)
    assert torch.allclose(resized(stripes, 16), torch.tensor(0.25), atol=0.1)  # a quarter of the size takes in 4 x 4


def test_both_mixes_in_either_way_and_boxes_lie_anywhere():
    images = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    mixed = [mix_batch(images, "both", 1.0, 0.5, 1.0, np.random.default_rng(seed)) for seed in range(400)]
    changed = [pictures[0, 0] for pictures, partner, _ in mixed if partner.tolist() == [1, 0]]
    boxes = [picture == 1 for picture in changed if picture.unique().tolist() == [0, 1]]
    blends = [picture for picture in changed if 0 < picture[0, 0] < 1]
    assert min(len(boxes), len(blends)) > 40
    corners = [(0, 0), (0, 7), (7, 0), (7, 7)]
    small = [box for box in boxes if box.sum() <= 16]
    assert all(any(box[corner] and not box[3:5, 3:5].any() for box in small) for corner in corners)
