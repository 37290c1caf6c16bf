"""Pictures of pictures: grids as PNG, and curves of losses."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from competition.data.decode import to_png
from competition.runs import write_atomically

GAP = 2  # px of white between two pictures
LARGEST_ZOOM = 4
SHEET_SIDE = 1200  # px; small pictures are enlarged while the sheet stays under it
CURVE_HEIGHT, CURVE_WIDTH, MARGIN = 240, 720, 36  # px, of one loss's panel
COLOUR, DOT = (31, 95, 180), 3  # of its curve; radius in px of what stands for a curve of one point
NO_LOSSES = {"step", "epoch", "images", "learning_rate", "seconds", "images_per_second"}  # of a history's records

Pixels = NDArray[np.uint8]


def write_png(path: Path, picture: Pixels) -> None:
    """Write one picture, whole or not at all. (H, W, 3) uint8 RGB."""
    write_atomically(path, to_png(picture))


def tile(pictures: Pixels, columns: int) -> Pixels:
    """Lay pictures out in rows. (N, S, S, 3) -> one picture, enlarged by a whole factor where there is room."""
    count, side = pictures.shape[:2]
    rows = -(-count // columns)
    step = side + GAP
    sheet = np.full((rows * step + GAP, columns * step + GAP, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = (number // columns) * step + GAP, (number % columns) * step + GAP
        sheet[top : top + side, left : left + side] = picture
    return enlarge(sheet, max(1, min(LARGEST_ZOOM, SHEET_SIDE // max(sheet.shape[:2]))))


def enlarge(picture: Pixels, factor: int) -> Pixels:
    """Repeat every pixel. (H, W, 3) -> (factor H, factor W, 3)."""
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def loss_columns(history: list[dict[str, Any]]) -> list[str]:
    """Return the names of the losses in a history, in the order they first appear."""
    return list(dict.fromkeys(name for record in history for name in record if name not in NO_LOSSES))


def write_losses(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write ``losses.csv`` and ``losses.png`` from a history; an empty history writes nothing."""
    names = loss_columns(history)
    if not names:
        return
    lines = [",".join(["step", *names])]
    lines += [",".join(str(record.get(name, "")) for name in ["step", *names]) for record in history]
    write_atomically(folder / "losses.csv", "\n".join(lines) + "\n")
    panels = [draw_curve(name, [(r["step"], r[name]) for r in history if name in r]) for name in names]
    write_png(folder / "losses.png", np.concatenate(panels))


def draw_curve(title: str, points: list[tuple[float, float]]) -> Pixels:
    """Draw one curve, or its only point, with its title and the ends of both axes. -> (H, W, 3) uint8."""
    panel = np.full((CURVE_HEIGHT, CURVE_WIDTH, 3), 255, np.uint8)
    steps, values = (np.array(column, dtype=np.float64) for column in zip(*points, strict=True))
    values = np.where(np.isfinite(values), values, 0.0)
    low, high = values.min(), values.max()
    across = (steps - steps.min()) / max(np.ptp(steps), 1e-12) * (CURVE_WIDTH - 2 * MARGIN) + MARGIN
    down = CURVE_HEIGHT - MARGIN - (values - low) / max(high - low, 1e-12) * (CURVE_HEIGHT - 2 * MARGIN)
    line = np.rint(np.stack([across, down], axis=1)).astype(np.int32)
    cv2.polylines(panel, [line], isClosed=False, color=COLOUR, thickness=1, lineType=cv2.LINE_AA)
    if len(line) == 1:
        cv2.circle(panel, line[0].tolist(), DOT, COLOUR, cv2.FILLED, cv2.LINE_AA)
    corners = [
        (f"{title}   last {values[-1]:.4g}", MARGIN, 16),
        (f"{high:.4g}", 2, MARGIN - 4),
        (f"{low:.4g}", 2, CURVE_HEIGHT - MARGIN + 14),
        (f"step {steps[-1]:.0f}", CURVE_WIDTH - 110, CURVE_HEIGHT - 8),
    ]
    for text, left, bottom in corners:
        cv2.putText(panel, text, (left, bottom), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (40, 40, 40), 1, cv2.LINE_AA)
    return panel
