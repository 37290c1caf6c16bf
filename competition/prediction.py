"""The steps of `predict.py`: open the runs, predict every fold of each, join, decide, write."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from competition import __version__, metrics
from competition.checkpoint import open_checkpoint
from competition.config import PredictSettings, TrainSettings
from competition.data.catalog import Catalog
from competition.data.loader import Loader, image_keys
from competition.data.prepare import decode, find_data
from competition.ensemble import mean, refuse_different_classes
from competition.errors import UserError, first_few
from competition.inference import predict_probabilities, views_of
from competition.precision import pick_device
from competition.predictions import Predictions, class_numbers
from competition.runs import environment, hash_file, read_json, write_json
from competition.submission import write_submission


@dataclass(frozen=True)
class Member:
    """One run whose folds are to be averaged."""

    folder: Path
    fold_folders: list[Path]
    class_names: tuple[str, ...]
    settings: TrainSettings


def open_members(folders: Sequence[str], allow_partial: bool) -> list[Member]:
    """Open the runs.

    Raises:
        UserError: no run, no finished fold, unfinished folds without ``--allow-partial``, different classes.
    """
    members = [_open_member(Path(folder), allow_partial) for folder in folders]
    refuse_different_classes([str(member.folder) for member in members], [member.class_names for member in members])
    return members


def _open_member(folder: Path, allow_partial: bool) -> Member:
    if not (folder / "run.json").exists():
        raise UserError(
            f"{folder} is not a run (it has no run.json): name a folder that train.py made, such as runs/NAME"
        )
    run = read_json(folder / "run.json")
    settings = TrainSettings.from_mapping(
        yaml.safe_load((folder / "settings.yaml").read_text()), str(folder / "settings.yaml")
    )
    wanted = [folder / f"fold_{fold}" for fold in range(settings.folds * settings.repeats)]
    finished = [path for path in wanted if (path / "predictions.npz").exists()]
    missing = [path.name for path in wanted if path not in finished]
    if not finished:
        raise UserError(f"{folder} has no finished fold: train it first")
    if missing and not allow_partial:
        raise UserError(
            f"{folder}: {first_few(missing)} not finished ({len(finished)} of {len(wanted)} are). "
            "Train on with the same train.py command, or use what there is with --allow-partial"
        )
    return Member(folder, finished, tuple(run["identity"]["class_names"]), settings)


def open_test(settings: PredictSettings, members: Sequence[Member]) -> Catalog:
    """Return the catalog of ``--data``; without it, of the data that the first run was trained on."""
    first = members[0].settings
    if settings.data is None:
        names = ("data", "train_csv", "val_csv", "test_csv", "images", "id_column", "label_column")
        settings = settings.replace(**{name: getattr(first, name) for name in names})
    catalog = find_data(settings)
    if not len(catalog.of("test")):
        raise UserError(
            f"{catalog.source} has no test images: expected a test folder, test.csv or sample_submission.csv"
        )
    return catalog


def predict_test(settings: PredictSettings, members: Sequence[Member], catalog: Catalog) -> Predictions:
    """Return the mean probabilities of every fold of every run, joined by class name."""
    device = pick_device(settings.device)
    test = catalog.of("test")
    class_names = members[0].class_names
    folders = [(member, path) for member in members for path in member.fold_folders]
    found: list[NDArray[np.float32]] = []
    console = Console(file=sys.stderr)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("predicting", total=len(folders) * len(test))
        for member, path in folders:
            network, checkpoint = open_checkpoint(path)
            checkpoint.precision.place(network, device)
            probabilities = predict_probabilities(
                network,
                _test_loader(
                    settings, catalog, checkpoint.preprocessing.image_size, checkpoint.preprocessing.resize, device
                ),
                len(class_names),
                checkpoint.preprocessing,
                checkpoint.precision,
                device,
                views_of(settings.views or member.settings.views),
                on_batch=lambda images: progress.advance(task, images),
            )
            columns = [checkpoint.class_names.index(name) for name in class_names]
            found.append(probabilities[:, columns])
    labels = None
    if test["label"].notna().all():
        labels = class_numbers(test["label"], class_names)
    return Predictions(np.asarray(test["image_id"], dtype=np.str_), class_names, mean(found), labels)


def _test_loader(
    settings: PredictSettings, catalog: Catalog, image_size: int, resize: str, device: torch.device
) -> Loader:
    store = decode(settings, catalog, image_size, resize)
    rows = np.flatnonzero(catalog.table["split"] == "test")
    unreadable = store.facts["error"].to_numpy()[rows] != ""
    if unreadable.any():
        names = catalog.table["image_id"].to_numpy()[rows][unreadable]
        message = f"{len(names)} test images cannot be read: {first_few(names)}"
        if settings.on_bad == "fail":
            raise UserError(f"{message}: mend them, or predict them from a blank picture with --on-bad skip")
        print(f"warning: {message}; they are predicted from a blank picture", flush=True)
    workers = settings.workers if settings.workers is not None else (0 if device.type == "cpu" else 8)
    keys = image_keys(catalog.table["image_id"].iloc[rows].tolist())
    return Loader(store, rows, keys, settings.batch_size, workers=workers, pin=device.type == "cuda")


def output_path(settings: PredictSettings, members: Sequence[Member]) -> Path:
    """Return ``--out``, or submissions/ and the names of the runs."""
    return settings.out or Path("submissions") / ("+".join(member.folder.name for member in members) + ".csv")


def write_outputs(
    path: Path, settings: PredictSettings, members: Sequence[Member], catalog: Catalog, predictions: Predictions
) -> None:
    """Write the submission and, beside it, what made it."""
    write_submission(
        path,
        predictions.image_ids.tolist(),
        predictions.predicted().tolist(),
        catalog.id_column,
        catalog.label_column,
        catalog.submission_ids,
    )
    write_json(path.with_suffix(".json"), _record(path, settings, members, catalog, predictions))


def _record(
    path: Path, settings: PredictSettings, members: Sequence[Member], catalog: Catalog, predictions: Predictions
) -> dict[str, Any]:
    record: dict[str, Any] = {
        "submission": path.name,
        "sha256": hash_file(path),
        "toolkit": __version__,
        "data": str(catalog.source),
        "rows": len(predictions.image_ids),
        "ensemble": settings.ensemble,
        "runs": [],
        "environment": environment(),
    }
    for member in members:
        run, score = read_json(member.folder / "run.json"), member.folder / "score.json"
        record["runs"].append(
            {
                "run": str(member.folder),
                "model": member.settings.model,
                "folds": [folder.name for folder in member.fold_folders],
                "weights": [hash_file(folder / "model.safetensors") for folder in member.fold_folders],
                "views": settings.views or member.settings.views,
                "fold_file": run["fold_file"],
                "fold_hash": run["identity"]["fold_hash"],
                "out_of_fold": {key: read_json(score)[key] for key in ("macro_f1", "interval_95")}
                if score.exists()
                else None,
            }
        )
    if predictions.labels is not None:
        record["test_macro_f1"] = metrics.macro_f1(predictions.confusion())
    return record
