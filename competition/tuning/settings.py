"""Every setting of `tune.py`'s search. Read by ``--help``, so nothing heavy is imported here."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from competition.cli import read_settings
from competition.config import TrainSettings
from competition.errors import UserError
from competition.settings import Duration, Settings, setting

SEARCH = "search"
# Settings that change what is trained, and that a trial cannot use.
NO_TRIAL_TAKES = ("prune_from", "prune_method", "pseudo_labels", "quota")
# Those, and settings of one run that a study decides itself.
NOT_FOR_TUNING = ("workers", "time_limit", "run", "only_folds", "tensorboard", *NO_TRIAL_TAKES)


@dataclass(frozen=True)
class TuneSettings(Settings):
    """Everything `tune.py` can be told about the search; `TrainSettings` are fixed under it or searched."""

    study: str | None = setting(None, SEARCH, "name of the study, kept in studies/NAME; auto: data and space")
    trials: int = setting(50, SEARCH, "trials of the study, over all workers and restarts", low=1)
    space: str = setting(
        "default", SEARCH, "what is searched: default, architecture, grid-mlp, grid-cnn, or a YAML file"
    )
    sampler: Literal["tpe", "random", "grid", "gp", "cmaes", "nsga2"] = setting(
        "tpe", SEARCH, "who proposes settings (nsga2 is meant for two objectives)"
    )
    pruner: Literal["auto", "two-level", "hyperband", "median", "none"] = setting(
        "auto", SEARCH, "who stops bad trials early; auto: two-level, with two objectives none"
    )
    objective: Literal["macro-f1"] = setting("macro-f1", SEARCH, "what is maximised, pooled over the folds")
    objective2: Literal["parameters", "latency"] | None = setting(
        None, SEARCH, "what is minimised beside it: parameters, or milliseconds of a forward pass of one image"
    )
    pick: Literal["score", "cost", "within", "knee"] = setting(
        "score",
        SEARCH,
        "which trial of the front becomes best.yaml: the best, the cheapest, the cheapest within 0.01 of the best "
        "macro F1, or the knee",
    )
    storage: str | None = setting(
        None,
        SEARCH,
        "where trials are recorded: postgresql://USER@HOST/DATABASE for many machines (password: PGPASSWORD or "
        "~/.pgpass), sqlite:///FILE for one worker; auto: a journal file in the study's folder",
    )
    workers: int = setting(1, SEARCH, "processes that train trials side by side and divide the cores", low=1, high=256)
    timeout: Duration | None = setting(
        None, SEARCH, "stop by then with everything saved; the same command goes on: 15m, 2h", low=1
    )
    predict_test: bool = setting(False, SEARCH, "keep every fold's test probabilities too, for ensembles of the study")
    keep_weights: bool = setting(False, SEARCH, "keep the networks of every trial")

    def contradictions(self) -> Iterator[str]:
        """Yield settings that cannot stand together."""
        if self.study is not None and (Path(self.study).name != self.study or self.study.startswith(".")):
            yield f"--study {self.study!r}: a plain name is wanted; the study is kept in studies/NAME"
        if self.objective2 and self.pruner not in ("auto", "none"):
            yield f"--pruner {self.pruner} with --objective2: trials with two objectives are never pruned; leave it out"
        if self.pick != "score" and not self.objective2:
            yield f"--pick {self.pick} weighs macro F1 against a second objective: add --objective2"
        if self.objective2 and self.sampler == "cmaes":
            yield "--sampler cmaes takes one objective: use tpe or nsga2 with --objective2"
        if (self.storage or "").startswith("sqlite") and self.workers > 1:
            yield (
                f"--storage sqlite with --workers {self.workers}: SQLite locks when several processes write; leave "
                "--storage out (a journal file) or use postgresql://"
            )

    @property
    def pruner_name(self) -> str:
        """The pruner, ``auto`` resolved."""
        return self.pruner if self.pruner != "auto" else "none" if self.objective2 else "two-level"


def read_tuning(values: dict[str, Any]) -> tuple[TuneSettings, TrainSettings]:
    """Build the settings of a search and, from ``--config`` overridden by flags, those under it.

    Raises:
        UserError: a wrong setting, or one that no trial takes.
    """
    own = {item.name for item in fields(TuneSettings)}
    search = TuneSettings(**{name: value for name, value in values.items() if name in own})
    base = read_settings(TrainSettings, {name: value for name, value in values.items() if name not in own})
    untold = TrainSettings()
    lost = [name for name in NO_TRIAL_TAKES if getattr(base, name) != getattr(untold, name)]
    if lost:
        named = ", ".join(f"{name} {getattr(base, name)}" for name in lost)
        raise UserError(
            f"{values['config']}: {named}: no trial takes this; remove it from the file, and give it to train.py "
            "with the settings that the search finds"
        )
    return search, base.replace(**{name: getattr(untold, name) for name in NOT_FOR_TUNING})
