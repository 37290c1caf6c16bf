"""Are the predicted classes as often predicted as they were out of fold? Counts in, problems out."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from competition.data.draft import Problem
from competition.errors import counted
from competition.runs import counted_seed

COLLAPSE_CHANCE = 1e-6  # a single class in every row is refused when chance would do it less often
SHARE_CHANCE = 0.001  # shares are far from the out-of-fold ones when chance would do it less often ...
SHARE_MOVED = 0.05  # ... and this part of the rows, beyond what chance moves, changed its class
SHARE_DRAWS = 1999  # random tables that say what chance does


def share_problems(
    labels: list[str], class_names: Sequence[str], out_of_fold: Mapping[str, int] | None
) -> list[Problem]:
    """Return what is wrong with the labels taken together: one class everywhere, or shares far from out-of-fold ones.

    Args:
        labels: (N,) predicted class names.
        class_names: the classes that may be predicted.
        out_of_fold: how often each class was predicted out of fold, or None.
    """
    now, before = Counter(labels), out_of_fold or {}
    names = sorted({*class_names, *now, *before})
    counts, expected = (np.array([count_of.get(name, 0) for name in names], np.int64) for count_of in (now, before))
    if np.count_nonzero(counts) == 1 and len(names) > 1 and len(labels) > 1:
        return [_collapse(names[int(counts.argmax())], counts, expected)]
    if not expected.sum():
        return []
    moved, chance = share_shift(counts, expected)
    if chance >= SHARE_CHANCE or moved <= SHARE_MOVED:
        return []
    told = (
        f"{moved:.0%} of the rows, beyond what chance moves, went to other classes than out of fold "
        f"(p < {SHARE_CHANCE}): the test images differ, or the folds' networks disagree, as after too short a training"
    )
    return [Problem("shares far from the out-of-fold ones", told, _most_moved(names, counts, expected), "warning")]


def _collapse(name: str, counts: np.ndarray, expected: np.ndarray) -> Problem:
    """One class in every row: refused when the out-of-fold shares (without them: equal ones) make it absurd."""
    shares = expected / expected.sum() if expected.sum() else np.full(len(counts), 1 / len(counts))
    chance = float((shares ** counts.sum()).sum())
    told = f"all {counted(int(counts.sum()), 'row')} say {name!r}: macro F1 is at most 1/{len(counts)}"
    severity = "error" if chance < COLLAPSE_CHANCE else "warning"
    advice = "; look at the networks' out-of-fold scores and at the test images"
    return Problem("one class only", told + advice, severity=severity)


def share_shift(counts: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Return (part of the rows that moved to other classes beyond chance, how often chance alone does this).

    Both arguments are (K,) counts. Chance deals all rows anew into two heaps of these sizes; the statistic is
    chi-square of the 2 x K table, so small classes need no approximation (a permutation test).
    """
    pooled, rows = counts + expected, int(counts.sum())
    rng = np.random.default_rng(counted_seed("shares", rows))
    drawn = rng.multivariate_hypergeometric(pooled, rows, size=SHARE_DRAWS)  # (draws, K)
    share = pooled / pooled.sum()
    filled = share > 0

    def chi_square(heap: np.ndarray) -> np.ndarray:
        return np.asarray((((heap - rows * share) ** 2)[..., filled] / share[filled]).sum(axis=-1))

    def part_moved(heap: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(heap / rows - (pooled - heap) / expected.sum()).sum(axis=-1) / 2)

    chance = (1 + np.count_nonzero(chi_square(drawn) >= chi_square(counts))) / (1 + SHARE_DRAWS)
    return float(part_moved(counts) - part_moved(drawn).mean()), float(chance)


def _most_moved(names: Sequence[str], counts: np.ndarray, expected: np.ndarray) -> list[str]:
    here, there = counts / counts.sum(), expected / expected.sum()
    order = np.argsort(-np.abs(here - there), kind="stable")
    return [f"{names[k]!r} {there[k]:.1%} -> {here[k]:.1%}" for k in order if here[k] != there[k]]
