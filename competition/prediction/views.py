"""Test-time views chosen on out-of-fold data: every fold predicts its held-out images anew, view by view.

A set of views is the first n of `competition.inference.views_of`, so one forward pass per view serves all sets. The
gain is nested: the views for a fold's images are those with the best macro F1 on the other folds. Other views than the
run's own are kept when the 95 % interval of that gain lies above 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.data.prepare import decode, find_data
from competition.ensemble.stack import outer_folds
from competition.errors import UserError, counted, first_few
from competition.inference import views_of
from competition.precision import pick_device
from competition.prediction.fold_prediction import ImageRows, run_network
from competition.prediction.members import Member, training_data_of
from competition.prediction.settings import PredictSettings
from competition.predictions import Predictions, in_class_order, load_predictions, pool
from competition.progress import Bar

MOST_VIEWS = 8


@dataclass(frozen=True)
class ViewChoice:
    """What other views than a run's own would gain.

    Attributes:
        views: the number with the best out-of-fold macro F1, the run's own where nothing is better.
        gain: nested macro F1 less that of the run's own views.
        interval: its 95 % interval over rows like these.
        kept: whether the gain is beyond chance.
    """

    views: int
    gain: float
    interval: metrics.Interval
    kept: bool

    def describe(self, own: int) -> str:
        """Return ``6 views instead of 2: gain +0.012 [0.004, 0.019], kept``."""
        if self.views == own:
            return f"{counted(own, 'view')}, the run's own, {'is' if own == 1 else 'are'} the best out of fold"
        verdict = "kept" if self.kept else "not kept"
        return f"{counted(self.views, 'view')} instead of {own}: gain {self.gain:+.4f} {self.interval}, {verdict}"


def choose_views(settings: PredictSettings, members: Sequence[Member]) -> list[Member]:
    """Return the members with the views of ``--views auto``; without it, as they are.

    Raises:
        UserError: a fold without weights, or training images that are no longer there.
    """
    if settings.views != "auto":
        return list(members)
    _refuse_missing_weights(members)
    return [_choose_for(settings, member) for member in members]


def _refuse_missing_weights(members: Sequence[Member]) -> None:
    folders = [folder for member in members for folder in member.fold_folders]
    gone = [str(folder) for folder in folders if not (folder / "model.safetensors").exists()]
    if gone:
        raise UserError(
            "--views auto predicts the held-out images anew and needs the networks; without weights: "
            f"{first_few(gone)}. Leave --views out, or leave those runs out"
        )


def _choose_for(settings: PredictSettings, member: Member) -> Member:
    by_count = _rescore(settings, member)
    own = member.settings.views
    choice = choose(by_count, own)
    print(f"{member.folder}: {choice.describe(own)}", flush=True)
    views = choice.views if choice.kept else own
    return replace(member, views=views, rescored=by_count[views - 1])


def choose(by_count: Sequence[Predictions], own: int) -> ViewChoice:
    """Return the number of views with the best out-of-fold macro F1 and its nested gain.

    Args:
        by_count: out-of-fold predictions of the same rows with 1, 2, ... views.
        own: the number to compare with; it wins a tie.
    """
    labels, folds = by_count[0].labels, outer_folds(by_count[0])
    assert labels is not None
    classes = len(by_count[0].class_names)
    decided = np.stack([item.probabilities.argmax(axis=1) for item in by_count])
    nested = np.empty_like(labels)
    for fold in np.unique(folds):
        best = _best_count(labels, decided, classes, folds != fold, own)
        nested[folds == fold] = decided[best - 1, folds == fold]
    gain, interval = metrics.paired_gain(labels, decided[own - 1], nested, classes)
    views = _best_count(labels, decided, classes, np.ones(len(labels), bool), own)
    return ViewChoice(views, gain, interval, interval.low > 0)


def _best_count(
    labels: NDArray[np.int64], decided: NDArray[np.int64], classes: int, rows: NDArray[np.bool_], own: int
) -> int:
    scores = [metrics.macro_f1(metrics.confusion(labels[rows], row[rows], classes)) for row in decided]
    return own if scores[own - 1] >= max(scores) else int(np.argmax(scores)) + 1


def _rescore(settings: PredictSettings, member: Member) -> list[Predictions]:
    """Return the member's out-of-fold predictions with 1 to 8 views."""
    pictures = TrainingPictures(settings, member)
    device = pick_device(settings.device)
    parts: list[list[Predictions]] = [[] for _ in range(MOST_VIEWS)]
    stored = [load_predictions(folder / "predictions.npz") for folder in member.fold_folders]
    with Bar(f"views of {member.folder.name}", MOST_VIEWS * sum(len(fold.image_ids) for fold in stored)) as bar:
        for folder, held_out in zip(member.fold_folders, stored, strict=True):
            images = pictures.of(held_out.image_ids, folder)
            total = np.zeros(held_out.probabilities.shape, np.float32)
            for number, view in enumerate(views_of(MOST_VIEWS)):
                found, names = run_network(folder, images, [view], device, settings.batch_size, on_batch=bar.advance)
                total += in_class_order(Predictions(images.image_ids, names, found), held_out.class_names)
                parts[number].append(replace(held_out, probabilities=total / np.float32(number + 1)))
    return [pool(part) for part in parts]


class TrainingPictures:
    """The decoded training images of a run, found by id."""

    def __init__(self, settings: PredictSettings, member: Member) -> None:
        data = training_data_of(settings, member)
        self._catalog = find_data(data)
        self._store = decode(data, self._catalog, member.image_size, member.resize)
        table = self._catalog.table
        rows = np.flatnonzero(table["split"] != "test")
        self._row_of = dict(zip(table["image_id"].iloc[rows].tolist(), rows.tolist(), strict=True))

    def of(self, image_ids: NDArray[np.str_], folder: Path) -> ImageRows:
        """Return some images; raises UserError naming those that are no longer there."""
        absent = [name for name in image_ids.tolist() if name not in self._row_of]
        if absent:
            raise UserError(f"{self._catalog.source} lacks images that {folder} held out: {first_few(absent)}")
        rows = np.array([self._row_of[name] for name in image_ids.tolist()], dtype=np.int64)
        return ImageRows(image_ids, self._store, rows)
