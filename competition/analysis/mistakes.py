"""Where a run errs: which classes it confuses, which images cost most, which labels look wrong."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.analysis.extras import require
from competition.errors import counted
from competition.predictions import Predictions

LEAST_SKILL = 0.6  # part of the way from chance to all right; 0.8 right of two classes, 0.604 of a hundred


def similarity_order(counts: metrics.Counts) -> list[int]:
    """Return class numbers with classes that are confused next to one another. (K, K) -> K numbers.

    Average linkage on how often two classes are taken for one another, its leaves ordered optimally (Bar-Joseph et al.
    2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(counts) < 3:
        return list(range(len(counts)))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    both = shares + shares.T
    distances = 2.0 - np.minimum(both, 2.0)
    np.fill_diagonal(distances, 0.0)
    tree = linkage(squareform(distances, checks=False), "average", optimal_ordering=True)
    return [int(number) for number in leaves_list(tree)]


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes that are taken for one another."""

    first: int
    second: int
    first_as_second: int  # images
    second_as_first: int

    @property
    def images(self) -> int:
        """Images of either class taken for the other."""
        return self.first_as_second + self.second_as_first


def confused_pairs(counts: metrics.Counts, limit: int) -> list[ConfusedPair]:
    """Return the pairs of classes with the most images taken for one another, most first."""
    both = np.triu(counts + counts.T, k=1)
    order = np.argsort(-both, axis=None, kind="stable")[:limit]
    cells = [divmod(int(cell), len(counts)) for cell in order]
    return [ConfusedPair(a, b, int(counts[a, b]), int(counts[b, a])) for a, b in cells if both[a, b]]


def true_probabilities(predictions: Predictions) -> NDArray[np.float32]:
    """Return the probability of each image's own label. -> (N,)."""
    assert predictions.labels is not None
    return predictions.probabilities[np.arange(len(predictions.labels)), predictions.labels]


def top_losses(predictions: Predictions, limit: int) -> list[int]:
    """Return the misclassified images with the least probability of their label, least first."""
    own = true_probabilities(predictions)
    wrong = np.flatnonzero(predictions.probabilities.argmax(axis=1) != predictions.labels)
    return [int(row) for row in wrong[np.argsort(own[wrong], kind="stable")[:limit]]]


def is_worth_asking(accuracy: float, classes: int) -> bool:
    """Return whether a network is good enough to doubt labels; a weaker one doubts mostly right ones.

    What it has right by chance, one image in as many as there are classes, is no reason to believe it.
    """
    chance = 1 / classes
    return accuracy >= chance + LEAST_SKILL * (1 - chance)


def look_wrong(count: int) -> str:
    """Return ``1 label looks wrong``, ``1,234 labels look wrong``."""
    return f"{counted(count, 'label')} {'looks' if count == 1 else 'look'} wrong"


def likely_wrong_labels(predictions: Predictions) -> list[int]:
    """Return the images whose label is likely wrong, the likeliest first (confident learning, Northcutt et al. 2021).

    Raises:
        UserError: cleanlab is not installed.
    """
    require("cleanlab", "the search for wrong labels")
    from cleanlab.filter import find_label_issues

    present = np.unique(predictions.labels)  # type: ignore[arg-type]
    if len(present) < 2:
        return []
    # cleanlab needs every class to occur; one without an image cannot have a wrong label.
    labels = np.searchsorted(present, predictions.labels)  # type: ignore[arg-type]
    probabilities = predictions.probabilities[:, present].astype(np.float64)
    probabilities /= np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    found = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    return [int(row) for row in found]


def examples_of(predictions: Predictions, true: int, predicted: int, limit: int) -> list[int]:
    """Return images of one class that were predicted as another (or the same), the surest first."""
    answers = predictions.probabilities.argmax(axis=1)
    rows = np.flatnonzero((predictions.labels == true) & (answers == predicted))
    return [int(row) for row in rows[np.argsort(-predictions.probabilities[rows, predicted], kind="stable")[:limit]]]
