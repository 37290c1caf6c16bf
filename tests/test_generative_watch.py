"""Mode collapse is noticed, and only that."""

import numpy as np
import pytest

from competition.generative.watch import Watch, diversity


def test_diversity_is_the_spread_within_a_class():
    pixels = np.zeros((4, 2, 2, 3), np.uint8)
    pixels[1] = 10  # class 0: 0 and 10, standard deviation 5
    pixels[2:] = 200  # class 1: alike
    assert diversity(pixels, np.array([0, 0, 1, 1])) == pytest.approx(2.5)


def test_single_pictures_tell_nothing():
    assert np.isnan(diversity(np.zeros((2, 2, 2, 3), np.uint8), np.array([0, 1])))


@pytest.mark.parametrize(
    ("ratios", "step", "kept", "is_collapsed"),
    [
        ([0.9, 0.1, 0.1, 0.1], 100, [True, False, False, False], True),
        ([0.9, 0.1, 0.1], 100, [True, False, False], False),  # two bad checks
        ([0.9, 0.1, 0.8, 0.1], 500, [True, False, True, False], False),  # it recovered
        ([0.1, 0.1, 0.1], 100, [True, True, True], False),  # too early to expect anything
        ([0.1, 0.1, 0.1], 500, [True, True, True], True),  # never was diverse: said, but the latest is kept
        ([float("nan")] * 3, 500, [True] * 3, False),
    ],
)
def test_checks(ratios, step, kept, is_collapsed):
    watch = Watch()
    assert [watch.check(ratio, step, 1000) for ratio in ratios] == kept
    assert watch.is_collapsed is is_collapsed
