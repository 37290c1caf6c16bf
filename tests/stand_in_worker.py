"""A worker process with a stand-in for the training: python stand_in_worker.py FOLDER TOTAL GATE [URL].

Its objective waits until the file GATE exists, and notes in FOLDER/begun and FOLDER/finished which trial folders it
worked on.
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import optuna
from optuna.trial import TrialState

from competition.config import TrainSettings
from competition.stop import Stop
from competition.tuning import storage as storages
from competition.tuning.claims import Claims, Outcome
from competition.tuning.owners import Worker
from competition.tuning.search import Search
from competition.tuning.settings import TuneSettings
from competition.tuning.storage import open_storage
from competition.tuning.work import work

if "BEAT" in os.environ:
    storages.HEARTBEAT = 0.2


class Line:
    """One number."""

    base = TrainSettings()

    def suggest(self, trial):
        return {"x": trial.suggest_float("x", 0, 1), "y": trial.suggest_categorical("y", ["a", "b"])}

    def search_space(self):
        return {"x": [0.0, 0.5, 1.0], "y": ["a", "b"]}


def open_claims(folder, total, url=None, sampler="random", space=None):
    storage = open_storage(url, folder, "stand-in")
    with storage.lock():
        study = optuna.create_study(
            storage=storage.trials, study_name="stand-in", direction="maximize", load_if_exists=True
        )
    settings = TuneSettings(trials=total, sampler=sampler)
    search = Search(folder, settings, space or Line(), None, storage, study, validations=1)
    return Claims(search, Worker(folder))


def note(path, claim):
    with open(path, "a") as file:
        file.write(f"{claim.folder}\n")


def waiting_objective(folder, gate):
    def objective(claim):
        note(folder / "begun", claim)
        while not gate.exists():
            time.sleep(0.01)
        note(folder / "finished", claim)
        return Outcome(TrialState.COMPLETE, (claim.changes["x"],), {})

    return objective


if __name__ == "__main__":
    place, wanted, gate, *rest = sys.argv[1:]
    work(open_claims(Path(place), int(wanted), *rest), waiting_objective(Path(place), Path(gate)), Stop())
