"""Record real learning curves for the replay of pruners: macro F1 of every epoch of every fold of many settings.

  python benchmarks/record_curves.py [--out benchmarks/learning_curves.csv] [--settings 30] [--minutes 45]

Each setting is drawn by `draw` and trained with the toolkit's own fold training on the embedded sample at
8 px, 5 folds of 10 epochs, validated every epoch. One row per setting and fold is appended as soon as it is
trained; the same command goes on after a kill.
"""

# ruff: noqa: E402
import argparse
import contextlib
import csv
import io
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from competition.process import settle

settle()  # before torch, as the scripts do

import numpy as np

from competition.config import TrainSettings
from competition.runs import counted_seed, environment, read_history
from competition.training.cross_validation import Run, open_run
from competition.training.display import Display
from competition.training.fit import fit_fold

FOLDS, EPOCHS, BATCH = 5, 10, 64
SIZE = 8  # px; at 16 px the good settings all came near 0.97, too close together to tell pruners apart
NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "plain 32": ("plain_cnn", {"widths": [32, 64, 128]}),
    "plain 24": ("plain_cnn", {"widths": [24, 48, 96], "dense_widths": []}),
    "resnet 16": ("resnet_fast", {"stem_width": 16, "widths": [16, 32, 64], "depths": [1, 1, 1]}),
    "resnet 24": ("resnet_fast", {"stem_width": 24, "widths": [24, 48, 96], "depths": [1, 1, 1]}),
}
LEARNING_RATES = {"adamw": (3e-4, 2e-2), "nmuon": (5e-4, 5e-2), "sgd": (5e-3, 5e-1)}
SET, AT_RANDOM = 30, 20  # of every 30 settings 20 are drawn from the whole range; the others vary three good ones
GOOD = (4, 11, 15)
DRAWN = ("network", "learning_rate", "optimizer", "augment", "mix", "dropout", "weight_decay")
COLUMNS = ("setting", *DRAWN, "fold", *(f"epoch_{epoch}" for epoch in range(1, EPOCHS + 1)))


def draw(number: int) -> dict[str, Any]:
    """Return setting ``number``: of every `SET` most from a range somebody might search, the last near good ones."""
    rng = np.random.default_rng(counted_seed("learning curves", number))
    return draw_at_random(rng) if number % SET < AT_RANDOM else vary(draw(GOOD[number % len(GOOD)]), rng)


def vary(drawn: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """Return a setting near another, as a sampler proposes them once it has learned something."""
    return {
        **drawn,
        "learning_rate": float(f"{drawn['learning_rate'] * np.exp(rng.normal(0, 0.5)):.3g}"),
        "weight_decay": float(f"{drawn['weight_decay'] * np.exp(rng.normal(0, 1)):.3g}"),
        "dropout": float(f"{rng.uniform(0, 0.3):.2f}"),
        "mix": str(rng.choice([drawn["mix"], "none", "mixup"])),
    }


def draw_at_random(rng: np.random.Generator) -> dict[str, Any]:
    """Return a setting from the whole range."""
    optimizer = str(rng.choice(list(LEARNING_RATES)))
    low, high = np.log(LEARNING_RATES[optimizer])
    return {
        "network": str(rng.choice(list(NETWORKS))),
        "learning_rate": float(f"{np.exp(rng.uniform(low, high)):.3g}"),
        "optimizer": optimizer,
        "augment": str(rng.choice(["none", "light", "medium"])),
        "mix": str(rng.choice(["none", "mixup", "cutmix"])),
        "dropout": float(f"{rng.uniform(0, 0.5):.2f}"),
        "weight_decay": float(f"{10 ** rng.uniform(-3, -0.5):.3g}"),
    }


def train_settings(drawn: dict[str, Any], cache: Path) -> TrainSettings:
    """Return the drawn setting as `train.py` would be told it."""
    model, options = NETWORKS[drawn["network"]]
    rest = {name: drawn[name] for name in DRAWN if name != "network"}
    return TrainSettings(
        model=model,
        model_options=options,
        image_size=SIZE,
        batch_size=BATCH,
        folds=FOLDS,
        epochs=EPOCHS,
        validate_every=1,
        cache_dir=cache,
        **rest,
    )


def curve(run: Run, settings: TrainSettings, fold: int) -> list[float]:
    """Train one fold in a folder of its own and return macro F1 after each epoch; the last is the out-of-fold score."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        job = replace(run, settings=settings, folder=Path(name)).job(fold)
        fit_fold(job, Display([fold]))
        return [record["macro_f1"] for record in read_history(job.folder / "history.jsonl") if "macro_f1" in record]


def begin(out: Path, run: Run) -> set[tuple[int, int]]:
    """Write the heading of a new file; returns the (setting, fold) pairs that an old one holds."""
    if out.exists():
        with open(out, newline="") as file:
            rows = csv.DictReader(line for line in file if not line.startswith("#"))
            return {(int(row["setting"]), int(row["fold"])) for row in rows}
    env = environment()
    images = f"{len(run.data.image_ids)} images, {len(run.data.class_names)} classes"
    heading = [
        "macro F1 after each epoch, by benchmarks/record_curves.py",
        f"the embedded sample at {SIZE} px: {images}, {FOLDS} folds, {EPOCHS} epochs, batch {BATCH}",
        "epochs 1 to 9 are validated with one view; the last is the out-of-fold score with 6 views",
        *(f"{name}: {model} {options}" for name, (model, options) in NETWORKS.items()),
        f"{env['processor']}, one core shared with other work, {run.machine.precision}",
        f"Python {env['python']}, {env['versions']}",
    ]
    out.write_text("".join(f"# {line}\n" for line in heading) + ",".join(COLUMNS) + "\n")
    return set()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("learning_curves.csv"))
    parser.add_argument("--settings", type=int, default=30)
    parser.add_argument("--minutes", type=float, default=45.0, help="start no further setting after this long")
    parser.add_argument("--cache-dir", type=Path, default=Path("~/.cache/competition"))
    values = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        base = train_settings(draw(0), values.cache_dir)
        run = open_run(base.replace(run=Path(name) / "run"))
    done = begin(values.out, run)
    for number in range(values.settings):
        missing = [fold for fold in range(FOLDS) if (number, fold) not in done]
        if time.monotonic() - start > 60 * values.minutes:
            break
        drawn = draw(number)
        for fold in missing:
            scores = curve(run, train_settings(drawn, values.cache_dir), fold)
            row = [number, *drawn.values(), fold, *(f"{score:.5f}" for score in scores)]
            with open(values.out, "a", newline="") as file:
                csv.writer(file, lineterminator="\n").writerow(row)
            print(*row, flush=True)


if __name__ == "__main__":
    main()
