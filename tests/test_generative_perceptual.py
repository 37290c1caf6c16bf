"""Perceptual distance: nothing between equal pictures, symmetric, small pictures too; pairs of one class."""

import sys

import numpy as np
import pytest
import torch

from competition.generative import perceptual
from competition.generative.neighbours import Pairs
from competition.generative.perceptual import PAIRS, class_pairs, diversity, open_perceptual, to_nearest


class Images:
    """As much of `Decoded` as is asked for here."""

    def __init__(self, labels, pictures=None):
        self.labels, self._pictures = np.array(labels, dtype=np.str_), pictures

    def __len__(self):
        return len(self.labels)

    def of_class(self, name):
        return np.flatnonzero(self.labels == name)

    def gather(self, positions):
        return self._pictures[np.asarray(positions)]


def mean_difference(one, other):
    return np.abs(one.astype(float) - other).mean(axis=(1, 2, 3))


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
    first, second = class_pairs(Images(labels), seed=0)
    assert len(first) == PAIRS
    assert (first != second).all()
    assert all(labels[one] == labels[other] for one, other in zip(first, second, strict=True))
    assert {labels[one] for one in first} == {"a", "b"}
    assert (class_pairs(Images(labels), seed=0)[0] == first).all()


def test_diversity_is_the_mean_over_pairs():
    pictures = np.zeros((4, 2, 2, 3), np.uint8)
    pictures[[1, 3]] = 8

    assert diversity(mean_difference, Images(["a", "a", "b", "b"], pictures), seed=0) == 8.0
    assert np.isnan(diversity(mean_difference, Images(["a", "b", "c", "d"], pictures), seed=0))


def test_the_distance_to_the_nearest_is_the_mean_over_drawn_pairs(monkeypatch):
    def side(*values):
        return Images([""] * len(values), np.stack([np.full((2, 2, 3), value, np.uint8) for value in values]))

    pairs = Pairs(side(10, 20, 30, 40), side(40, 13), np.zeros(4, np.float32), np.array([1, 1, 0, 0]))
    assert to_nearest(mean_difference, pairs, seed=0) == (3 + 7 + 10 + 0) / 4
    monkeypatch.setattr(perceptual, "PAIRS", 1)
    drawn = {to_nearest(mean_difference, pairs, seed) for seed in range(40)}
    assert drawn == {3, 7, 10, 0}
    assert to_nearest(mean_difference, pairs, 5) == to_nearest(mean_difference, pairs, 5)
