"""Unlabelled images in the training set, with a teacher's probabilities as soft labels; no label leaks.

Fold k's student learns from the teacher's fold k, which never saw the images that fold k is scored on; so both must
have the same fold table, and the score stays one over real labels only. (Lee 2013; soft labels and a quota per class
as in Xie et al. 2020, arXiv 1911.04252.)
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from competition.checkpoint import hash_weights, read_checkpoint
from competition.cli import read_run_settings
from competition.config import TrainSettings
from competition.data.loader import image_keys
from competition.data.prepare import decode
from competition.errors import UserError, first_few
from competition.prediction.fold_prediction import ImageRows, predict_fold
from competition.predictions import in_class_order
from competition.runs import is_finished, read_run
from competition.training.inputs import SoftLabelled
from competition.training.material import Material, unlike_folds


@dataclass(frozen=True)
class Teacher:
    """A finished run whose folds label the unlabelled images.

    Attributes:
        folder: the run.
        views: test-time views that it predicts with.
        weights_hash: changes with the weights of any fold.
    """

    folder: Path
    views: int
    weights_hash: str

    def label(self, fold: int, material: Material, settings: TrainSettings, device: torch.device) -> SoftLabelled:
        """Return the test images that fold ``fold`` of the teacher is surest of, ``--quota`` of each class at most."""
        preprocessing = read_checkpoint(self.folder / f"fold_{fold}").preprocessing
        catalog = material.images.catalog
        store = decode(settings, catalog, preprocessing.image_size, preprocessing.resize)
        every = ImageRows.of_test(catalog, store)
        readable = store.facts["error"].to_numpy()[every.rows] == ""
        images = ImageRows(every.image_ids[readable], store, every.rows[readable])
        predictions = predict_fold(self.folder / f"fold_{fold}", images, self.views, device)
        probabilities = in_class_order(predictions, material.data.class_names)
        quota = settings.quota or -(-len(images.rows) // probabilities.shape[1])
        chosen = surest(probabilities, quota)
        keys = image_keys(images.image_ids[chosen].tolist())
        return SoftLabelled(images.rows[chosen], keys, probabilities[chosen])


def open_teacher(folder: Path, settings: TrainSettings, material: Material) -> Teacher:
    """Open the run of ``--pseudo-labels``.

    Raises:
        UserError: not a finished run with weights, other folds or classes than the student's, or nothing to label;
            all in one message.
    """
    if not (folder / "run.json").exists():
        raise UserError(f"--pseudo-labels {folder} is not a run: name a folder that train.py made, such as runs/NAME")
    identity = read_run(folder)["identity"]
    folds = [folder / f"fold_{fold}" for fold in settings.fold_numbers]
    incomplete = [fold for fold, path in enumerate(folds) if not is_finished(path)]
    problems = []
    if incomplete:
        problems.append(f"not finished: fold {first_few(incomplete)}; train it first")
    elif not all((path / "model.safetensors").exists() for path in folds):
        problems.append("its weights are gone")
    problems += unlike_folds(folder, material)
    if set(identity["class_names"]) != set(material.data.class_names):
        problems.append("it knows other classes")
    if not len(material.images.of("test")):
        problems.append(f"{material.images.catalog.source} has no test images to label")
    if problems:
        raise UserError("\n".join(f"--pseudo-labels {folder}: {problem}" for problem in problems))
    teacher = read_run_settings(TrainSettings, folder)
    return Teacher(folder, teacher.views, hash_weights(folder, len(folds)))


def surest(probabilities: NDArray[np.float32], quota: int) -> NDArray[np.intp]:
    """Return the rows that are surest of their most probable class, at most ``quota`` of each class, in row order."""
    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    order = np.lexsort((-confidence, predicted))  # by class, the surest first
    starts = np.searchsorted(predicted[order], np.arange(probabilities.shape[1]))
    rank = np.arange(len(order)) - starts[predicted[order]]
    return np.sort(order[rank < quota])
