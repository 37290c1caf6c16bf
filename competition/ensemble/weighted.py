"""Weights by coordinate ascent on macro F1, which is followed on confusion counts.

Along one member's weight every class of a row is a straight line, and the winner is their upper envelope: a row whose
winner is the same at both ends keeps it in between. Only the other rows are looked at for each weight on the grid, and
their counts are added to those of the settled ones (the line search of Och, Minimum error rate training, ACL 2003).
"""

import numpy as np
from numpy.typing import NDArray

from competition.ensemble.shortlist import Shortlist, best_of, best_singles

MOST_MEMBERS = 24  # the best by themselves; more weights than this fit noise
SWEEPS = 4
# Shares of the total weight that are tried for one member.
SHARES = np.array([0, 0.02, 0.04, 0.07, 0.1, 0.14, 0.18, 0.23, 0.28, 0.34, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])


def fit_weighted(shortlist: Shortlist, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return weights that add up to 1, by macro F1 on some rows. -> (M,)."""
    chosen = best_singles(shortlist, rows, MOST_MEMBERS)
    members = np.ascontiguousarray(shortlist.values[rows][:, :, chosen].transpose(2, 0, 1))  # (m, R, C)
    weights = np.full(len(chosen), 1 / len(chosen))
    for _ in range(SWEEPS):
        before = weights.copy()
        for number in range(len(chosen)):
            weights = _search_line(shortlist, rows, members, weights, number)
        if np.array_equal(before, weights):
            break
    result = np.zeros(shortlist.values.shape[2])
    result[chosen] = weights
    return result


def _search_line(
    shortlist: Shortlist,
    rows: NDArray[np.intp],
    members: NDArray[np.float32],
    weights: NDArray[np.float64],
    number: int,
) -> NDArray[np.float64]:
    """Return the weights after the best change of one of them; the present weight wins a tie."""
    others = weights.copy()
    others[number] = 0
    if others.sum() == 0:
        return weights
    others /= others.sum()
    totals = np.tensordot(others.astype(np.float32), members, 1)  # (R, C)
    shares = np.sort(np.append(SHARES, weights[number]))
    scores = score_line(shortlist, rows, totals, members[number], shares / (1 - shares))
    # A peak of one grid point is luck: neighbours have a say.
    smooth = np.convolve(np.pad(scores, 1, mode="edge"), [0.25, 0.5, 0.25], mode="valid")
    present = int(np.searchsorted(shares, weights[number]))
    best = int(smooth.argmax())
    if smooth[best] <= smooth[present] + 1e-9:
        return weights
    others *= 1 - shares[best]
    others[number] = shares[best]
    return others


def score_line(
    shortlist: Shortlist,
    rows: NDArray[np.intp],
    totals: NDArray[np.float32],
    member: NDArray[np.float32],
    factors: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return macro F1 of ``totals + factor * member`` for ascending factors. (R,), (R, C), (R, C), (G,) -> (G,)."""
    first = shortlist.winners(rows, totals + np.float32(factors[0]) * member)
    last = shortlist.winners(rows, totals + np.float32(factors[-1]) * member)
    moving = np.flatnonzero(first != last)
    settled = np.flatnonzero(first == last)
    additions = member[moving][:, :, None] * factors.astype(np.float32)
    winners = best_of(shortlist.classes[rows[moving]], totals[moving], additions)
    counts = shortlist.count(rows[moving], winners) + shortlist.count(rows[settled], first[settled][:, None])
    return counts.macro_f1(shortlist.true_counts(rows))
