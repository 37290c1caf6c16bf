"""The steps of `train.py`: open the data, the run folder and the folds; train each fold; pool and score."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from competition import metrics
from competition.checkpoint import open_checkpoint, read_checkpoint
from competition.config import TrainSettings
from competition.data.catalog import Catalog
from competition.data.prepare import find_data, natural_size, run_name
from competition.ensemble.combination import mean
from competition.errors import UserError, counted, first_few
from competition.folds import held_out
from competition.inference import Preprocessing, views_of
from competition.models.factory import check_network
from competition.models.weights import HALF, describe_weights
from competition.predictions import Predictions, class_numbers, load_predictions, pool, save_csv, save_predictions
from competition.runs import environment, is_finished, read_run, refuse_other_identity, write_atomically, write_json
from competition.settings import flag as flag_of
from competition.stop import Stop, Stopped
from competition.training.display import Display
from competition.training.fit import fit_fold
from competition.training.inputs import FoldJob, Machine, TrainingData
from competition.training.machine import choose_machine
from competition.training.material import Material, open_material, training_data
from competition.training.pseudo_labels import Teacher, open_teacher
from competition.training.rates import peak_learning_rate, weight_decay
from competition.training.record import refuse_missing_tensorboard
from competition.training.start import refuse_other_folds, refuse_unfit, starting_contents, weights_of


@dataclass(frozen=True)
class Run:
    """A run folder whose settings, data and folds are settled.

    Attributes:
        folder: ``runs/NAME``.
        settings: the effective settings.
        material: the labelled images and the fold table.
        preprocessing: what every checkpoint of the run stores.
        machine: device, precision and workers.
        teacher: labels test images to train on, where there is one.
    """

    folder: Path
    settings: TrainSettings
    material: Material
    preprocessing: Preprocessing
    machine: Machine
    teacher: Teacher | None = None

    @property
    def data(self) -> TrainingData:
        """The labelled images."""
        return self.material.data

    @property
    def has_test_images(self) -> bool:
        """Whether there is something to predict beside them."""
        return len(self.material.images.of("test")) > 0

    def fold_folder(self, fold: int) -> Path:
        """Return ``runs/NAME/fold_K``."""
        return self.folder / f"fold_{fold}"

    def job(self, fold: int) -> FoldJob:
        """Return one fold to train."""
        rows = held_out(self.material.folds, fold, self.settings.folds)
        folder = self.fold_folder(fold)
        soft = None
        if self.teacher is not None and not is_finished(folder):
            soft = self.teacher.label(fold, self.material, self.settings, self.machine.device)
        return FoldJob(self.settings, self.data, rows, fold, folder, self.preprocessing, self.machine, soft)


def open_run(settings: TrainSettings) -> Run:
    """Open the data, the folds and the run folder; what can refuse the settings is asked before that is begun."""
    settings = settle(settings)
    catalog = find_data(settings)
    preprocessing = choose_preprocessing(settings, catalog)
    if catalog.class_names:  # otherwise the checks of the data say so
        refuse_unfit(settings, tuple(catalog.class_names), preprocessing.image_size)
    material = open_material(settings, catalog, preprocessing.image_size)
    refuse_other_folds(settings, material)
    teacher = open_teacher(settings.pseudo_labels, settings, material) if settings.pseudo_labels else None
    identity = identity_of(settings, material, preprocessing, teacher)
    folder = settings.run or Path("runs") / run_name(settings, settings.model, identity)
    refuse_other_run(folder, identity)
    machine, answer = choose_machine(folder, settings, material.data, preprocessing)
    claim_folder(folder, settings, identity, material.places)
    answer.save(folder)
    if not (folder / "environment.json").exists():
        write_json(folder / "environment.json", environment())
    return Run(folder, settings, material, preprocessing, machine, teacher)


def settle(settings: TrainSettings) -> TrainSettings:
    """Return the effective settings, with what the weights or the run to be pruned bring.

    Raises:
        UserError: what cannot run.
    """
    check_network(settings.model, settings.model_options)
    refuse_missing_tensorboard(settings.tensorboard)
    if settings.prune_from is not None:
        return _as_pruned_from(settings.prune_from, settings)
    if (source := weights_of(settings, fold=0)) is None:
        return settings
    info = describe_weights(source, name=settings.model)
    return settings.replace(model_options={**info.options, **settings.model_options})


def _as_pruned_from(run: Path, settings: TrainSettings) -> TrainSettings:
    """Return the settings with what a network keeps when it is pruned; raises UserError where they say otherwise."""
    source, untold = read_checkpoint(run / "fold_0"), TrainSettings()
    own = {"model_options": source.model_options, "dropout": source.dropout, "resize": source.preprocessing.resize}
    for name, have in own.items():
        want = getattr(settings, name)
        if want not in (have, getattr(untold, name)):
            raise UserError(f"--prune-from {run}: its {flag_of(name)} is {have}, this run's is {want}")
    return settings.replace(**own)


def identity_of(
    settings: TrainSettings, material: Material, preprocessing: Preprocessing, teacher: Teacher | None = None
) -> dict[str, Any]:
    """Return everything that decides what a run computes."""
    data = material.data
    return {
        **settings.plain(identity_only=True),
        **starting_contents(settings),
        "learning_rate": peak_learning_rate(settings),
        "weight_decay": weight_decay(settings, len(data.image_ids)),
        "image_size": preprocessing.image_size,
        "class_names": list(data.class_names),
        "images": len(data.image_ids),
        "images_hash": material.images_hash,
        "fold_hash": material.fold_hash,
        "teacher": teacher.weights_hash if teacher else None,
    }


def choose_preprocessing(settings: TrainSettings, catalog: Catalog) -> Preprocessing:
    """Return input size and normalisation: those of what the network starts from, where it does not start fresh."""
    if settings.prune_from is not None:
        return read_checkpoint(settings.prune_from / "fold_0").preprocessing
    if (source := weights_of(settings, fold=0)) is not None:
        info = describe_weights(source, name=settings.model)
        return Preprocessing(settings.image_size or info.image_size, settings.resize, info.mean, info.std)
    return Preprocessing(settings.image_size or natural_size(catalog), settings.resize, HALF, HALF)


def refuse_other_run(folder: Path, identity: dict[str, Any], flag: str = "--run") -> None:
    """Compare a run's settings with what its folder, which ``flag`` names, was begun with.

    Raises:
        UserError: the folder belongs to other settings, folds or images; the differences are listed.
    """
    if (folder / "run.json").exists():
        refuse_other_identity(folder, read_run(folder)["identity"], identity, flag)
    elif folder.is_file():
        raise UserError(f"{flag} {folder} is a file: name a folder")
    elif any(folder.glob("fold_*")):
        raise UserError(f"{folder} holds folds but no run.json: choose another {flag}")


def claim_folder(folder: Path, settings: TrainSettings, identity: dict[str, Any], notes: dict[str, str]) -> None:
    """Begin a run in its folder, or go on with it; raises UserError, see `refuse_other_run`."""
    refuse_other_run(folder, identity)
    if (folder / "run.json").exists():
        return
    write_atomically(
        folder / "settings.yaml", yaml.safe_dump({**settings.plain(), "run": None, "only_folds": None}, sort_keys=False)
    )
    write_json(folder / "run.json", {**notes, "identity": identity})


def train_folds(run: Run, start: float) -> bool:
    """Train the folds that are not finished; returns False when the time limit came first.

    Args:
        run: what to train.
        start: `time.perf_counter` value from which ``--time-limit`` counts.
    """
    settings = run.settings
    wanted = settings.only_folds or settings.fold_numbers
    numbers = [fold for fold in wanted if not is_finished(run.fold_folder(fold))]
    if not numbers:
        return True
    stop = Stop.after(settings.time_limit, start)
    try:
        with stop.listening(), Display(numbers) as display:
            for fold in numbers:
                fit_fold(run.job(fold), display, stop)
    except Stopped:
        stop.raise_if_signalled()
        return False
    return True


def unfinished_folds(run: Run) -> list[int]:
    """Return the folds that have no predictions yet."""
    return [fold for fold in run.settings.fold_numbers if not is_finished(run.fold_folder(fold))]


def pool_and_score(run: Run) -> dict[str, Any]:
    """Write the pooled out-of-fold predictions and ``score.json``; returns the score."""
    pooled, score = score_folds(run)
    if run.settings.holdout:
        score["holdout"] = score_holdout(run)
    save_csv(run.folder / "oof.csv", pooled)
    save_score(run, pooled, score)
    return score


def score_folds(run: Run) -> tuple[Predictions, dict[str, Any]]:
    """Return the pooled out-of-fold predictions and their score.

    Raises:
        UserError: images that no fold has predicted.
    """
    parts = [load_predictions(run.fold_folder(fold) / "predictions.npz") for fold in run.settings.fold_numbers]
    pooled = pool(parts)
    if set(pooled.image_ids) != set(run.data.image_ids):
        missing = sorted(set(run.data.image_ids) - set(pooled.image_ids))
        raise UserError(f"{run.folder}: out-of-fold predictions are missing for {first_few(missing)}")
    score = metrics.summary(pooled.confusion(), list(pooled.class_names))
    score["per_fold"] = {str(fold): metrics.macro_f1(part.confusion()) for fold, part in enumerate(parts)}
    score["views"] = run.settings.views
    score["kept_epoch"] = "best on the held-out fold" if run.settings.stop_after else "last"
    if run.settings.stop_after:
        score["warning"] = "the kept epoch was picked on the fold it is scored on: expect less on new images"
    return pooled, score


def save_score(run: Run, pooled: Predictions, score: dict[str, Any]) -> None:
    """Write ``oof.npz``, then ``score.json``."""
    save_predictions(run.folder / "oof.npz", pooled)
    write_json(run.folder / "score.json", score)


def score_holdout(run: Run) -> dict[str, Any]:
    """Score the mean of all folds on the split that ``--holdout`` kept out, and count what of it they have seen."""
    table = run.material.images.of("val")
    data = training_data(run.material.images, table)
    members = []
    for fold in run.settings.fold_numbers:
        network, checkpoint = open_checkpoint(run.fold_folder(fold))
        loader = data.loader(np.arange(len(table)), 256)
        members.append(checkpoint.predict(network, loader, run.machine.device, views_of(run.settings.views)))
    labels = class_numbers(table["label"], run.data.class_names)
    predictions = Predictions(data.image_ids, run.data.class_names, mean(members), labels)
    save_predictions(run.folder / "holdout.npz", predictions)
    contents = run.material.images.store.facts["pixel_hash"].to_numpy()
    copies = int(np.isin(contents[data.rows], contents[run.data.rows]).sum())
    mates = int(table["group"].isin(run.material.images.of("train")["group"].dropna()).sum())
    counts = {"copies": copies, "group_mates": mates}
    return metrics.summary(predictions.confusion(), list(run.data.class_names)) | counts


def describe(score: dict[str, Any]) -> str:
    """Return the score in two or three lines."""
    folds = ", ".join(f"{value:.3f}" for value in score["per_fold"].values())
    lines = [f"out-of-fold {_in_words(score)}, accuracy {score['accuracy']:.4f}", f"per fold: {folds}"]
    if "holdout" in score:
        lines.append(f"holdout {_in_words(score['holdout'])} (mean of all folds)")
        for key, what in (("copies", "exact copies of training images"), ("group_mates", "in groups of the training")):
            if count := score["holdout"].get(key):
                rows = counted(score["holdout"]["rows"], "image")
                lines.append(f"note: {count:,} of {rows} held out are {what}: that is flattered")
    return "\n".join(lines + ([f"note: {score['warning']}"] if "warning" in score else []))


def _in_words(score: dict[str, Any]) -> str:
    return f"macro F1 {score['macro_f1']:.4f}, 95 % interval {metrics.Interval(*score['interval_95'])}"
