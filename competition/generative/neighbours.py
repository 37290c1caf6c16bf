"""Memorised or new? How near generated images lie to the training images, beside real images nobody trained on."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from competition.generative.distances import Features
from competition.generative.image_sets import Decoded
from competition.generative.sheets import Pixels, tile

CHUNK = 1_000  # queries whose distances are held at once
SHOWN_PAIRS = 24
SHEET_COLUMNS = 12
CERTAIN = 3.0  # standard deviations from which the rank test is taken for more than chance
COPY_SHARE = 0.01  # share of real images that lie as near by chance: the yardstick of a copy


@dataclass(frozen=True)
class Pairs:
    """Images, each with the training image that lies nearest to it by the features.

    Attributes:
        images: N of them.
        trained: the M training images that were searched.
        distance: (N,) to the nearest, in the features' units.
        which: (N,) its position among the M.
    """

    images: Decoded
    trained: Decoded
    distance: NDArray[np.float32]
    which: NDArray[np.int64]


@dataclass(frozen=True)
class Nearness:
    """Distances to the nearest training image.

    Attributes:
        searched: training images searched.
        generated_median, real_median: of the distances, in the features' units.
        nearer: chance that a generated image lies nearer than a real one not trained on; 0.5 for new ones.
        z: Mann-Whitney's U as standard deviations from chance, negative where generated images lie nearer; the C_T
            of Meehan et al. 2020, arXiv 2004.05675, over the whole space.
        copies: share of generated images nearer than the nearest hundredth of the real ones.
        is_memorised: whether they lie nearer on the whole, or more of them that near, than chance would have it.
    """

    searched: int
    generated_median: float
    real_median: float
    nearer: float
    z: float
    copies: float
    is_memorised: bool

    def in_words(self) -> str:
        """Return one sentence with the verdict."""
        figures = (
            f"a generated image lies nearer to the training images than a real one not trained on in "
            f"{self.nearer:.0%} of pairs (50 % would be chance), and {self.copies:.1%} lie as near as the nearest "
            f"{COPY_SHARE:.0%} of real ones"
        )
        if self.is_memorised:
            return f"memorised in part: {figures}; look at the pairs"
        if self.z > CERTAIN:
            return f"new, but farther from the data than real images are: {figures}"
        return f"new: {figures}"


def nearest(queries: Features, references: Features) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return distance and position of the nearest reference. (N, D), (M, D) -> (N,), (N,)."""
    other = torch.from_numpy(references)
    found = [torch.cdist(part, other).min(dim=1) for part in torch.from_numpy(queries).split(CHUNK)]
    return torch.cat([one.values for one in found]).numpy(), torch.cat([one.indices for one in found]).numpy()


def compare_nearness(generated: NDArray[np.floating], real: NDArray[np.floating], searched: int) -> Nearness:
    """Compare distances to the nearest training image. (N,), (M,)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([generated, real]))
    n, m = len(generated), len(real)
    above = ranks[:n].sum() - n * (n + 1) / 2  # pairs in which the generated image lies farther; ties count half
    spread = np.sqrt(n * m * (n + m + 1) / 12)
    z = float((above - n * m / 2) / spread)
    copies = float((generated < np.quantile(real, COPY_SHARE)).mean())
    # Both the share and the quantile it is counted from are uncertain: a spread of sqrt(2 share / images) together.
    most_by_chance = COPY_SHARE + CERTAIN * np.sqrt(2 * COPY_SHARE / min(n, m))
    return Nearness(
        searched=searched,
        generated_median=float(np.median(generated)),
        real_median=float(np.median(real)),
        nearer=float(1 - above / (n * m)),
        z=z,
        copies=copies,
        is_memorised=bool(z < -CERTAIN or copies > most_by_chance),
    )


def pair_sheet(pairs: Pairs) -> Pixels:
    """Draw the nearest pairs, nearest first: a row of generated pictures above the training images nearest to them."""
    first = np.argsort(pairs.distance, kind="stable")[:SHOWN_PAIRS]
    parts = []
    for begin in range(0, len(first), SHEET_COLUMNS):
        part = first[begin : begin + SHEET_COLUMNS]
        rows = []
        for pictures in (pairs.images.gather(part), pairs.trained.gather(pairs.which[part])):
            blank = np.full((SHEET_COLUMNS - len(part), *pictures.shape[1:]), 255, np.uint8)
            rows.append(np.concatenate([pictures, blank]))
        sheet = tile(np.concatenate(rows), SHEET_COLUMNS)
        parts += [sheet, np.full_like(sheet[: len(sheet) // 8], 255)]  # white between one two rows and the next
    return np.concatenate(parts[:-1])
