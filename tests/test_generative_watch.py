"""Mode collapse is noticed, and only that."""

import numpy as np
import pytest

from competition.generative.watch import Diversity, Watch, alike_words, spreads


def test_diversity_is_the_spread_within_a_class():
    pixels = np.zeros((4, 2, 2, 3), np.uint8)
    pixels[1] = 10  # class 0: 0 and 10, standard deviation sqrt(50)
    pixels[2:] = 200  # class 1: alike
    assert spreads(pixels, np.array([0, 0, 1, 1])) == {0: pytest.approx(50**0.5), 1: 0.0}


def test_single_pictures_tell_nothing():
    assert spreads(np.zeros((2, 2, 2, 3), np.uint8), np.array([0, 1])) == {}
    assert np.isnan(Diversity.compare({}, {}, ["a"]).mean)


def test_a_class_is_compared_with_its_real_pictures_and_with_the_other_classes():
    diversity = Diversity.compare(
        {0: 6.0, 1: 1.0, 2: 5.0, 3: 9.0}, {0: 5.0, 1: 5.0, 2: 0.0}, ["cat", "frog", "flat", "one"]
    )
    assert diversity == Diversity(1.2, {"cat": 1.2, "frog": 0.2})
    assert diversity.alike == ["frog"]
    assert Diversity(0.3, {"cat": 0.4, "frog": 0.2}).alike == []  # blurred pictures of every class


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
    assert [watch.check(Diversity(ratio), step, 1000) for ratio in ratios] == kept
    assert watch.is_collapsed is is_collapsed


@pytest.mark.parametrize(
    ("shares", "step", "alike"),
    [
        ([0.1, 0.1, 0.1], 500, ["frog"]),
        ([0.1, 0.1], 500, []),
        ([0.1, 0.1, 0.9, 0.1], 500, []),  # it recovered
        ([0.1, 0.1, 0.1], 100, []),  # too early to expect anything
    ],
)
def test_a_lost_class_is_said_and_the_others_are_kept(shares, step, alike):
    watch = Watch()
    for share in shares:
        assert watch.check(Diversity(0.9, {"cat": 1.0, "dog": 1.0, "frog": share}), step, 1000)
    assert watch.alike_classes == alike
    assert not watch.is_collapsed


def test_a_lost_class_is_named():
    assert "within frog, automobile:" in alike_words(["frog", "automobile"])
