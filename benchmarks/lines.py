"""The lines benchmark of interpolation: Berthelot et al. 2018 (arXiv 1807.07543), section 4.1.

The data are pictures of one line from the centre to the edge at any angle, so it is known what lies between two of
them: the lines at the angles between, in equal steps.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

SIZE = 32  # px
RADIUS = 15.0  # px, of the line from the centre, so that it ends inside the picture
THICKNESS = 2.0  # px
REFERENCES = 10_000  # angles that a picture is compared with
CHUNK = 512  # pictures compared at once

Floats = NDArray[np.floating]


def draw_lines(angles: Floats, size: int = SIZE) -> NDArray[np.float32]:
    """Draw one line per angle, in radians from the right, clockwise. (N,) -> (N, S, S) in [-1, 1], -1 the ground.

    A pixel's ink falls from 1 to 0 over one pixel around the line's edge.
    """
    places = np.arange(size, dtype=np.float32) + np.float32(0.5 - size / 2)
    angles = angles.astype(np.float32)
    across, down = np.meshgrid(places, places)
    cosine, sine = np.cos(angles)[:, None, None], np.sin(angles)[:, None, None]
    along = np.clip(across * cosine + down * sine, 0, RADIUS * size / SIZE)
    distance = np.hypot(across - along * cosine, down - along * sine)
    ink = np.clip(THICKNESS / 2 + 0.5 - distance, 0, 1)
    return (2 * ink - 1).astype(np.float32)


def nearest_lines(pictures: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return cosine distance and angle of the nearest of 10,000 lines. (N, S, S) -> (N,), (N,)."""
    angles = np.arange(REFERENCES) * (2 * np.pi / REFERENCES)
    references = _references(pictures.shape[-1])
    distances, nearest = np.empty(len(pictures)), np.empty(len(pictures), dtype=np.int64)
    for begin in range(0, len(pictures), CHUNK):
        part = slice(begin, begin + CHUNK)
        likeness = _unit_rows(pictures[part]) @ references.T
        nearest[part] = likeness.argmax(axis=1)
        distances[part] = 1 - likeness.max(axis=1)
    return distances, angles[nearest]


@cache
def _references(size: int) -> Floats:
    """Return the true lines as unit vectors. -> (10,000, S * S)."""
    return _unit_rows(draw_lines(np.arange(REFERENCES) * (2 * np.pi / REFERENCES), size))


def _unit_rows(pictures: NDArray[np.float32]) -> Floats:
    rows = pictures.reshape(len(pictures), -1)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def roughness(angles: Floats) -> Floats:
    """Return the paper's smoothness of each path, 0 for equal steps, up to 1 - 1/(M-1) for one jump.

    The largest change of the angle between two neighbours, as a share of the change from end to end, less 1/(M-1).
    (N, M) angles -> (N,); NaN where both ends have the same angle.
    """
    turned = np.unwrap(angles, axis=1)
    whole = np.abs(turned[:, -1] - turned[:, 0])
    largest = np.abs(np.diff(turned, axis=1)).max(axis=1)
    share = np.divide(largest, whole, out=np.full(len(angles), np.nan), where=whole >= 1e-4)
    return share - 1 / (angles.shape[1] - 1)


def score_paths(paths: NDArray[np.float32]) -> tuple[float, float]:
    """Return mean distance and mean smoothness of interpolations. (N, M, S, S) -> two numbers, both best at 0."""
    count, frames = paths.shape[:2]
    distances, angles = nearest_lines(paths.reshape(count * frames, *paths.shape[2:]))
    return float(distances.mean()), float(np.nanmean(roughness(angles.reshape(count, frames))))
