"""Prediction against the bare forward pass, in turn, in one process.

python benchmarks/prediction_speed.py [--model resnet18] [--rounds 7]

"prediction" is the evaluation path of predict.py: image store, loader, normalisation, one view, softmax, probabilities
in row order. "bare forward" is the network on one resident batch in the same precision and layout. Images/s: median,
[minimum, maximum].
"""

# ruff: noqa: E402
import argparse
import time

from competition.process import settle

settle()  # before torch, as the scripts do

import numpy as np
import torch

from competition.data.loader import Loader
from competition.inference import Preprocessing, predict_probabilities, views_of
from competition.models.factory import create_network
from competition.precision import pick_device
from competition.runs import environment
from competition.training.probe import probe_precision

SIZE, BATCH, CLASSES, IMAGES = 64, 256, 100, 2048


class ArrayImages:
    def __init__(self, count: int) -> None:
        self.pictures = np.random.default_rng(0).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return self.pictures[rows]


def main() -> None:
    from training_speed import show

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--rounds", type=int, default=7)
    values = parser.parse_args()
    device = pick_device("auto")
    network = create_network(values.model, CLASSES, image_size=SIZE)
    precision, _ = probe_precision(network, torch.randn(64, 3, SIZE, SIZE), "auto", device)
    precision.place(network, device).eval()
    preprocessing = Preprocessing(SIZE, "squash", (0.5,) * 3, (0.5,) * 3)
    loader = Loader(ArrayImages(IMAGES), np.arange(IMAGES), np.arange(IMAGES, dtype=np.uint64), BATCH)
    resident = torch.randn(BATCH, 3, SIZE, SIZE).to(device).contiguous(memory_format=precision.memory_format)

    def predict() -> float:
        start = time.perf_counter()
        predict_probabilities(network, loader, CLASSES, preprocessing, precision, device, views_of(1))
        return IMAGES / (time.perf_counter() - start)

    @torch.inference_mode()
    def forward() -> float:
        start = time.perf_counter()
        for _ in range(IMAGES // BATCH):
            with precision.autocast(device):
                network(resident)
        return IMAGES / (time.perf_counter() - start)

    predict(), forward()  # warm up
    pairs = [(predict(), forward()) for _ in range(values.rounds)]
    print(f"{values.model}, {precision}")
    print(f"prediction   images/s {show([a for a, _ in pairs])}")
    print(f"bare forward images/s {show([b for _, b in pairs])}")
    print(f"prediction / bare forward {show([a / b for a, b in pairs])}")
    env = environment()
    print(f"{env['processor']}, {env['cores']} cores, versions {env['versions']}")


if __name__ == "__main__":
    main()
