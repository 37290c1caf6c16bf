"""Training end to end against the bare step and against a plain PyTorch loop, in turn, in one process.

  python benchmarks/training_speed.py [--model resnet18] [--device auto] [--images 4000] [--rounds 5] [--seconds 6]

All three train the same network at 64 x 64 with batches of 128. "end to end" is this toolkit's fold training with
everything on (memory-mapped cache, albumentations, CutMix, schedule, progress, history); "bare step" is forward,
backward and optimiser on one resident batch in the same precision and layout; "plain loop" is float32, PIL decoding
and torchvision transforms in a DataLoader of as many workers as the toolkit takes. Figures are images/s: median, then
minimum and maximum over the rounds.
"""

# ruff: noqa: E402
import argparse
import itertools
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
from torch import nn

from competition.config import TrainSettings
from competition.data.loader import image_keys
from competition.data.prepare import decode, find_data
from competition.inference import Preprocessing
from competition.runs import environment
from competition.training.display import Display
from competition.training.fit import FoldTraining
from competition.training.inputs import FoldJob, Machine, TrainingData
from competition.training.machine import choose_machine

SIZE, BATCH, CLASSES = 64, 128, 20


def write_images(folder: Path, count: int) -> None:
    """Write PNGs of smoothed noise, about as large as photographs of this size."""
    rng = np.random.default_rng(0)
    for number in range(count):
        noise = cv2.GaussianBlur(rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8), (0, 0), 1.5)
        path = folder / "train" / f"class{number % CLASSES:02}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), noise)


def toolkit_steps(settings: TrainSettings, folder: Path) -> tuple[Iterator[int], FoldTraining]:
    """Return an iterator that takes one step of the toolkit's training per ``next``."""
    catalog = find_data(settings)
    store = decode(settings, catalog, SIZE, "squash")
    ids = catalog.table["image_id"].tolist()
    labels = catalog.table["label"].str[-2:].astype(int).to_numpy(np.int64)
    names = tuple(sorted(set(catalog.table["label"])))
    data = TrainingData(np.asarray(ids), labels, names, image_keys(ids), np.arange(len(ids)), store)
    preprocessing = Preprocessing(SIZE, "squash", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    training = make_training(settings, data, preprocessing, folder)

    def steps() -> Iterator[int]:
        counted = training._batches

        def watched() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
            for batch in counted():
                yield batch
                done.append(len(batch[1]))

        training._batches = watched  # type: ignore[method-assign]
        while True:
            training.train_epoch()
            yield sum(done)
            done.clear()

    done: list[int] = []
    return steps(), training


def make_training(
    settings: TrainSettings, data: TrainingData, preprocessing: Preprocessing, folder: Path
) -> FoldTraining:
    """Return a fold's training on the machine and in the precision that `train.py` would choose."""
    machine, answer = choose_machine(folder, settings, data, preprocessing)
    print(f"{machine} {answer.rates}")
    held_out = np.zeros(len(data.labels), dtype=bool)
    held_out[:1] = True
    job = FoldJob(settings, data, held_out, 0, folder, preprocessing, machine)
    display = Display([0])
    display.start_fold(0, settings.epochs)
    return FoldTraining(job, display)


def bare_steps(training: FoldTraining) -> Iterator[int]:
    """Take forward, backward and optimiser steps on one resident batch."""
    learner, device = training.learner, training.job.machine.device
    precision = training.job.machine.precision
    pictures, positions = next(training.loader.epoch(0))
    images = training.job.preprocessing.to_input(pictures, device, precision.memory_format)
    labels = learner._targets[positions]
    learner.network.train()
    while True:
        with precision.autocast(device):
            logits = learner.network(images)
        loss = learner._loss(logits.float(), labels)
        learner.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        learner.optimizer.step()
        yield len(images)


def plain_steps(model: str, folder: Path, machine: Machine) -> Iterator[int]:
    """Train as most scripts do: float32, PIL, torchvision transforms, DataLoader."""
    import timm
    from torchvision import datasets, transforms

    transform = transforms.Compose(
        [
            transforms.RandomCrop(SIZE, padding=8, padding_mode="reflect"),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    dataset = datasets.ImageFolder(str(folder / "train"), transform)
    loader = torch.utils.data.DataLoader(dataset, BATCH, shuffle=True, num_workers=machine.workers, drop_last=True)
    network = timm.create_model(model, num_classes=CLASSES).to(machine.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    loss_function = nn.CrossEntropyLoss(label_smoothing=0.1)
    for images, labels in itertools.chain.from_iterable(itertools.repeat(loader)):
        images, labels = images.to(machine.device), labels.to(machine.device)
        loss = loss_function(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(images)


def rate(steps: Iterator[int], seconds: float) -> float:
    """Return images per second over at least ``seconds``."""
    start, images = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        images += next(steps)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return images / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--images", type=int, default=4000)
    values = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_images(folder, values.images)
        settings = TrainSettings(
            data=folder, cache_dir=folder / "cache", model=values.model, batch_size=BATCH, grow_from=1,
            optimizer="adamw", learning_rate=1e-3, epochs=100_000, device=values.device,
        )  # fmt: skip
        (folder / "fold").mkdir()
        end_to_end, training = toolkit_steps(settings, folder / "fold")
        compare(
            {
                "end to end": end_to_end,
                "bare step": bare_steps(training),
                "plain loop": plain_steps(values.model, folder, training.job.machine),
            },
            values.rounds,
            values.seconds,
        )
    env = environment()
    print(f"{env['processor']}, {env['cores']} cores, versions {env['versions']}")


def show(values: list[float]) -> str:
    return f"{statistics.median(values):8.3f} [{min(values):.3f}, {max(values):.3f}]"


def compare(contenders: dict[str, Iterator[int]], rounds: int, seconds: float) -> None:
    """Time the contenders in turn and print rates and ratios."""
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for steps in contenders.values():
        rate(steps, 1.0)  # warm up
    for _ in range(rounds):
        for name, steps in contenders.items():
            rates[name].append(rate(steps, seconds))
    for name, values in rates.items():
        print(f"{name:12} images/s {show(values)}")
    for name in list(contenders)[1:]:
        ratios = [a / b for a, b in zip(rates["end to end"], rates[name], strict=True)]
        print(f"end to end / {name:12} {show(ratios)}")


if __name__ == "__main__":
    main()
