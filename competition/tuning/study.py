"""The steps of `tune.py`: open the study, train its trials, write what they found.

studies/NAME/study.json          what is searched, on which images and folds: a study keeps its identity
studies/NAME/journal.log         the trials, unless --storage names a database
studies/NAME/trials/0007/        one run folder per trial
studies/NAME/workers/            who is at work, and what each worker printed
studies/NAME/best.yaml, trials.csv, report.html    written at the end
"""

import json
import math
import shlex
import uuid
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.study import StudyDirection

from competition.config import TrainSettings
from competition.data.prepare import data_name
from competition.errors import UserError, counted
from competition.runs import environment, read_json, refuse_other_identity, write_json
from competition.training.rates import steps_per_epoch
from competition.tuning.claims import ended_trials
from competition.tuning.pruning import create_pruner
from competition.tuning.results import best_of, complete_trials, score_in_words, share_note
from competition.tuning.samplers import StudyGrid, refuse_missing_package
from competition.tuning.search import Search
from competition.tuning.settings import TuneSettings
from competition.tuning.shelf import Shelf
from competition.tuning.space import load_space, named_files, refuse_networks
from competition.tuning.storage import StudyStorage, open_storage

FOLDER = Path("studies")
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)


def open_study(settings: TuneSettings, base: TrainSettings) -> Search:
    """Open the images, the folds, the space and the storage; refuse what does not fit before the first trial."""
    refuse_missing_package(settings.sampler)
    folder = FOLDER / (settings.study or f"{data_name(base)}-{Path(settings.space).stem}")
    shelf = Shelf(base, folder, settings.workers)
    space = load_space(settings.space, base, shelf.labelled)
    if settings.sampler == "grid":
        space.search_space()  # refuses ranges
    if settings.predict_test and not len(shelf.catalog.of("test")):
        raise UserError(f"--predict-test: {shelf.catalog.source} has no test images")
    objectives = [name for name in (settings.objective, settings.objective2) if name]
    identity = {**shelf.identity(), "space": space.plain(), "objectives": objectives}
    if not (folder / "study.json").exists():  # else they were tried when it was begun
        refuse_networks(space, len(identity["class_names"]), identity["image_size"])
    if files := named_files(space):
        identity["files"] = files
    storage = open_storage(settings.storage, folder, folder.name)
    validations = validations_per_fold(base, identity["images"])
    pruner = create_pruner(settings.pruner_name, len(base.fold_numbers), validations)
    study = storage.patiently(lambda: begin_study(storage, folder, identity, pruner))
    return Search(folder, settings, space, shelf, storage, study, validations)


def begin_study(
    storage: StudyStorage, folder: Path, identity: dict[str, Any], pruner: optuna.pruners.BasePruner
) -> optuna.Study:
    """Open a study under the storage's own lock: another machine that begins it waits too.

    Raises:
        UserError: the study has another identity, the differences listed, or its trials are in another storage.
    """
    with storage.lock():
        is_own = storage.shown == "journal"  # it lies in the folder, which may have been renamed or copied since
        names = optuna.get_all_study_names(storage.trials) if is_own else []
        study = optuna.create_study(
            storage=storage.trials,
            study_name=names[0] if names else folder.name,
            directions=DIRECTIONS[: len(identity["objectives"])],
            pruner=pruner,
            load_if_exists=True,
        )
        _claim(folder, study, storage, identity)
    return study


def _claim(folder: Path, study: optuna.Study, storage: StudyStorage, identity: dict[str, Any]) -> None:
    """Write the study's identity beside it and into its storage, or compare it with what it was begun with."""
    path, identity = folder / "study.json", json.loads(json.dumps(identity))  # as it will be read back
    new: dict[str, Any] = {"identity": identity, "id": uuid.uuid4().hex}
    stored = study.user_attrs if "id" in study.user_attrs else {}  # the id is written last
    record: dict[str, Any] = read_json(path) if path.exists() else stored or new
    refuse_other_identity(folder, record["identity"], identity, "--study")
    if not stored and path.exists():
        raise UserError(f"{folder} was begun with another --storage; name that one, or another --study")
    if stored and stored["id"] != record["id"]:
        raise UserError(f"{storage.shown} holds another study called {folder.name}: choose another --study")
    if not stored:
        for name in new:
            study.set_user_attr(name, record[name])
    if not path.exists():
        write_json(folder / "environment.json", environment())
        write_json(path, record)


def validations_per_fold(base: TrainSettings, images: int) -> int:
    """Return the validations of a fold, its out-of-fold score among them, under the base settings."""
    epochs = base.epochs
    if base.steps is not None:
        epochs = math.ceil(base.steps / steps_per_epoch(base, images))
    return math.ceil(epochs / base.validate_every)


# -- after the trials ------------------------------------------------------------------------------------------


def write_results(search: Search) -> None:
    """Write best.yaml, trials.csv and the page, where a trial has finished."""
    from competition.tuning.report import write_report  # late: only the first process draws

    if complete_trials(search.trials()):
        rule = search.settings.pick
        search.storage.patiently(lambda: write_report(search.folder, search.study, search.space, rule))


def describe(search: Search) -> str:
    """Return what was found, and the commands that use it."""
    trials = search.trials()
    install = "" if find_spec("optuna_dashboard") else "  # after: pip install -e '.[tuning]'"
    dashboard = shlex.join(["optuna-dashboard", dashboard_address(search)]) + install
    if not complete_trials(trials):
        return f"{search.folder}: no trial has finished yet; the same command goes on\n{dashboard}"
    best = best_of(trials, search.settings.pick)
    picked = "best" if search.settings.pick == "score" else f"picked by {search.settings.pick}"
    lines = [
        *_what_is_left(search),
        f"{picked}: trial {best.number}, {score_in_words(best)} (the best of many: expect less on new images)",
    ]
    if "warning" in best.user_attrs:
        lines.append(f"note: {best.user_attrs['warning']}")
    lines += [f"all: {search.folder / 'report.html'}", dashboard]
    if search.settings.predict_test or search.settings.keep_weights:  # else there is nothing to predict with
        lines.append(how_to_predict(search.folder))
    lines += [f"note: {note}" for note in share_note(search.base)]
    lines.append(shlex.join(["python", "train.py", "--config", str(search.folder / "best.yaml")]))
    return "\n".join(lines)


def _what_is_left(search: Search) -> list[str]:
    """Return a line on a study that ends before its trials: a grid's end, a time limit or a signal."""
    trials, wanted = search.trials(), search.settings.trials
    ended = len(ended_trials(trials))
    if ended >= wanted:
        return []
    if search.settings.sampler == "grid" and StudyGrid(search.space.search_space()).is_used_up(trials):
        return [f"the grid has no other point: {ended} of {counted(wanted, 'trial')}"]
    return [f"{ended} of {counted(wanted, 'trial')} ended; the same command goes on"]


def how_to_predict(folder: Path) -> str:
    """Return the command that predicts with a study, or how many of its finished trials keep it from working."""
    finished = [path.parent for path in folder.glob("trials/*/score.json")]
    if not finished:
        return f"{folder} has no finished trial on this machine: predict.py works where they were trained"
    unable = sum(not all(map(_can_predict, trial.glob("fold_*"))) for trial in finished)
    if not unable:
        return shlex.join(["python", "predict.py", str(folder)])
    return (
        f"{unable} of {counted(len(finished), 'finished trial')} {'has' if unable == 1 else 'have'} neither test "
        "predictions nor weights, from before --predict-test or --keep-weights was given: predict.py takes the "
        f"others by their folders, {folder}/trials/NUMBER; for all of them tune another --study"
    )


def _can_predict(fold: Path) -> bool:
    return (fold / "model.safetensors").exists() or any(fold.glob("test-*.npz"))


def dashboard_address(search: Search) -> str:
    """Return what ``optuna-dashboard`` is to open; it asks PGPASSWORD or ~/.pgpass for the password."""
    shown = search.storage.shown
    if shown == "journal":
        return str(search.folder / "journal.log")
    return shown.replace(":***@", "@").replace("postgresql://", "postgresql+psycopg://")
