"""Exact and near duplicates, found without comparing all with all."""

import numpy as np
import pandas as pd
import pytest

from competition.data import duplicates
from competition.data.duplicates import Groups, equal_rows, join_equal, join_near, near_pairs


def make_facts(hashes: np.ndarray, small: np.ndarray) -> pd.DataFrame:
    """Facts of images that are all different, with given hashes and thumbnails."""
    return pd.DataFrame(
        {
            "error": [""] * len(hashes),
            "contrast": np.full(len(hashes), 50.0),
            "pixel_hash": np.arange(len(hashes), dtype=np.uint64),
            "perceptual_hash": hashes,
            "thumbnail": [row.tobytes() for row in small],
        }
    )


def random_facts(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2**64, count, dtype=np.uint64), rng.integers(0, 256, (count, 192), dtype=np.uint8)


def test_union_find() -> None:
    groups = Groups(6)
    groups.join(5, 4)
    groups.join(4, 2)
    assert groups.numbers().tolist() == [0, 1, 2, 3, 2, 2]
    join_equal(groups, pd.Series(["a", None, "b", "a", "b", None], dtype=object))
    assert groups.numbers().tolist() == [0, 1, 2, 0, 2, 2]


def test_equal_rows_ignore_missing_keys() -> None:
    keys = pd.Series(["b", "a", None, "b", None, "a", "c"], dtype=object)
    assert [rows.tolist() for rows in equal_rows(keys)] == [[0, 3], [1, 5]]


def test_near_means_both_hash_and_thumbnail() -> None:
    hashes, small = random_facts(6)
    hashes[1] = hashes[0] ^ np.uint64(0b1111)  # 4 bits and the same thumbnail: near
    hashes[2] = hashes[0] ^ np.uint64(0x1F0)  # 5 bits: not
    hashes[3] = hashes[4]  # the same hash, another thumbnail: not
    small[1] = small[2] = small[0]
    assert near_pairs(make_facts(hashes, small)).tolist() == [[0, 1]]


def test_every_pair_within_four_bits_is_found() -> None:
    rng = np.random.default_rng(1)
    hashes, small = random_facts(2000)
    for row in range(0, 2000, 2):  # four bits anywhere
        bits = rng.choice(64, 4, replace=False).astype(np.uint64)
        hashes[row + 1] = hashes[row] ^ np.bitwise_or.reduce(np.uint64(1) << bits)
        small[row + 1] = small[row]
    pairs = near_pairs(make_facts(hashes, small))
    assert sorted(map(tuple, pairs.tolist())) == [(row, row + 1) for row in range(0, 2000, 2)]


def test_flat_damaged_and_exact_ones_are_left_out() -> None:
    hashes, small = random_facts(4)
    hashes[:], small[:] = hashes[0], small[0]
    facts = make_facts(hashes, small)
    facts.loc[0, "error"] = "truncated"
    facts.loc[1, "contrast"] = 0.0
    facts["pixel_hash"] = np.array([0, 1, 2, 2], dtype=np.uint64)
    assert len(near_pairs(facts)) == 0


def test_a_chain_does_not_become_one_group() -> None:
    steps = 200  # each frame is near the next; the ends have nothing in common
    ramp = np.linspace(0, 1, steps)[:, None]
    _, ends = random_facts(2)
    small = np.rint(ends[0] * (1 - ramp) + ends[1] * ramp).astype(np.uint8)
    facts = make_facts(np.zeros(steps, np.uint64), small)
    groups = Groups(steps)
    join_near(groups, facts)
    sizes = np.unique(groups.numbers(), return_counts=True)[1]
    assert 1 < sizes.max() < steps / 2


def test_a_hundred_thousand_images_are_not_compared_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, distances = [], duplicates._distances

    def count(hashes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        compared.append(len(pairs))
        return distances(hashes, pairs)

    monkeypatch.setattr(duplicates, "_distances", count)
    hashes, small = random_facts(100_000)
    hashes[:30_000] &= np.uint64(0xFFFF)  # crowded bands
    hashes[-1], small[-1] = hashes[-2], small[-2]
    pairs = near_pairs(make_facts(hashes, small))
    assert [99_998, 99_999] in pairs.tolist()
    assert sum(compared) < 100 * len(hashes)  # all with all: 50,000 for each
    assert duplicates.HASH_DISTANCE < duplicates.BANDS  # what makes the search complete
