"""Arrays to pictures: colour maps that colour-blind eyes can read, overlays, tiles and PNG bytes."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]  # (H, W, 3) RGB; a sheet of several is (H, W, 4), clear between them

GAP = 2  # pixels between tiles
STRENGTH = 0.6  # of colours over a grey picture
# Against, neutral, for: blue and orange stay apart for every common kind of colour blindness.
AGAINST, NEUTRAL, FOR = (33, 102, 172), (247, 247, 247), (230, 97, 1)


def to_bytes(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Round to whole numbers of 0 to 255."""
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def png(picture: Picture) -> bytes:
    """Return the bytes of a PNG."""
    order = [2, 1, 0, 3][: picture.shape[2]]  # OpenCV wants blue first
    return cv2.imencode(".png", picture[..., order], [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def resized(picture: Picture, side: int) -> Picture:
    """Return the picture with its longer side at ``side`` pixels; enlarged pixels stay square."""
    scale = side / max(picture.shape[:2])
    height, width = (max(1, round(length * scale)) for length in picture.shape[:2])
    how = cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA
    return np.ascontiguousarray(cv2.resize(np.ascontiguousarray(picture), (width, height), interpolation=how))


def coloured(values: NDArray[np.floating], limits: tuple[float, float] | None = None) -> Picture:
    """Colour a map (viridis) between limits, else from its lowest to its highest value. (H, W) -> (H, W, 3)."""
    low, high = limits or (float(values.min()), float(values.max()))
    scaled = (values - low) / (high - low) if high > low else np.zeros_like(values)
    return np.array(cv2.applyColorMap(to_bytes(scaled * 255), cv2.COLORMAP_VIRIDIS)[..., ::-1], dtype=np.uint8)


def signed(values: NDArray[np.floating], limit: float) -> Picture:
    """Colour a map of both signs: orange above 0, blue below, white at 0, full at the limit. (H, W) -> (H, W, 3)."""
    part = np.clip(values / (limit or 1.0), -1, 1)[..., None]
    ends = np.where(part > 0, np.array(FOR), np.array(AGAINST))
    return to_bytes(np.array(NEUTRAL) + np.abs(part) * (ends - np.array(NEUTRAL)))


def overlaid(picture: Picture, colours: Picture) -> Picture:
    """Lay colours over the grey picture. (H, W, 3) both."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)[..., None]
    return to_bytes(STRENGTH * colours + (1 - STRENGTH) * grey)


def tiled(pictures: Sequence[Picture], columns: int) -> Picture:
    """Lay pictures of one size out in rows of ``columns``, a clear gap between them. n of (H, W, 3) -> (H', W', 4)."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, 4), np.uint8)
    for place, picture in enumerate(pictures):
        top, left = place // columns * (height + GAP), place % columns * (width + GAP)
        tile = sheet[top : top + height, left : left + width]
        tile[..., :3], tile[..., 3] = picture, 255
    return sheet


def stacked(sheets: Sequence[Picture]) -> Picture:
    """Put sheets below one another, each at the left, a wider gap between them. (H, W, 4) each, and so the whole."""
    gap = 3 * GAP
    width = max(sheet.shape[1] for sheet in sheets)
    whole = np.zeros((sum(sheet.shape[0] + gap for sheet in sheets) - gap, width, 4), np.uint8)
    top = 0
    for sheet in sheets:
        whole[top : top + sheet.shape[0], : sheet.shape[1]] = sheet
        top += sheet.shape[0] + gap
    return whole
