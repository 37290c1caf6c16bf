"""Trials per second of 1 and of 8 workers whose trials only wait: what claiming and recording cost.

  python benchmarks/tuning_workers.py                       a journal file
  python benchmarks/tuning_workers.py --postgres            a PostgreSQL server of its own (needs pgserver)
  python benchmarks/tuning_workers.py --storage URL         any other

The claims, the sampler (TPE over four settings) and the storage are those of tune.py; the training is a sleep.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import optuna
from optuna.trial import Trial, TrialState

from competition.config import TrainSettings
from competition.tuning.claims import Claim, Claims, Outcome
from competition.tuning.owners import Worker
from competition.tuning.search import Search
from competition.tuning.settings import TuneSettings
from competition.tuning.storage import open_storage
from competition.tuning.work import Stop, work

REPORTS = 10  # per trial: five folds with two validations each


class Space:
    base = TrainSettings()

    def suggest(self, trial: Trial) -> dict[str, object]:
        return {
            "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-3, 0.5, log=True),
            "dropout": trial.suggest_float("dropout", 0, 0.5),
            "mix": trial.suggest_categorical("mix", ["none", "cutmix", "mixup"]),
        }

    def search_space(self) -> dict[str, list[object]]:
        return {}


def run_worker(folder: Path, url: str | None, trials: int, seconds: float, begin: float) -> None:
    storage = open_storage(url, folder, folder.name)
    with storage.lock():
        study = optuna.create_study(
            storage=storage.trials, study_name=folder.name, direction="maximize", load_if_exists=True
        )
    settings = TuneSettings(trials=trials)
    search = Search(folder, settings, Space(), None, storage, study, REPORTS)  # type: ignore[arg-type]
    claims = Claims(search, Worker(folder))

    def objective(claim: Claim) -> Outcome:
        for step in range(REPORTS):
            time.sleep(seconds / REPORTS)
            claim.trial.report(0.5 + 0.01 * step, step)
            claim.trial.should_prune()
        return Outcome(TrialState.COMPLETE, (0.5,), {"seconds": seconds, "macro_f1": 0.5})

    time.sleep(max(0.0, begin - time.time()))  # imports are not counted
    start = time.perf_counter()
    work(claims, objective, Stop())
    print(time.perf_counter() - start)
    claims.worker.leave()


def seconds_with(workers: int, url: str | None, trials: int, seconds: float, warm_up: float) -> float:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / f"benchmark-{workers}-{os.getpid()}"
        folder.mkdir()
        words = [sys.executable, __file__, "--worker", str(folder), "--trials", str(trials), "--seconds", str(seconds)]
        words += ["--begin", str(time.time() + warm_up), *(["--storage", url] if url else [])]
        processes = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(workers)]
        return max(float(process.communicate()[0].splitlines()[-1]) for process in processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--trials", type=int, default=8, help="per worker")
    parser.add_argument("--seconds", type=float, default=3.0, help="a trial waits")
    parser.add_argument("--warm-up", type=float, default=20.0, help="seconds for the imports of all workers")
    parser.add_argument("--storage")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--begin", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        run_worker(asked.worker, asked.storage, asked.trials, asked.seconds, asked.begin)
        return
    url = asked.storage
    if asked.postgres:
        import pgserver

        server = pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
        url = server.get_uri()
    rates = {}
    for workers in (1, asked.workers):
        trials = asked.trials * workers
        seconds = seconds_with(workers, url, trials, asked.seconds, asked.warm_up)
        rates[workers] = trials / seconds
        print(f"{workers} workers: {trials} trials of {asked.seconds:g} s in {seconds:.1f} s, {rates[workers]:.3f}/s")
    print(f"ratio: {rates[asked.workers] / rates[1]:.2f}")
    if asked.postgres:
        server.cleanup()


if __name__ == "__main__":
    main()
