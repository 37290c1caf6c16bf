"""A study, opened by one process: what its workers, its trials and its page are told."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial

from competition.config import TrainSettings
from competition.tuning.proposals import Space
from competition.tuning.settings import TuneSettings
from competition.tuning.storage import StudyStorage

if TYPE_CHECKING:  # seconds to import, and who claims trials never opens an image
    from competition.tuning.shelf import Shelf


@dataclass(frozen=True)
class Search:
    """A study, opened by one process.

    Attributes:
        folder: ``studies/NAME``.
        settings: what the search was told.
        space: what is searched.
        shelf: the images and folds that its trials share.
        storage: where the trials are recorded.
        study: Optuna's study.
        validations: validations per fold that a trial reports, the out-of-fold score among them.
    """

    folder: Path
    settings: TuneSettings
    space: Space
    shelf: "Shelf"
    storage: StudyStorage
    study: optuna.Study
    validations: int

    @property
    def base(self) -> TrainSettings:
        """The settings under the search."""
        return self.space.base

    def trials(self) -> list[FrozenTrial]:
        """Return every trial of the study."""
        return self.storage.patiently(lambda: self.study.get_trials(deepcopy=False))
