"""Calibration by hand, and shift between training and test images."""

import numpy as np
import pandas as pd
import pytest

from competition.analysis.trust import adversarial_validation, calibration


def test_calibration_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.62, 0.62])
    probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    found = calibration(probabilities, np.array([0, 0, 0, 1, 0, 1]))
    assert found.images == [2, 4]
    assert found.confidence == pytest.approx([0.62, 0.95])
    assert found.accuracy == pytest.approx([0.5, 0.75])
    assert found.error == pytest.approx((2 * 0.12 + 4 * 0.2) / 6)
    assert found.lean == pytest.approx((2 * 0.12 + 4 * 0.2) / 6)


def test_too_modest_leans_below_zero_and_certainty_has_its_bin():
    found = calibration(np.array([[0.55, 0.45], [1.0, 0.0]], np.float32), np.array([0, 0]))
    assert found.images == [1, 1]
    assert found.lean == pytest.approx(-0.225)


def test_perfect_probabilities_of_few_images_are_not_called_off():
    rng = np.random.default_rng(0)
    verdicts = []
    for _ in range(40):
        confidence = rng.uniform(0.5, 1, 48)
        labels = (rng.random(48) > confidence).astype(np.int64)
        found = calibration(np.stack([confidence, 1 - confidence], axis=1).astype(np.float32), labels)
        assert found.chance > 0.1
        verdicts.append(found.verdict)
    assert verdicts.count("not off beyond chance") >= 34


@pytest.mark.parametrize(
    ("right", "verdict"),
    [
        ((0.55, 0.95), "not off beyond chance"),
        ((0.2, 0.6), "too sure"),
        ((0.9, 1.0), "too modest"),
        ((0.85, 0.65), "off in both directions"),
    ],
)
def test_the_verdict_follows_the_lean_where_that_is_most_of_the_error(right, verdict):
    confidence = np.repeat([0.55, 0.95], 200)
    labels = np.concatenate([np.arange(200) >= 200 * share for share in right]).astype(np.int64)
    probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    assert calibration(probabilities, labels).verdict == verdict


def facts_of(count, sharpness, seed):
    rng = np.random.default_rng(seed)
    thumbnails = rng.integers(0, 256, (count, 192), dtype=np.uint8)
    return pd.DataFrame(
        {
            "error": [""] * count,
            "brightness": thumbnails.mean(axis=1),
            "contrast": thumbnails.std(axis=1),
            "sharpness": sharpness * np.exp(0.3 * rng.standard_normal(count)),
            "thumbnail": pd.Series([row.tobytes() for row in thumbnails], dtype=object),
        }
    )


def test_images_of_one_kind_are_not_told_apart_and_sharper_ones_are():
    train = facts_of(300, 100.0, 0)
    same = adversarial_validation(train, facts_of(200, 100.0, 1))
    assert abs(same.auc - 0.5) < 0.1
    assert not same.is_clear
    sharper = adversarial_validation(train, facts_of(200, 300.0, 2))
    assert sharper.auc > 0.95
    assert sharper.is_clear
    assert sharper.sharpness[1] > 2 * sharper.sharpness[0]


def test_too_few_or_unreadable_images_are_not_compared():
    train, test = facts_of(100, 100.0, 0), facts_of(60, 100.0, 1)
    assert adversarial_validation(train, test.iloc[:39]) is None
    test.loc[:30, "error"] = "empty: 0 bytes"
    assert adversarial_validation(train, test) is None
