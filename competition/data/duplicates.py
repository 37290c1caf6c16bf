"""Which images are the same, or nearly so? Hashes bring candidates, thumbnails confirm: 100,000 in seconds."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from competition.data.decode import THUMBNAIL

BANDS = 5  # two 64-bit hashes that differ in at most 4 bits agree in one of 5 bands
HASH_DISTANCE = 4
CROWDED = 200  # images with one band in common; above it only neighbours in hash order are compared
NEIGHBOURS = 16
FLAT_CONTRAST = 2.0  # below it an image has no structure to hash
TOLERANCE = 0.12  # thumbnails may differ by this part of their contrast ...
LEAST_TOLERANCE = 1.5  # ... or by this much on the scale 0..255


class Groups:
    """Union-find over row numbers; the root of a group is its smallest row."""

    def __init__(self, count: int) -> None:
        self.parents = np.arange(count, dtype=np.int64)

    def root(self, row: int) -> int:
        """Return the smallest row of the group."""
        while self.parents[row] != row:
            self.parents[row] = self.parents[self.parents[row]]
            row = int(self.parents[row])
        return row

    def join(self, first: int, second: int) -> None:
        """Merge two groups."""
        low, high = sorted((self.root(first), self.root(second)))
        self.parents[high] = low

    def numbers(self) -> np.ndarray:
        """Return (N,) the root of every row."""
        return np.array([self.root(row) for row in range(len(self.parents))], dtype=np.int64)


def join_equal(groups: Groups, keys: pd.Series) -> None:
    """Join all rows with the same key; rows without one (None, NaN) stay alone."""
    for members in equal_rows(keys):
        for row in members[1:]:
            groups.join(int(members[0]), int(row))


def equal_rows(keys: pd.Series) -> list[np.ndarray]:
    """Return the row numbers of every key that occurs at least twice, in order of appearance."""
    codes = pd.factorize(keys, use_na_sentinel=True)[0]
    order = np.argsort(codes, kind="stable")
    cuts = np.flatnonzero(np.diff(codes[order])) + 1
    starts, stops = np.append(0, cuts), np.append(cuts, len(order))
    repeated = stops - starts > 1  # one image alone, the usual case, costs no Python step
    runs = [order[start:stop] for start, stop in zip(starts[repeated], stops[repeated], strict=True)]
    return sorted((run for run in runs if codes[run[0]] >= 0), key=lambda run: int(run[0]))


def near_pairs(facts: pd.DataFrame) -> np.ndarray:
    """Return (P, 2) row numbers of near-duplicates that are not exact ones, the nearest first.

    A pair has hashes at most ``HASH_DISTANCE`` bits apart and thumbnails that agree. Exact duplicates are
    represented by their first row.
    """
    usable = (facts["error"] == "").to_numpy() & (facts["contrast"].to_numpy() > FLAT_CONTRAST)
    rows = np.flatnonzero(usable & ~facts["pixel_hash"].duplicated().to_numpy())
    if len(rows) < 2:
        return np.empty((0, 2), np.int64)
    hashes = facts["perceptual_hash"].to_numpy(np.uint64)[rows]
    pairs = np.unique(np.sort(np.concatenate(list(_candidates(hashes))), axis=1), axis=0)
    differences, allowed = _compare(thumbnails(facts.iloc[rows]), pairs)
    kept = differences <= allowed
    return rows[pairs[kept][np.argsort(differences[kept], kind="stable")]]


def thumbnails(facts: pd.DataFrame) -> np.ndarray:
    """Return (N, 192) uint8."""
    return np.frombuffer(b"".join(facts["thumbnail"]), np.uint8).reshape(len(facts), THUMBNAIL * THUMBNAIL * 3)


def _distances(hashes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    return np.bitwise_count(hashes[pairs[:, 0]] ^ hashes[pairs[:, 1]])


def _candidates(hashes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield arrays of pairs that agree in one band of the hash and differ in few bits of the whole."""
    edges = np.linspace(0, 64, BANDS + 1).astype(int)
    by_hash = np.argsort(hashes, kind="stable")
    yield np.empty((0, 2), np.int64)
    for start, stop in pairwise(edges.tolist()):
        band = (hashes >> np.uint64(start)) & np.uint64((1 << (stop - start)) - 1)
        order = by_hash[np.argsort(band[by_hash], kind="stable")]  # by band, then by whole hash
        sizes = np.unique(band, return_counts=True)[1]
        # How many later images of its own band each image is compared with.
        places = np.concatenate([np.arange(size) for size in sizes])
        left = np.repeat(sizes, sizes) - 1 - places
        reach = np.where(np.repeat(sizes, sizes) > CROWDED, np.minimum(left, NEIGHBOURS), left)
        for step in range(1, int(reach.max(initial=0)) + 1):
            first = np.flatnonzero(reach >= step)
            pairs = np.stack([order[first], order[first + step]], axis=1)
            yield pairs[_distances(hashes, pairs) <= HASH_DISTANCE]


def _compare(small: np.ndarray, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (P,) mean absolute differences of thumbnails and (P,) what is allowed."""
    differences = np.zeros(len(pairs))
    allowed = np.zeros(len(pairs))
    for start in range(0, len(pairs), 65536):  # bounds memory
        part = pairs[start : start + 65536]
        first, second = small[part[:, 0]].astype(np.float32), small[part[:, 1]].astype(np.float32)
        differences[start : start + len(part)] = np.abs(first - second).mean(axis=1)
        contrast = np.minimum(first.std(axis=1), second.std(axis=1))
        allowed[start : start + len(part)] = np.maximum(LEAST_TOLERANCE, TOLERANCE * contrast)
    return differences, allowed


def join_near(groups: Groups, facts: pd.DataFrame) -> None:
    """Join near-duplicates, see `near_pairs`, nearest first, unless the first images of the two groups differ too much.

    That keeps a chain of small steps (the frames of a long interpolation) from becoming one huge group.
    """
    pairs = near_pairs(facts)
    if not len(pairs):
        return
    small = thumbnails(facts)
    near = Groups(len(facts))
    for first, second in pairs.tolist():
        roots = near.root(first), near.root(second)
        if roots[0] == roots[1]:
            continue
        difference, allowed = _compare(small, np.array([roots]))  # the first image stands for its group
        if difference[0] <= 2 * allowed[0]:
            near.join(first, second)
            groups.join(first, second)
