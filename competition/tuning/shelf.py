"""What the trials of a study share in one process: the catalog, the decoded images, the folds, the number format."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from competition.config import TrainSettings
from competition.data.catalog import Catalog
from competition.data.prepare import find_data, natural_size
from competition.inference import Preprocessing
from competition.runs import counted_seed, locked
from competition.training.cross_validation import Run, choose_preprocessing, claim_folder, identity_of, settle
from competition.training.inputs import Machine
from competition.training.machine import choose_machine
from competition.training.material import Material, open_material
from competition.training.start import refuse_other_folds


class Shelf:
    """Opens runs one after another, each thing they share once.

    Args:
        base: the settings under the search.
        study_folder: where the number format of each network is kept.
        workers: processes that share this machine.
    """

    def __init__(self, base: TrainSettings, study_folder: Path, workers: int = 1) -> None:
        self.base, self._folder, self._workers = base, study_folder, workers
        self.catalog: Catalog = find_data(base)
        self._materials: dict[tuple[int, str], Material] = {}

    @cached_property
    def _natural_size(self) -> int:
        return natural_size(self.catalog)

    @property
    def labelled(self) -> int:
        """How many images the folds divide, those that cannot be read still among them."""
        return int(self.catalog.table["split"].isin(["train"] if self.base.holdout else ["train", "val"]).sum())

    def identity(self) -> dict[str, Any]:
        """Return what decides the outcome of the base settings; makes the fold table on first use."""
        return identity_of(*self._settle(self.base))

    def open_run(self, settings: TrainSettings, folder: Path) -> Run:
        """Open a trial as `train.py` opens a run; raises UserError for settings that cannot run."""
        settings, material, preprocessing = self._settle(settings)
        claim_folder(folder, settings, identity_of(settings, material, preprocessing), material.places)
        return Run(folder, settings, material, preprocessing, self._machine(settings, material, preprocessing))

    def _settle(self, settings: TrainSettings) -> tuple[TrainSettings, Material, Preprocessing]:
        """Return the effective settings, the images at their size, and input size and normalisation."""
        settings = settle(settings)
        is_sized = settings.image_size is not None or settings.weights is not None
        sized = settings if is_sized else settings.replace(image_size=self._natural_size)
        preprocessing = choose_preprocessing(sized, self.catalog)
        key = (preprocessing.image_size, settings.resize)
        if key not in self._materials:
            self._materials[key] = open_material(settings, self.catalog, preprocessing.image_size)
        refuse_other_folds(settings, self._materials[key])
        return settings, self._materials[key], preprocessing

    def _machine(self, settings: TrainSettings, material: Material, preprocessing: Preprocessing) -> Machine:
        """Return how a network runs: probed once per network and machine, so that its trials differ in nothing else."""
        size = preprocessing.image_size
        kind = counted_seed(settings.model, size, settings.precision, settings.device)
        folder = self._folder / "precision" / f"{settings.model.replace('/', '_')}-{size}-{kind:016x}"[:-8]
        with locked(folder / "lock", str(folder), wait=True):
            machine, answer = choose_machine(folder, settings, material.data, preprocessing)
            answer.save(folder)
        return replace(machine, workers=machine.workers // self._workers)
