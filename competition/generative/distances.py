"""How far apart two sets of images are: features -> statistics -> distance, by torch-fidelity's own functions.

Frechet distance (Heusel et al. 2017, arXiv 1706.08500), kernel distance (Binkowski et al. 2018, arXiv 1801.01401),
precision and recall (Kynkaanniemi et al. 2019, arXiv 1904.06991). What they are worth hangs on the features.
"""

from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from numpy.typing import NDArray

FEWEST_IMAGES = 50  # of a side; below, every number here is noise
FEWEST_FOR_FRECHET = 2_000  # below, the Frechet distance is mostly bias
SUBSETS = 100  # as published
CLASS_SUBSETS = 20  # of one class
SUBSET_SIZE = 1_000  # as published; half the images where there are fewer than twice as many
NEIGHBOURHOOD = 3
DISTANCE_BATCH = 2_000  # rows of the distance matrix held at once

Features = NDArray[np.float32]


@dataclass(frozen=True)
class Statistics:
    """Mean (D,) and covariance (D, D) of features, float64."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True)
class Distances:
    """What two sets of equal size are to each other.

    Attributes:
        frechet: Frechet distance of two Gaussians; 0 for equal ones, biased upwards for few images.
        kernel: squared kernel distance, unbiased: around 0, also below, for two sets of one kind.
        kernel_spread: its standard deviation over subsets.
        precision: share of the generated images that lie among the real ones.
        recall: share of the real images that lie among the generated ones.
    """

    frechet: float
    kernel: float
    kernel_spread: float
    precision: float
    recall: float


def is_available() -> bool:
    """Return whether torch-fidelity is installed."""
    return find_spec("torch_fidelity") is not None


def statistics(features: Features) -> Statistics:
    """Return mean and covariance. (N, D) -> (D,), (D, D)."""
    from torch_fidelity.metric_fid import fid_features_to_statistics  # late: an extra

    found = fid_features_to_statistics(_tensor(features))
    return Statistics(found["mu"], found["sigma"])


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    first, second = ({"mu": side.mean, "sigma": side.covariance} for side in (one, other))
    return float(fid_statistics_to_metric(first, second, verbose=False)[KEY_METRIC_FID])


def kernel_distance(generated: Features, real: Features, seed: int = 0, subsets: int = SUBSETS) -> tuple[float, float]:
    """Return the mean and the spread over subsets of the squared kernel distance, kernel (x.y / D + 1)^3."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    found = kid_features_to_metric(
        _tensor(generated),
        _tensor(real),
        kid_subsets=subsets,
        kid_subset_size=subset_size(min(len(generated), len(real))),
        rng_seed=seed,
        verbose=False,
    )
    return float(found[KEY_METRIC_KID_MEAN]), float(found[KEY_METRIC_KID_STD])


def subset_size(images: int) -> int:
    """Return how many images of each side one subset of the kernel distance takes."""
    return min(SUBSET_SIZE, images // 2)


def precision_recall(generated: Features, real: Features) -> tuple[float, float]:
    """Return the shares of one set that lie within the third-neighbour balls of the other."""
    from torch_fidelity.metric_prc import KEY_METRIC_PRECISION, KEY_METRIC_RECALL, prc_features_to_metric

    found = prc_features_to_metric(
        _tensor(generated),
        _tensor(real),
        prc_neighborhood=NEIGHBOURHOOD,
        prc_batch_size=DISTANCE_BATCH,
        save_cpu_ram=True,
        verbose=False,
    )
    return float(found[KEY_METRIC_PRECISION]), float(found[KEY_METRIC_RECALL])


def distances(generated: Features, real: Features, seed: int = 0) -> Distances:
    """Return everything about two sets of N images each. (N, D), (N, D)."""
    frechet = frechet_distance(statistics(generated), statistics(real))
    return Distances(frechet, *kernel_distance(generated, real, seed), *precision_recall(generated, real))


def _tensor(features: Features) -> torch.Tensor:
    return torch.from_numpy(features.astype(np.float64))
