"""The steps of `predict.py` around the ensemble: the test images, their predictions, the submission."""

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

import numpy as np

from competition.config import DataSettings
from competition.data.catalog import Catalog
from competition.data.prepare import decode, find_data
from competition.ensemble.combination import mean
from competition.errors import UserError, counted, first_few
from competition.logbook import sidecar
from competition.precision import pick_device
from competition.prediction.fitting import FittedDecision, FittedEnsemble
from competition.prediction.fold_prediction import ImageRows, predict_fold, stored_path
from competition.prediction.members import Member, data_of
from competition.prediction.record import describe_submission
from competition.prediction.settings import PredictSettings
from competition.predictions import Predictions, class_numbers, in_class_order
from competition.progress import Bar
from competition.runs import shortened, write_atomically, write_json
from competition.submission import guard, refuse_errors, submission_table, template_of

NAMED_RUNS = 4  # in the name of a submission
LONGEST_NAME = 200  # bytes of it; a file's name has 255 at most


def open_test(settings: PredictSettings, members: Sequence[Member]) -> Catalog:
    """Return the catalog of ``--data``; without it, of the data that the first run was trained on.

    Raises:
        UserError: no test images, other classes there, or a sample submission of a form that cannot be written.
    """
    catalog = find_data(data_of(settings, members[0]))
    if not len(catalog.of("test")):
        raise UserError(
            f"{catalog.source} has no test images: expected a test folder, test.csv or sample_submission.csv"
        )
    template_of(catalog, [], [])  # refused before anything is predicted
    strange = sorted(set(members[0].class_names) - set(catalog.class_names))
    if catalog.class_names and strange:
        raise UserError(
            f"{catalog.source} has no class {first_few(strange)}, which {members[0].folder} was trained on: it is "
            "another competition"
        )
    return catalog


class Pictures:
    """The test images of a catalog, decoded at each size that a network asks for."""

    def __init__(self, settings: DataSettings, catalog: Catalog) -> None:
        self._settings, self._catalog = settings, catalog
        self._decoded: dict[tuple[int, str], ImageRows] = {}

    def at(self, image_size: int, resize: str) -> ImageRows:
        """Return the images at one size; raises UserError for unreadable ones unless ``--on-bad skip``."""
        if (image_size, resize) not in self._decoded:
            store = decode(self._settings, self._catalog, image_size, resize)
            images = ImageRows.of_test(self._catalog, store)
            if not self._decoded:
                _report_unreadable(images, self._settings.on_bad)
            self._decoded[image_size, resize] = images
        return self._decoded[image_size, resize]


def _report_unreadable(images: ImageRows, on_bad: str) -> None:
    unreadable = images.store.facts["error"].to_numpy()[images.rows] != ""
    if not unreadable.any():
        return
    names = images.image_ids[unreadable]
    message = f"{counted(len(names), 'test image')} unreadable: {first_few(names)}"
    if on_bad == "fail":
        raise UserError(f"{message}: mend them, or predict them from a blank picture with --on-bad skip")
    print(f"warning: {message}; they are predicted from a blank picture", flush=True)


def predict_test(settings: PredictSettings, ensemble: FittedEnsemble, catalog: Catalog) -> Predictions:
    """Return the ensemble's probabilities of the test images; members without weight are not asked.

    Each member is the mean of its folds; members are joined by class name.
    """
    device, pictures = pick_device(settings.device), Pictures(settings, catalog)
    test, class_names = catalog.of("test"), ensemble.nested.class_names
    found = np.empty((len(ensemble.used), len(test), len(class_names)), np.float32)
    unkept: list[Path] = []
    total = sum(len(member.fold_folders) for member in ensemble.used) * len(test)
    with Bar("predicting", total) as bar:
        for place, member in enumerate(ensemble.used):
            images = pictures.at(member.image_size, member.resize)
            folds = [
                predict_fold(folder, images, member.views, device, settings.batch_size, bar.advance)
                for folder in member.fold_folders
            ]
            found[place] = mean([in_class_order(fold, class_names) for fold in folds])
            unkept += [path for path in member.fold_folders if not stored_path(path, images, member.views).exists()]
    if unkept:
        print(f"note: predictions cannot be kept in {first_few(unkept)}; the next ensemble makes them anew", flush=True)
    # For the score of labelled test images; one without a label, or of a class of its own, leaves it out.
    labels = class_numbers(test["label"], class_names) if set(test["label"]) <= set(class_names) else None
    probabilities = ensemble.combination.of_used().apply(found)
    return Predictions(np.asarray(test["image_id"], dtype=np.str_), class_names, probabilities, labels)


def output_path(settings: PredictSettings, folders: Sequence[str], catalog: Catalog) -> Path:
    """Return ``--out``, or submissions/ and the names of the runs and studies.

    Raises:
        UserError: a submission of that name which was made for other test images, or by other runs.
    """
    if settings.out is not None:
        return settings.out
    places = [Path(folder).resolve() for folder in folders]
    names = [place.name for place in places]
    rest = [f"{len(names) - NAMED_RUNS}-more"] if len(names) > NAMED_RUNS else []
    path = Path("submissions") / (shortened("+".join(names[:NAMED_RUNS] + rest), LONGEST_NAME) + ".csv")
    record = sidecar(path) if path.exists() else {}
    data, runs = record.get("data", str(catalog.source)), [run["run"] for run in record.get("runs", []) if "run" in run]
    of = f" of {data}" if data != str(catalog.source) else ""
    by = f" by {first_few(runs)}" if runs and not _are_of(runs, places) else ""
    if of or by:
        raise UserError(
            f"{path} holds the predictions{of}{by}: name another file with --out, or write over this one with "
            f"--out {quote(str(path))}"
        )
    return path


def _are_of(runs: Sequence[str], places: Sequence[Path]) -> bool:
    """Whether these runs are those of a command: every run and study has its own; a study may have more by now."""
    owners = [[place for place in places if Path(run).resolve().is_relative_to(place)] for run in runs]
    return all(owners) and {place for found in owners for place in found} == set(places)


def write_outputs(
    path: Path,
    settings: PredictSettings,
    ensemble: FittedEnsemble,
    decision: FittedDecision,
    catalog: Catalog,
    predictions: Predictions,
) -> int:
    """Write the submission and, beside it, what made it; return its rows.

    Raises:
        UserError: what a leaderboard would refuse.
    """
    class_names = np.asarray(predictions.class_names)
    labels = class_names[decision.decision.apply(predictions.probabilities)].tolist()
    ids, wanted = predictions.image_ids.tolist(), catalog.submission_ids
    template = template_of(catalog, ids if wanted is None else wanted, predictions.class_names)
    table = submission_table(ids, labels, template)
    refuse_errors(guard(table, template, decision.shares), path)
    write_atomically(path, table.to_csv(index=False))
    record = describe_submission(path, settings, ensemble, decision, catalog, template, predictions)
    write_json(path.with_suffix(".json"), record)
    _report_left_out(ids, template.ids, catalog.source)
    return len(table)


def _report_left_out(ids: Sequence[str], asked: Sequence[str], source: Path) -> None:
    known = set(asked)
    left_out = [name for name in ids if name not in known]
    if left_out:
        print(
            f"warning: {len(left_out):,} of {counted(len(ids), 'test image')} left out of the file: the sample "
            f"submission (or test list) of {source} does not name {first_few(left_out)}",
            flush=True,
        )
