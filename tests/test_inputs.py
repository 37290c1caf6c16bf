"""Which images a fold trains on, where it is a share of them."""

import numpy as np
import pytest

from competition.data.loader import image_keys
from competition.training.inputs import stratified_share

ROWS = np.arange(0, 200, 2)  # 80 images of one class, 18 of another, 2 of a third
LABELS = np.repeat([0, 1, 2], [80, 18, 2])
KEYS = image_keys([f"image {row}" for row in ROWS])


@pytest.mark.parametrize(
    ("share", "counts"), [(1.0, [80, 18, 2]), (0.5, [40, 9, 1]), (0.2, [16, 4, 1]), (1e-6, [1, 1, 1])]
)
def test_a_share_of_each_class_and_at_least_one(share, counts):
    kept = stratified_share(ROWS, LABELS, KEYS, share, seed=0)
    assert np.bincount(LABELS[kept // 2]).tolist() == counts
    assert (np.diff(kept) > 0).all()


def test_a_share_depends_on_the_seed_and_the_names_alone():
    kept = set(stratified_share(ROWS, LABELS, KEYS, 0.5, seed=0))
    order = np.random.default_rng(0).permutation(len(ROWS))
    assert set(stratified_share(ROWS[order], LABELS[order], KEYS[order], 0.5, seed=0)) == kept
    assert set(stratified_share(ROWS, LABELS, KEYS, 0.5, seed=1)) != kept
    assert set(stratified_share(ROWS, LABELS, KEYS, 0.2, seed=0)) < kept
