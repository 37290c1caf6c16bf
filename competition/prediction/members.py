"""The members of an ensemble: run folders, and the finished trials of studies."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from competition.cli import read_run_settings
from competition.config import DATA_FLAGS, DataSettings, TrainSettings
from competition.ensemble.stack import refuse_different_classes
from competition.errors import UserError, counted, first_few
from competition.predictions import Predictions, load_predictions, pool
from competition.runs import is_finished, read_json, read_run, where_found
from competition.settings import flag

Told = TypeVar("Told", bound=DataSettings)


@dataclass(frozen=True)
class Member:
    """One run; on test images its folds are averaged.

    Attributes:
        folder: ``runs/NAME`` or ``studies/NAME/trials/NUMBER``.
        fold_folders: its finished folds.
        class_names: K names.
        settings: those it was trained with.
        image_size: side of the square that its networks see, in pixels.
        resize: how a picture became that square.
        views: test-time views of each image.
        rescored: out-of-fold predictions that stand in for the run's own, made with other views.
    """

    folder: Path
    fold_folders: list[Path]
    class_names: tuple[str, ...]
    settings: TrainSettings
    image_size: int
    resize: str
    views: int
    rescored: Predictions | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every fold is finished."""
        return len(self.fold_folders) == len(self.settings.fold_numbers)

    @property
    def cautions(self) -> list[str]:
        """Why its out-of-fold score may not be that of its test predictions."""
        found = []
        if self.settings.stop_after is not None:
            found.append("each fold's epoch was picked on the images it is scored on: expect less on new images")
        if self.rescored is None and self.views != self.settings.views:
            own = counted(self.settings.views, "view")
            found.append(f"scored with {own} out of fold, test images get {self.views}: --views auto scores both alike")
        return found

    def out_of_fold(self) -> Predictions:
        """Return the pooled predictions of the images that each fold held out."""
        if self.rescored is not None:
            return self.rescored
        if self.is_whole and (self.folder / "oof.npz").exists():
            return load_predictions(self.folder / "oof.npz")
        return pool([load_predictions(folder / "predictions.npz") for folder in self.fold_folders])


def open_members(folders: Sequence[str], allow_partial: bool = False, views: int | None = None) -> list[Member]:
    """Open the runs, and the finished trials of the studies.

    Args:
        folders: runs and studies.
        allow_partial: take runs with unfinished folds.
        views: test-time views of every member; None: those of each run's own score.

    Raises:
        UserError: no run, a run named twice, no finished fold, unfinished folds without ``--allow-partial``,
            different classes.
    """
    paths = [path for folder in folders for path in _expand(Path(folder))]
    places = [path.resolve() for path in paths]
    twice = sorted({str(path) for path, place in zip(paths, places, strict=True) if places.count(place) > 1})
    if twice:
        raise UserError(f"named more than once: {first_few(twice)}; the ensemble finds the weights by itself")
    members = [_open_member(path, allow_partial, views) for path in paths]
    refuse_different_classes([str(member.folder) for member in members], [member.class_names for member in members])
    return members


def _expand(folder: Path) -> list[Path]:
    """Return the finished trials of a study; any other folder is a run, or refused later."""
    if not (folder / "study.json").exists():
        return [folder]
    finished = sorted(path.parent for path in folder.glob("trials/*/score.json"))
    if not finished:
        raise UserError(f"{folder} is a study without a finished trial: tune on with tune.py")
    return finished


def _open_member(folder: Path, allow_partial: bool, views: int | None) -> Member:
    if not (folder / "run.json").exists():
        raise UserError(
            f"{folder} is not a run (it has no run.json): name a folder that train.py made, such as runs/NAME, "
            "or one that tune.py made, such as studies/NAME"
        )
    run = read_run(folder)
    if run.get("kind") == "generative":
        raise UserError(f"{folder} is a run of `generate train`, which makes pictures: name one of train.py")
    settings = read_run_settings(TrainSettings, folder)
    finished = _finished_folds(folder, settings, allow_partial)
    image_size, resize = _preprocessing(finished[0], run, settings)
    return Member(
        folder, finished, tuple(run["identity"]["class_names"]), settings, image_size, resize, views or settings.views
    )


def _finished_folds(folder: Path, settings: TrainSettings, allow_partial: bool) -> list[Path]:
    wanted = [folder / f"fold_{fold}" for fold in settings.fold_numbers]
    finished = [path for path in wanted if is_finished(path)]
    missing = [fold for fold, path in enumerate(wanted) if path not in finished]
    if not finished:
        raise UserError(f"{folder} has no finished fold: train it first")
    if missing and not allow_partial:
        raise UserError(
            f"{folder}: not finished: fold {first_few(missing)}; finished: {len(finished)} of {len(wanted)}. "
            "Train on with the same train.py command, or use what there is with --allow-partial"
        )
    return finished


def _preprocessing(fold_folder: Path, run: dict[str, Any], settings: TrainSettings) -> tuple[int, str]:
    """Return (image size, resize) from the checkpoint's description, or from the run where that was deleted."""
    path = fold_folder / "model.json"
    if path.exists():
        try:
            stored = read_json(path)["preprocessing"]
            return int(stored["image_size"]), str(stored["resize"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path} does not describe a checkpoint: {error!r}") from None
    return int(run["identity"]["image_size"]), settings.resize


def data_of(settings: Told, member: Member) -> Told:
    """Return where the images are: ``--data``, or without it the data that the run was trained on, as it was read then.

    A flag that is given counts before the run's own.

    Raises:
        UserError: the run's data is no longer there.
    """
    if settings.data is not None:
        return settings
    run = read_run(member.folder)
    absent = [name for name in DATA_FLAGS if getattr(settings, name) is None]
    own = {name: where_found(run, name, getattr(member.settings, name)) for name in absent}
    if own["data"] is not None and not own["data"].exists():
        told = [f" {flag(name)} {value}" for name, value in own.items() if name != "data" and value is not None]
        raise UserError(
            f"{member.folder}: the data it was trained on is no longer at {own['data']}. Where it has moved, say so "
            f"with --data PATH{''.join(told)}"
        )
    return settings.replace(**own)


def training_data_of(settings: Told, member: Member) -> Told:
    """Return where the images are that a run was trained on: where they were then, or else as `data_of` says."""
    given = member.settings.data
    is_there = given is None or Path(read_run(member.folder).get("data", given)).exists()
    return data_of(settings.replace(**dict.fromkeys(DATA_FLAGS)) if is_there else settings, member)
