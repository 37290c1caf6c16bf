"""Small changes of a picture, and the filter of width w / 75."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from competition.analysis import corruptions
from competition.analysis.corruptions import (
    CORRUPTIONS,
    Effect,
    kernel_of,
    measure_corruptions,
    measure_holdout,
    smoothed,
    worst,
)
from competition.analysis.predicting import predict_held_out
from competition.analysis.settings import ReportSettings
from competition.analysis.source import open_source
from tests.finished_run import finished_run  # noqa: F401

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
    effects = [Effect("mirrored", 0.1, -0.8, 9), Effect("no colour", 0.6, -0.3, 9), Effect("noise", 0.8, -0.1, 9)]
    assert worst(effects).name == "no colour"
    assert worst([]) is None


@pytest.fixture
def source(finished_run):  # noqa: F811
    """Return a run with a split kept apart, of whose images the first and no other is wide enough."""
    run, (_, cache) = finished_run
    source = open_source(ReportSettings(cache_dir=cache), str(run), torch.device("cpu"))
    source.store.facts.loc[source.rows[0], "width"] = 300
    table = source.catalog.table.copy()
    table.loc[source.rows[:6], "split"] = "val"
    member = replace(source.member, settings=replace(source.member.settings, holdout=True))
    return replace(source, member=member, catalog=replace(source.catalog, table=table))


def test_one_wide_image_is_enough_to_measure_the_filter_on_few_images(source, monkeypatch):
    monkeypatch.setattr(corruptions, "LARGE_FILES", 12)
    monkeypatch.setattr(corruptions, "CORRUPTIONS", {"no colour": CORRUPTIONS["no colour"]})
    which = np.arange(42)
    effects = measure_corruptions(source, which, predict_held_out(source, which))
    assert [(effect.name, effect.images) for effect in effects] == [("smoothed by width / 75", 12), ("no colour", 42)]
    (effect,) = measure_corruptions(source, which[1:], predict_held_out(source, which[1:]))
    assert effect.name == "no colour"


def test_the_filter_is_measured_on_the_split_that_was_held_out(source):
    plain, changed = measure_holdout(source)
    assert (plain.name, plain.difference, plain.images) == ("as it is", 0, 6)
    assert (changed.name, changed.images) == ("smoothed by width / 75", 6)
    assert changed.macro_f1 == pytest.approx(plain.macro_f1 + changed.difference)
    settings = replace(source.member.settings, holdout=False)
    assert measure_holdout(replace(source, member=replace(source.member, settings=settings))) == []


def test_the_difference_is_that_to_the_same_images_unchanged(monkeypatch):
    labels, right = np.array([0, 1, 0, 1]), np.eye(2, dtype=np.float32)[[0, 1, 0, 1]]
    monkeypatch.setattr(corruptions, "_is_smoothed", lambda source, rows: False)
    monkeypatch.setattr(corruptions, "predict_held_out", lambda source, which, change: 1 - right)
    run = SimpleNamespace(rows=np.arange(4), labels=labels)
    effects = measure_corruptions(run, np.arange(4), right)
    assert {(effect.macro_f1, effect.difference, effect.images) for effect in effects} == {(0.0, -1.0, 4)}
