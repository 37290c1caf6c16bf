"""Distances: hand-worked Gaussians, the kernel written out, balls of neighbours counted, and torch-fidelity's own."""

import numpy as np
import pytest

from competition.generative.distances import (
    Statistics,
    distances,
    frechet_distance,
    kernel_distance,
    precision_recall,
    statistics,
    subset_size,
)

pytest.importorskip("torch_fidelity")
RNG = np.random.default_rng(0)


def gaussian(count=200, width=4, shift=0.0):
    return (np.random.default_rng(count + width).standard_normal((count, width)) + shift).astype(np.float32)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # |m1 - m2|^2 + sum of (s1 - s2)^2 for diagonal covariances.
        (([0, 0], [1, 1]), ([0, 0], [1, 1]), 0.0),
        (([0, 0], [1, 1]), ([3, 4], [1, 1]), 25.0),
        (([0, 0], [1, 4]), ([0, 0], [9, 1]), 5.0),
        (([1, 0], [0, 0]), ([0, 0], [4, 9]), 14.0),
    ],
)
def test_frechet_distance_of_diagonal_gaussians(one, other, expected):
    first, second = (
        Statistics(np.array(mean, dtype=np.float64), np.diag(np.array(variances, dtype=np.float64)))
        for mean, variances in (one, other)
    )
    assert frechet_distance(first, second) == pytest.approx(expected, abs=1e-9)


def test_statistics_are_the_mean_and_the_unbiased_covariance():
    features = np.array([[0, 0], [2, 4], [4, 2]], dtype=np.float32)
    found = statistics(features)
    assert found.mean == pytest.approx([2, 2])
    assert found.covariance == pytest.approx(np.array([[4, 2], [2, 4]]))


def test_kernel_distance_is_the_unbiased_estimate_written_out():
    one, other = gaussian(8, 3), gaussian(8, 3, shift=1.0)

    def kernel(x, y):
        return (float(x.astype(np.float64) @ y.astype(np.float64)) / 3 + 1) ** 3

    def within(side):
        return np.mean([kernel(side[i], side[j]) for i in range(4) for j in range(4) if i != j])

    rng = np.random.RandomState(5)  # one subset of half the images
    picked, chosen = one[rng.choice(8, 4, replace=False)], other[rng.choice(8, 4, replace=False)]
    across = np.mean([kernel(x, y) for x in picked for y in chosen])
    expected = within(picked) + within(chosen) - 2 * across
    assert kernel_distance(one, other, seed=5, subsets=1) == (pytest.approx(expected), 0.0)


@pytest.mark.parametrize(("images", "expected"), [(50, 25), (1999, 999), (2000, 1000), (10_000, 1000)])
def test_subsets_are_as_published_where_there_are_enough_images(images, expected):
    assert subset_size(images) == expected


def test_kernel_distance_of_one_kind_is_around_nothing_and_grows_with_a_shift():
    near = kernel_distance(gaussian(300), gaussian(301)[:300])[0]
    far = kernel_distance(gaussian(300), gaussian(301, shift=1.0)[:300])[0]
    assert abs(near) < 0.2
    assert far > 10 * abs(near)


def test_precision_and_recall_of_a_part_of_the_data():
    """Generated images that cover one of two clusters: all lie among real ones, half of the real ones are missed."""
    left, right = gaussian(40), gaussian(41, shift=50.0)[:40]
    generated, real = np.concatenate([left, left + 0.001]), np.concatenate([left, right])
    precision, recall = precision_recall(generated.astype(np.float32), real)
    assert precision > 0.95
    assert recall == 0.5
    precision, recall = precision_recall(real, left)
    assert precision == 0.5
    assert recall == 1.0


def test_distances_are_the_parts_put_together():
    generated, real = gaussian(60), gaussian(61, shift=0.5)[:60]
    found = distances(generated, real, seed=3)
    assert found.frechet == frechet_distance(statistics(generated), statistics(real))
    assert (found.kernel, found.kernel_spread) == kernel_distance(generated, real, seed=3)
    assert (found.precision, found.recall) == precision_recall(generated, real)


def test_the_order_of_the_images_does_not_matter_to_the_frechet_distance():
    generated, real = gaussian(60), gaussian(61)
    order = RNG.permutation(60)
    one, other = statistics(generated), statistics(generated[order])
    assert frechet_distance(one, statistics(real)) == pytest.approx(frechet_distance(other, statistics(real)))
