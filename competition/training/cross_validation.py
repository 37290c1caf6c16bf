"""The steps of `train.py`: open the data, the run folder and the folds; train each fold; pool and score."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml

from competition import metrics
from competition.checkpoint import open_checkpoint, read_checkpoint
from competition.config import TrainSettings
from competition.data.catalog import Catalog
from competition.data.loader import image_keys
from competition.data.prepare import PreparedImages, find_data, natural_size, prepare_images
from competition.ensemble import mean
from competition.errors import UserError, first_few
from competition.folds import FOLDER, held_out, load_folds, make_folds, save_folds
from competition.inference import Preprocessing, predict_probabilities, views_of
from competition.models.factory import check_network
from competition.models.weights import describe_weights
from competition.precision import Precision, pick_device
from competition.predictions import Predictions, class_numbers, load_predictions, pool, save_csv, save_predictions
from competition.runs import counted_seed, environment, hash_file, read_json, write_atomically, write_json
from competition.training.display import Display
from competition.training.fit import TimeUp, fit_fold, is_finished
from competition.training.inputs import FoldJob, Machine, TrainingData
from competition.training.probe import probe_precision
from competition.training.record import refuse_missing_tensorboard
from competition.training.start import check_pruning_source, starting_network

PROBE_BATCH = 256  # images the precision probe may use, where --batch-size does not say
HALF = (0.5, 0.5, 0.5)  # pixels to [-1, 1]


@dataclass(frozen=True)
class Run:
    """A run folder whose settings, data and folds are settled.

    Attributes:
        folder: ``runs/NAME``.
        settings: the effective settings.
        data: the labelled images.
        folds: the fold table in the order of the images.
        preprocessing: what every checkpoint of the run stores.
        machine: device, precision and workers.
        images: everything that was decoded, for the validation split that ``--holdout`` keeps out.
    """

    folder: Path
    settings: TrainSettings
    data: TrainingData
    folds: pd.DataFrame
    preprocessing: Preprocessing
    machine: Machine
    images: PreparedImages

    def fold_folder(self, fold: int) -> Path:
        """Return ``runs/NAME/fold_K``."""
        return self.folder / f"fold_{fold}"

    def job(self, fold: int) -> FoldJob:
        """Return one fold to train."""
        rows = held_out(self.folds, fold, self.settings.folds)
        folder = self.fold_folder(fold)
        return FoldJob(self.settings, self.data, rows, fold, folder, self.preprocessing, self.machine)

    @property
    def fold_numbers(self) -> list[int]:
        """Every fold of the run, counted over the repeats."""
        return list(range(self.settings.folds * self.settings.repeats))


def open_run(settings: TrainSettings) -> Run:
    """Open the data, the folds and the run folder; refuse what does not fit before anything is trained."""
    check_network(settings.model, settings.model_options)
    refuse_missing_tensorboard(settings.tensorboard)
    if settings.weights is not None:
        info = describe_weights(settings.weights, name=settings.model)
        settings = settings.replace(model_options={**info.options, **settings.model_options})
    catalog = find_data(settings)
    preprocessing = choose_preprocessing(settings, catalog)
    images = prepare_images(settings, catalog, preprocessing.image_size, preprocessing.resize, settings.folds)
    table = images.labelled(with_validation=not settings.holdout)
    if settings.holdout:
        refuse_unusable_holdout(set(images.of("val")["label"]), set(table["label"]))
    path, folds = open_folds(settings, images, table)
    data = training_data(images, table)
    check_pruning_source(settings, data.class_names, preprocessing.image_size)
    identity = {
        **settings.plain(identity_only=True),
        "image_size": preprocessing.image_size,
        "class_names": list(data.class_names),
        "images": len(table),
        "images_hash": fingerprint(images, table),
        "fold_hash": hash_file(path),
    }
    folder = settings.run or Path("runs") / run_name(settings, identity)
    claim_folder(folder, settings, identity, {"data": str(catalog.source), "fold_file": str(path)})
    machine = choose_machine(folder, settings, data, preprocessing)
    return Run(folder, settings, data, folds, preprocessing, machine, images)


def choose_preprocessing(settings: TrainSettings, catalog: Catalog) -> Preprocessing:
    """Return input size and normalisation: those of what the network starts from, where it does not start fresh."""
    if settings.prune_from is not None:
        return read_checkpoint(settings.prune_from / "fold_0").preprocessing
    if settings.weights is not None:
        info = describe_weights(settings.weights, name=settings.model)
        return Preprocessing(settings.image_size or info.image_size, settings.resize, info.mean, info.std)
    return Preprocessing(settings.image_size or natural_size(catalog), settings.resize, HALF, HALF)


def refuse_unusable_holdout(held_out: set[str], trained: set[str]) -> None:
    """Raise UserError where ``--holdout`` has nothing to keep out, or classes that the folds would never see."""
    if not held_out:
        raise UserError("--holdout: the data has no validation split to keep out")
    unknown = sorted(held_out - trained)
    if unknown:
        raise UserError(f"--holdout: classes only the validation split has cannot be scored: {first_few(unknown)}")


def fingerprint(images: PreparedImages, table: pd.DataFrame) -> str:
    """Return 16 hex digits of what is trained on: ids, labels and contents, in whatever order and place."""
    contents = images.store.facts["content_hash"].to_numpy()[table["row"]]
    rows = sorted(zip(table["image_id"], table["label"], contents.tolist(), strict=True))
    return f"{counted_seed(repr(rows)):016x}"


def run_name(settings: TrainSettings, identity: dict[str, Any]) -> str:
    """Return a name made from data, network and settings: the same command finds its own run again."""
    return f"{data_name(settings)}-{settings.model}-{counted_seed(repr(identity)):016x}"[:-8]


def data_name(settings: TrainSettings) -> str:
    """Return the short name of the data for file names."""
    return settings.data.resolve().stem if settings.data else "sample"


def open_folds(settings: TrainSettings, images: PreparedImages, table: pd.DataFrame) -> tuple[Path, pd.DataFrame]:
    """Return the fold table of ``--fold-file``; it is made on first use and from then on only read."""
    path = fold_path(settings)
    ids, labels = table["image_id"].tolist(), table["label"].tolist()
    if not path.exists() and (settings.fold_file is None or path.parent == FOLDER):
        save_folds(path, make_folds(ids, labels, images.groups(table), settings.folds, settings.repeats, settings.seed))
        print(f"folds: {path} made; every later run on these images reads it")
    return path, load_folds(path, ids, labels, settings.folds, settings.repeats)


def fold_path(settings: TrainSettings) -> Path:
    """Return where the fold table is: a path, a name under folds/, or a name made from data and folds."""
    if settings.fold_file is not None:
        given = Path(settings.fold_file)
        return given if given.suffix or given.exists() else FOLDER / f"{given}.csv"
    extras = ("-holdout" if settings.holdout else "") + (f"-x{settings.repeats}" if settings.repeats > 1 else "")
    return FOLDER / f"{data_name(settings)}-{settings.folds}{extras}-seed{settings.seed}.csv"


def training_data(images: PreparedImages, table: pd.DataFrame) -> TrainingData:
    """Return the labelled rows as arrays."""
    names = sorted(set(table["label"]))
    ids = table["image_id"].tolist()
    return TrainingData(
        image_ids=np.asarray(ids, dtype=np.str_),
        labels=class_numbers(table["label"], names),
        class_names=tuple(names),
        keys=image_keys(ids),
        rows=table["row"].to_numpy(np.int64),
        images=images.store,
    )


def claim_folder(folder: Path, settings: TrainSettings, identity: dict[str, Any], notes: dict[str, str]) -> None:
    """Write the run's settings, or compare them with what the folder was begun with.

    Raises:
        UserError: the folder belongs to other settings, folds or images; the differences are listed.
    """
    if (folder / "run.json").exists():
        before = read_json(folder / "run.json")["identity"]
        changed = [name for name in identity if before.get(name) != identity[name]]
        differ = [f"  {name}: {before.get(name)!r} then, {identity[name]!r} now" for name in changed]
        if changed:
            raise UserError(f"{folder} was begun with other settings:\n" + "\n".join(differ) + "\nchoose another --run")
        return
    if folder.exists() and any(folder.glob("fold_*")):
        raise UserError(f"{folder} holds folds but no run.json: choose another --run")
    write_atomically(folder / "settings.yaml", yaml.safe_dump({**settings.plain(), "run": None}, sort_keys=False))
    write_json(folder / "environment.json", environment())
    write_json(folder / "run.json", {**notes, "identity": identity})


def choose_machine(folder: Path, settings: TrainSettings, data: TrainingData, preprocessing: Preprocessing) -> Machine:
    """Return device, precision and workers; the probe's choice is stored, so every fold and restart uses it."""
    device = pick_device(settings.device)
    workers = settings.workers
    if workers is None:
        workers = 0 if device.type == "cpu" else min(8, torch.multiprocessing.cpu_count())
    path = folder / "precision.json"
    if path.exists():
        stored = read_json(path)
        return Machine(device, Precision(stored["number_format"], stored["channels_last"]), workers)
    torch.manual_seed(0)
    network = starting_network(settings, len(data.class_names), preprocessing.image_size, fold=0)
    pictures = torch.from_numpy(data.images.gather(data.rows[: settings.batch_size or PROBE_BATCH]))
    images = preprocessing.to_input(pictures, torch.device("cpu"), torch.contiguous_format)
    choice, rates = probe_precision(network, images, settings.precision, device)
    write_json(
        path, {"number_format": choice.number_format, "channels_last": choice.channels_last, "images_per_second": rates}
    )
    timed = ", ".join(f"{name} {rate:,.0f}" for name, rate in rates.items())
    print(f"precision: {choice} (images/s in a short probe: {timed})", flush=True)
    return Machine(device, choice, workers)


def train_folds(run: Run, start: float) -> bool:
    """Train the folds that are not finished; returns False when the time limit came first.

    Args:
        run: what to train.
        start: `time.perf_counter` value from which ``--time-limit`` counts.
    """
    settings = run.settings
    numbers = list(settings.only_folds or run.fold_numbers)
    deadline = start + settings.time_limit if settings.time_limit else math.inf
    with Display(numbers, settings.epochs) as display:
        for fold in numbers:
            try:
                fit_fold(run.job(fold), display, deadline)
            except TimeUp:
                return False
    return True


def unfinished_folds(run: Run) -> list[int]:
    """Return the folds that have no predictions yet."""
    return [fold for fold in run.fold_numbers if not is_finished(run.fold_folder(fold))]


def pool_and_score(run: Run) -> dict[str, Any]:
    """Write the pooled out-of-fold predictions and ``score.json``; returns the score."""
    parts = [load_predictions(run.fold_folder(fold) / "predictions.npz") for fold in run.fold_numbers]
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
    if run.settings.holdout:
        score["holdout"] = score_holdout(run)
    save_predictions(run.folder / "oof.npz", pooled)
    save_csv(run.folder / "oof.csv", pooled)
    write_json(run.folder / "score.json", score)
    return score


def score_holdout(run: Run) -> dict[str, Any]:
    """Score the mean of all folds on the validation split that ``--holdout`` kept out."""
    table = run.images.of("val")
    data = training_data(run.images, table)
    members = []
    for fold in run.fold_numbers:
        network, checkpoint = open_checkpoint(run.fold_folder(fold))
        loader = data.loader(np.arange(len(table)), 256, workers=run.machine.workers)
        run.machine.precision.place(network, run.machine.device)
        members.append(
            predict_probabilities(
                network,
                loader,
                len(checkpoint.class_names),
                checkpoint.preprocessing,
                run.machine.precision,
                run.machine.device,
                views_of(run.settings.views),
            )
        )
    labels = class_numbers(table["label"], run.data.class_names)
    predictions = Predictions(data.image_ids, run.data.class_names, mean(members), labels)
    save_predictions(run.folder / "holdout.npz", predictions)
    return metrics.summary(predictions.confusion(), list(run.data.class_names))


def describe(score: dict[str, Any]) -> str:
    """Return the score in two or three lines."""
    folds = ", ".join(f"{value:.3f}" for value in score["per_fold"].values())
    lines = [f"out-of-fold {_in_words(score)}, accuracy {score['accuracy']:.4f}", f"per fold: {folds}"]
    if "holdout" in score:
        lines.append(f"holdout {_in_words(score['holdout'])} (mean of all folds)")
    return "\n".join(lines + ([f"note: {score['warning']}"] if "warning" in score else []))


def _in_words(score: dict[str, Any]) -> str:
    low, high = score["interval_95"]
    return f"macro F1 {score['macro_f1']:.4f}, 95 % interval [{low:.3f}, {high:.3f}]"
