"""Can it be trusted: calibration, and whether the test images are like the training images."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from competition.data.duplicates import thumbnails

BINS = 10
DRAWS = 200  # of answers that are right as often as the probabilities say
NOT_OFF = "not off beyond chance"
MOST_ROWS = 4000  # of each side, for the classifier that tells training from test images
LEAST_ROWS = 40
FOLDS = 5


@dataclass(frozen=True)
class Calibration:
    """How often the network is right when it says that it is p sure. Only bins that hold images are listed.

    Attributes:
        confidence: mean probability of the predicted class in each bin.
        accuracy: share of right answers in each bin.
        images: in each bin.
        error: expected calibration error, the mean distance of the two weighted by images (Guo et al. 2017).
        chance: the error that perfect probabilities stay below in 95 of 100 cases; the fewer images, the larger.
    """

    confidence: list[float]
    accuracy: list[float]
    images: list[int]
    error: float
    chance: float

    @property
    def lean(self) -> float:
        """Mean confidence minus accuracy: above 0 it is too sure, below 0 too modest."""
        weights = np.array(self.images) / sum(self.images)
        return float(weights @ (np.array(self.confidence) - np.array(self.accuracy)))

    @property
    def verdict(self) -> str:
        """In two or three words how the probabilities are off, or that they are not beyond chance."""
        if self.error <= self.chance:
            return NOT_OFF
        if abs(self.lean) <= self.error / 2:
            return "off in both directions"
        return "too sure" if self.lean > 0 else "too modest"


def calibration(probabilities: NDArray[np.float32], labels: NDArray[np.int64]) -> Calibration:
    """Return the calibration of (N, K) probabilities, in bins of equal width of the highest probability."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    is_right = probabilities.argmax(axis=1) == labels
    number = np.minimum((confidence * BINS).astype(int), BINS - 1)
    images = np.bincount(number, minlength=BINS)
    used = images > 0
    mean = np.bincount(number, confidence, BINS)[used] / images[used]
    right = np.bincount(number, is_right, BINS)[used] / images[used]

    def error(right: NDArray[np.float64]) -> float:
        return float(np.abs(mean - right) @ images[used] / len(labels))

    rng = np.random.default_rng(0)
    drawn = [np.bincount(number, rng.random(len(labels)) < confidence, BINS)[used] for _ in range(DRAWS)]
    chance = float(np.quantile([error(hits / images[used]) for hits in drawn], 0.95))
    return Calibration(mean.tolist(), right.tolist(), images[used].tolist(), error(right), chance)


@dataclass(frozen=True)
class Shift:
    """How well a classifier tells test from training images by colour, layout and sharpness.

    Attributes:
        auc: area under its cross-validated ROC curve; 0.5 is chance.
        spread: standard error over the folds.
        sharpness: median of the training images and of the test images, variance of the Laplacian.
        brightness: likewise, mean grey of 0 to 255.
    """

    auc: float
    spread: float
    sharpness: tuple[float, float]
    brightness: tuple[float, float]

    @property
    def is_clear(self) -> bool:
        """Whether the difference is large and beyond chance."""
        return self.auc > 0.6 and self.auc - 3 * self.spread > 0.5


def adversarial_validation(train: pd.DataFrame, test: pd.DataFrame) -> Shift | None:
    """Compare the facts of training and test images, see `ImageStore.facts`; None where either is too few.

    Gradient-boosted trees on thumbnails of 8 x 8 px, brightness, contrast and sharpness, 5 folds.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_score

    train, test = (_thinned(part[(part["error"] == "").to_numpy()]) for part in (train, test))
    if min(len(train), len(test)) < LEAST_ROWS:
        return None
    inputs = np.concatenate([_inputs(train), _inputs(test)])
    is_test = np.repeat([0, 1], [len(train), len(test)])
    model = HistGradientBoostingClassifier(max_iter=40, max_leaf_nodes=8, random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_score(model, inputs, is_test, cv=folds, scoring="roc_auc")
    sharpness, brightness = (
        (float(train[name].median()), float(test[name].median())) for name in ("sharpness", "brightness")
    )
    return Shift(float(scores.mean()), float(scores.std() / np.sqrt(FOLDS)), sharpness, brightness)


def _thinned(facts: pd.DataFrame) -> pd.DataFrame:
    return facts.iloc[:: max(1, -(-len(facts) // MOST_ROWS))]


def _inputs(facts: pd.DataFrame) -> NDArray[np.float32]:
    numbers = [facts["brightness"], facts["contrast"], np.log1p(facts["sharpness"])]
    return np.column_stack([thumbnails(facts), *numbers]).astype(np.float32)
