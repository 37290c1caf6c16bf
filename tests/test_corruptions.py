"""Small changes of a picture, and the filter of width w / 75."""

import numpy as np
import pytest

from competition.analysis.corruptions import CORRUPTIONS, Effect, kernel_of, smoothed, worst

PICTURE = np.random.default_rng(0).integers(40, 200, (32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize(("width", "side"), [(32, 0), (64, 1), (112, 1), (113, 2), (300, 4), (1024, 14)])
def test_the_kernel_is_the_integer_nearest_to_a_75th_of_the_width(width, side):
    assert kernel_of(width) == side


@pytest.mark.parametrize("side", [0, 1])
def test_a_kernel_of_one_pixel_changes_nothing(side):
    assert smoothed(PICTURE, side) is PICTURE


@pytest.mark.parametrize("side", [2, 3, 4, 7])
def test_smoothing_lowers_the_contrast_and_keeps_the_mean(side):
    found = smoothed(PICTURE, side)
    assert found.std() < 0.8 * PICTURE.std()
    assert abs(float(found.mean()) - float(PICTURE.mean())) < 2


def test_smoothing_is_the_gaussian_of_its_size():
    import cv2

    assert (
        np.abs(
            smoothed(PICTURE, 5).astype(int) - cv2.GaussianBlur(PICTURE, (5, 5), 1.1, borderType=cv2.BORDER_REPLICATE)
        ).max()
        <= 1
    )


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_corruption_changes_the_picture_keeps_its_form_and_repeats(name):
    before = PICTURE.copy()
    found = CORRUPTIONS[name](PICTURE, 3)
    assert found.shape == PICTURE.shape
    assert found.dtype == np.uint8
    assert not np.array_equal(found, PICTURE)
    assert np.array_equal(found, CORRUPTIONS[name](PICTURE, 3))
    assert np.array_equal(before, PICTURE)


def test_the_worst_is_the_costliest_but_never_the_mirror():
    effects = [Effect("mirrored", 0.1, -0.8), Effect("no colour", 0.6, -0.3), Effect("noise", 0.8, -0.1)]
    assert worst(effects).name == "no colour"
    assert worst([]) is None
