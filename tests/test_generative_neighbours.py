"""Memorised or new: nearest images by hand, the rank test against scipy's, copies found, the sheet of pairs."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from competition.generative.neighbours import CHUNK, SHEET_COLUMNS, Pairs, compare_nearness, nearest, pair_sheet


def test_nearest_by_hand():
    queries = np.array([[0, 0], [10, 0]], dtype=np.float32)
    references = np.array([[9, 0], [3, 4], [0, 6]], dtype=np.float32)
    distance, which = nearest(queries, references)
    assert distance == pytest.approx([5, 1])
    assert which.tolist() == [1, 0]


def test_nearest_takes_any_number_of_queries():
    queries = np.arange(CHUNK + 5, dtype=np.float32)[:, None]
    distance, which = nearest(queries, queries)
    assert which.tolist() == list(range(CHUNK + 5))
    assert distance.max() == 0


def test_the_rank_test_is_mann_whitney():
    rng = np.random.default_rng(0)
    generated, real = rng.normal(5, 1, 80), rng.normal(5.5, 1, 60)
    found = compare_nearness(generated, real, searched=1000)
    u = mannwhitneyu(generated, real).statistic
    assert found.nearer == pytest.approx(1 - u / (80 * 60))
    assert found.z == pytest.approx((u - 2400) / np.sqrt(80 * 60 * 141 / 12))
    assert found.searched == 1000


@pytest.mark.parametrize(
    ("shift", "said"), [(0.0, "new: "), (-1.0, "memorised in part: "), (1.0, "new, but farther from the data")]
)
def test_the_verdict(shift, said):
    rng = np.random.default_rng(1)
    found = compare_nearness(rng.normal(5 + shift, 1, 300), rng.normal(5, 1, 300), searched=10)
    assert found.in_words().startswith(said)


def test_copies_are_those_nearer_than_a_hundredth_of_real_ones():
    real = np.linspace(1, 2, 101)  # the nearest hundredth lies at 1.01
    generated = np.concatenate([np.zeros(25), np.full(75, 1.5)])
    assert compare_nearness(generated, real, searched=10).copies == 0.25


def test_a_few_copies_among_far_images_are_noticed():
    rng = np.random.default_rng(2)
    real, far = rng.normal(5, 1, 300), rng.normal(6, 1, 300)
    assert not compare_nearness(far, real, searched=10).is_memorised
    far[:30] = 0.001
    found = compare_nearness(far, real, searched=10)
    assert found.z > 0  # on the whole they lie farther
    assert found.in_words().startswith("memorised in part")


def test_equal_distances_are_no_evidence():
    found = compare_nearness(np.ones(50), np.ones(50), searched=10)
    assert (found.nearer, found.z, found.copies) == (0.5, 0.0, 0.0)


def side(values):
    pictures = np.stack([np.full((4, 4, 3), value, np.uint8) for value in values])
    return SimpleNamespace(gather=lambda positions: pictures[np.asarray(positions)])


def test_pairs_stand_nearest_first_above_one_another():
    distance, which = np.array([3.0, 1.0, 2.0]), np.array([0, 1, 0])
    sheet = pair_sheet(Pairs(side([10, 20, 30]), side([40, 50]), distance, which))
    zoom = 4
    step = (4 + 2) * zoom
    centres = [2 * zoom + 2 * zoom + step * column for column in range(SHEET_COLUMNS)]
    assert sheet[centres[0], centres[:3], 0].tolist() == [20, 30, 10]
    assert sheet[centres[0] + step, centres[:3], 0].tolist() == [50, 40, 40]
    assert (sheet[centres[0], centres[3:]] == 255).all()  # nothing where there are no pairs


def test_a_pair_is_nearer_to_its_own_than_to_the_next_row_of_pairs():
    count = SHEET_COLUMNS + 1
    sheet = pair_sheet(Pairs(side([10] * count), side([20]), np.ones(count), np.zeros(count, int)))
    edges = np.flatnonzero(np.diff(sheet[:, 16, 0] != 255))  # of the first column: each picture's top and bottom
    within, between, within_next = np.diff(edges)[1::2]
    assert between > 2 * within == 2 * within_next
