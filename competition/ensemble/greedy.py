"""Greedy selection with replacement and bagging.

Caruana, Niculescu-Mizil, Crew & Ksikes, Ensemble selection from libraries of models (ICML 2004): start from nothing,
add the member whose addition scores best, as often as it helps; repeat on random halves of the library and average.
Caruana, Munson & Niculescu-Mizil, Getting the most out of ensemble selection (ICDM 2006): the worst of a large library
are left out beforehand, which costs nothing and protects from overfitting.
"""

import numpy as np
from numpy.typing import NDArray

from competition.ensemble.shortlist import Counts, Shortlist, best_singles
from competition.runs import counted_seed

MOST_MEMBERS = 60  # the best by themselves; the rest of a large library is left out
STEPS = 30  # most members, counted with repetition, in one bag
BAGS = 5
WHOLE = 5  # up to so many members one bag holds all of them
MARGIN = 1.001  # for what float32 sums lose


def fit_greedy(shortlist: Shortlist, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return weights that add up to 1, by macro F1 on some rows. -> (M,)."""
    library = np.sort(best_singles(shortlist, rows, MOST_MEMBERS))
    return np.mean([select(shortlist, rows, library[bag]) for bag in bags_of(len(library))], axis=0)


def bags_of(members: int) -> list[NDArray[np.intp]]:
    """Return the members that each bag may choose from: a random half of them, at least five."""
    if members <= WHOLE:
        return [np.arange(members)]
    size = max(-(-members // 2), WHOLE)
    draws = [np.random.default_rng(counted_seed(0, "bag", bag)).permutation(members) for bag in range(BAGS)]
    return [np.sort(draw[:size]) for draw in draws]


def select(
    shortlist: Shortlist, rows: NDArray[np.intp], members: NDArray[np.intp], steps: int = STEPS
) -> NDArray[np.float64]:
    """Return how often each member is picked, over the number of picks. -> (M,).

    Of all lengths on the way, the shortest with the best score is kept. A row whose winner leads by more than the
    largest probability that any member gives it keeps its winner whatever is added: it is counted once for all
    candidates. So later steps look at fewer and fewer rows; the answer is the same.
    """
    bag = shortlist.of_members(members)
    true, reach = bag.true_counts(rows), bag.values.max(axis=(1, 2))[rows] * MARGIN
    totals = np.zeros((len(rows), bag.classes.shape[1]), np.float32)
    picks: list[int] = []
    best_score, best_length = -1.0, 0
    for length in range(1, steps + 1):
        scores = _score_additions(bag, rows, totals, lead(totals) <= reach).macro_f1(true)
        pick = int(scores.argmax())
        picks.append(int(members[pick]))
        totals += bag.values[rows, :, pick]
        if scores[pick] > best_score:
            best_score, best_length = float(scores[pick]), length
    return np.bincount(picks[:best_length], minlength=shortlist.values.shape[2]) / best_length


def _score_additions(
    bag: Shortlist, rows: NDArray[np.intp], totals: NDArray[np.float32], is_open: NDArray[np.bool_]
) -> Counts:
    settled = bag.winners(rows[~is_open], totals[~is_open])[:, None]
    return bag.count_each(rows[is_open], totals[is_open]) + bag.count(rows[~is_open], settled)


def lead(totals: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far the largest value of each row is from the next. (R, C) -> (R,)."""
    two = np.partition(totals, totals.shape[1] - 2, axis=1)
    return two[:, -1] - two[:, -2]
