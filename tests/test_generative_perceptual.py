"""Perceptual distance: nothing between equal pictures, symmetric, small pictures too; pairs of one class."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from competition.generative.perceptual import PAIRS, class_pairs, diversity, open_perceptual


def images_of(labels, pictures=None):
    labels = np.array(labels, dtype=np.str_)
    return SimpleNamespace(
        labels=labels,
        of_class=lambda name: np.flatnonzero(labels == name),
        gather=lambda positions: pictures[np.asarray(positions)],
    )


def test_distances_of_pictures():
    pytest.importorskip("stlpips_pytorch")
    before = set(sys.modules)
    distance = open_perceptual(torch.device("cpu"))
    assert not {"IPython", "torchsummary"} & (set(sys.modules) - before)  # the stand-ins are gone
    rng = np.random.default_rng(0)
    smooth = np.repeat(np.repeat(rng.integers(0, 256, (2, 4, 4, 3), dtype=np.uint8), 4, axis=1), 4, axis=2)
    nearly = (smooth // 2 + 64).astype(np.uint8)
    noise = rng.integers(0, 256, smooth.shape, dtype=np.uint8)
    assert distance(smooth, smooth) == pytest.approx([0, 0], abs=1e-6)
    assert (distance(smooth, nearly) < distance(smooth, noise)).all()
    assert distance(smooth, noise) == pytest.approx(distance(noise, smooth), rel=1e-4)


def test_pairs_are_of_one_class_and_of_two_images():
    labels = ["a"] * 5 + ["b"] * 3 + ["alone"]
    first, second = class_pairs(images_of(labels), seed=0)
    assert len(first) == PAIRS
    assert (first != second).all()
    assert all(labels[one] == labels[other] for one, other in zip(first, second, strict=True))
    assert {labels[one] for one in first} == {"a", "b"}
    assert (class_pairs(images_of(labels), seed=0)[0] == first).all()


def test_diversity_is_the_mean_over_pairs():
    pictures = np.zeros((4, 2, 2, 3), np.uint8)
    pictures[[1, 3]] = 8

    def distance(one, other):
        return np.abs(one.astype(float) - other).mean(axis=(1, 2, 3))

    assert diversity(distance, images_of(["a", "a", "b", "b"], pictures), seed=0) == 8.0
    assert np.isnan(diversity(distance, images_of(["a", "b", "c", "d"], pictures), seed=0))
