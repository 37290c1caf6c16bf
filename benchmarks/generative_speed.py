"""Training of the generative models end to end against the bare step, in turn, in one process.

  python benchmarks/generative_speed.py [--models dcgan,flow] [--image-size 32] [--rounds 5] [--seconds 6]

"end to end" is the loop of ``generate train`` with everything on (memory-mapped cache, shuffling, flips, moving
average, schedule, loss checks, history, progress, saved state); its sheet and checkpoint, ten of them in a training,
are timed apart. "bare step" is the model's own training step on one resident batch, in the same precision and layout.
Figures are images/s: median, [minimum, maximum] over the rounds; with --cpu-time by this process's CPU time in place of
the clock, for machines that others use too.
"""

# ruff: noqa: E402
import argparse
import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from competition.process import settle

settle()  # before torch, as the scripts do

import cv2
import numpy as np
import torch

from competition.generative.fit import Training
from competition.generative.model import Batch
from competition.generative.pictures import to_input
from competition.generative.run import open_run
from competition.generative.settings import GenerateSettings
from competition.runs import environment

IMAGES, CLASSES, STEPS = 2000, 10, 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="autoencoder,acai,vae,dcgan,flow")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--cpu-time", action="store_true")
    values = parser.parse_args()
    clock = time.process_time if values.cpu_time else time.perf_counter
    with tempfile.TemporaryDirectory() as name:
        write_images(Path(name) / "data", values.image_size)
        print(f"{'model':12} {'end to end':32}  {'bare step':32}  ratio, sheet and checkpoint, precision", flush=True)
        for model in values.models.split(","):
            compare(model, Path(name), values, clock)
    env = environment()
    print(f"{env['processor']}, {torch.get_num_threads()} threads, versions {env['versions']}")


def write_images(folder: Path, size: int) -> None:
    """Write PNGs of smoothed noise."""
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3), dtype=np.uint8), (0, 0), 1.5)
        path = folder / "train" / f"class{number % CLASSES}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), noise)


def compare(model: str, folder: Path, values: argparse.Namespace, clock) -> None:
    """Time one model's contenders in turn and print its row."""
    settings = GenerateSettings(
        model=model,
        data=folder / "data",
        cache_dir=folder / "cache",
        image_size=values.image_size,
        steps=STEPS,
        sheet_every=STEPS,
        precision=values.precision,
        run=folder / model,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        training = Training(open_run(settings))
    contenders = {"end to end": toolkit_steps(training), "bare step": bare_steps(training)}
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    with contextlib.redirect_stdout(io.StringIO()):
        for steps in contenders.values():
            rate(steps, 1.0, clock)  # warm up
        for _ in range(values.rounds):
            for name, steps in contenders.items():
                rates[name].append(rate(steps, values.seconds, clock))
        start = clock()
        training.look()
        looking = clock() - start
    ratios = [whole / bare for whole, bare in zip(*rates.values(), strict=True)]
    shown = "  ".join(f"{show(figures):32}" for figures in rates.values())
    print(f"{model:12} {shown}  {show(ratios, 3)}, {looking:.1f} s, {training.run.precision}", flush=True)


def show(values: list[float], digits: int = 0) -> str:
    return f"{statistics.median(values):.{digits}f} [{min(values):.{digits}f}, {max(values):.{digits}f}]"


def toolkit_steps(training: Training) -> Iterator[int]:
    """Take the loop's own steps, epoch after epoch."""
    while True:
        for pictures, positions in training.loader.epoch(training.step // training.loader.batches_per_epoch):
            training.take_step(pictures, positions)
            yield len(positions)


def bare_steps(training: Training) -> Iterator[int]:
    """Take the model's training step on one resident batch: losses, gradients, optimisers, nothing else."""
    learner = training.learner
    pictures, positions = next(iter(training.loader.epoch(0)))
    images = to_input(pictures, learner.device, learner.precision.memory_format)
    labels = training.labels[positions].to(learner.device)
    noise, progress = torch.Generator(learner.device).manual_seed(0), torch.tensor(0.5, device=learner.device)
    while True:
        with learner.precision.autocast(learner.device):
            learner.model.train_step(Batch(images, labels, noise, progress, learner._minimize))
        yield len(images)


def rate(steps: Iterator[int], seconds: float, clock) -> float:
    """Return images per second over about so many seconds."""
    images, start = 0, clock()
    while True:
        images += next(steps)
        if clock() - start > seconds:
            break
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images / (clock() - start)


if __name__ == "__main__":
    main()
