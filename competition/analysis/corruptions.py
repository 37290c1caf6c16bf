"""Small corruptions and the effect of each on macro F1: what a test set made otherwise would cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from competition.analysis.pictures import Picture, to_bytes
from competition.analysis.predicting import Change, evenly, predict_held_out, predict_rows, sample_f1
from competition.analysis.source import Source
from competition.data.decode import decode_pixels, resize_image
from competition.predictions import class_numbers
from competition.runs import counted_seed

SMOOTHED = "smoothed by width / 75"
LARGE_FILES = 200  # are decoded anew for that, at most
WEB_PHOTO = 75  # a picture of w pixels is smoothed over w / 75 of them


def kernel_of(width: int) -> int:
    """Return the side of the smoothing kernel for a picture of ``width`` pixels: the integer nearest to width / 75."""
    return int(width / WEB_PHOTO + 0.5)


def smoothed(picture: Picture, side: int) -> Picture:
    """Smooth with a Gaussian kernel of side x side pixels; a side of 0 or 1 leaves the picture as it is.

    The standard deviation is the one that OpenCV gives a kernel of this size.
    """
    if side < 2:
        return picture
    sigma = 0.3 * ((side - 1) * 0.5 - 1) + 0.8
    line = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / (2 * sigma**2))  # even sides too, which OpenCV refuses
    line /= line.sum()
    return np.asarray(cv2.sepFilter2D(picture, -1, line, line, borderType=cv2.BORDER_REPLICATE), dtype=np.uint8)


def smoothed_files(source: Source) -> Change:
    """Return the change that smooths each file at its own size by w / 75, then shrinks it as in training."""
    paths, facts = source.catalog.table["path"].tolist(), source.store.facts
    widths = facts["width"].to_numpy()
    size, resize = source.member.image_size, source.member.resize

    def change(picture: Picture, row: int) -> Picture:
        width = int(widths[row])
        if kernel_of(width) < 2:
            return picture
        whole = decode_pixels(paths[row], width, resize)  # type: ignore[arg-type]
        return resize_image(smoothed(whole, kernel_of(width)), size, "squash")

    return change


def _noisy(picture: Picture, row: int) -> Picture:
    noise = np.random.default_rng(counted_seed("noise", row)).normal(0, 12, picture.shape)
    return to_bytes(picture + noise)


def _scaled(factor: float, around: float) -> Change:
    def change(picture: Picture, row: int) -> Picture:
        return to_bytes((picture - around) * factor + around)

    return change


def _compressed(picture: Picture, row: int) -> Picture:
    coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 30])[1]
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB), dtype=np.uint8)


def _halved(picture: Picture, row: int) -> Picture:
    side = max(1, picture.shape[0] // 2)
    return resize_image(resize_image(picture, side, "squash"), picture.shape[0], "squash")


def _grey(picture: Picture, row: int) -> Picture:
    return np.repeat(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


CORRUPTIONS: dict[str, Change] = {
    "smoothed by 3 x 3 px": lambda picture, row: smoothed(picture, 3),
    "half the resolution": _halved,
    "noise of 12 grey levels": _noisy,
    "JPEG at quality 30": _compressed,
    "brighter by a quarter": _scaled(1.25, 0.0),
    "half the contrast": _scaled(0.5, 128.0),
    "no colour": _grey,
    "mirrored": lambda picture, row: picture[:, ::-1].copy(),
}


@dataclass(frozen=True)
class Effect:
    """Macro F1 of held-out images after a change, one view, and the difference to the same images unchanged."""

    name: str
    macro_f1: float
    difference: float
    images: int


def measure_corruptions(source: Source, which: NDArray[np.intp], plain: NDArray[np.float32]) -> list[Effect]:
    """Return the effect of the w / 75 filter, where it changes anything, and of each corruption.

    Args:
        source: the run.
        which: (n,) predictions.
        plain: (n, K) their probabilities unchanged, one view.
    """
    effects = []
    if _is_smoothed(source, source.rows[which]):
        few = _few(source.labels[which])  # each is decoded at its own size, which may be that of a photograph
        change = smoothed_files(source)
        effects.append(
            _effect(SMOOTHED, source.labels[which[few]], plain[few], predict_held_out(source, which[few], change))
        )
    for name, change in CORRUPTIONS.items():
        effects.append(_effect(name, source.labels[which], plain, predict_held_out(source, which, change)))
    return effects


def measure_holdout(source: Source) -> list[Effect]:
    """Return the effect of the w / 75 filter on the split that ``--holdout`` kept apart, by the mean of all folds.

    Empty where no split was kept apart, where the filter changes nothing of it, and without weights.
    """
    table, folds = source.catalog.table, source.folds_with_weights()
    usable = (table["split"] == "val").to_numpy() & (source.store.facts["error"] == "").to_numpy()
    rows = np.flatnonzero(usable)
    if not (source.member.settings.holdout and folds and _is_smoothed(source, rows)):
        return []
    labels = class_numbers(table["label"].iloc[rows], source.class_names)
    few = _few(labels)
    rows, labels = rows[few], labels[few]
    plain, changed = (
        np.mean([predict_rows(source, fold, rows, change) for fold in folds], axis=0)
        for change in (None, smoothed_files(source))
    )
    return [_effect("as it is", labels, plain, plain), _effect(SMOOTHED, labels, plain, changed)]


def _is_smoothed(source: Source, rows: NDArray[np.intp]) -> bool:
    """Return whether the w / 75 filter changes any of these rows of the store."""
    return kernel_of(source.store.facts["width"].to_numpy()[rows].max(initial=0)) > 1


def _few(labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return up to 200 places, of every class its share."""
    by_class = np.argsort(labels, kind="stable")
    return np.sort(by_class[evenly(len(labels), LARGE_FILES)])


def _effect(name: str, labels: NDArray[np.int64], before: NDArray[np.float32], after: NDArray[np.float32]) -> Effect:
    score = sample_f1(labels, after)
    return Effect(name, score, score - sample_f1(labels, before), len(labels))


def worst(effects: Sequence[Effect]) -> Effect | None:
    """Return the corruption that costs most; mirroring aside, which may change what a picture shows."""
    return min((effect for effect in effects if effect.name != "mirrored"), key=lambda e: e.difference, default=None)
