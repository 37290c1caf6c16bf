"""Seconds, megabytes and parts of ``python -m competition report`` for a finished run.

Run:  python benchmarks/report_speed.py runs/demo --rounds 3
A page for many classes without training one:  --classes 100 --images 5000 (a made-up run in a temporary folder)
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np

from competition.process import usable_cores
from competition.runs import environment, write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", type=Path, help="a finished run; not with --classes")
    parser.add_argument("--data", help="where its data is now")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--classes", type=int, default=0)
    parser.add_argument("--images", type=int, default=5000)
    values = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run, data = values.run, values.data
        if values.classes:
            run, data = make_run(place, values.classes, values.images), str(place / "data")
        flags = ["--data", data] if data else []
        seconds, megabytes = [], 0.0
        for _ in range(values.rounds):
            start = time.perf_counter()
            page = place / "page.html"
            words = [sys.executable, "-m", "competition", "report", str(run), "--out", str(page), *flags]
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - start)
            megabytes = page.stat().st_size / 1e6
    print(f"report of {run}: {median(seconds):.1f} s [{min(seconds):.1f}, {max(seconds):.1f}], page {megabytes:.1f} MB")
    env = environment()
    print(f"{env['processor']}, {usable_cores()} of {env['cores']} cores, versions {env['versions']}")


def make_run(place: Path, classes: int, images: int) -> Path:
    """Write class folders of noise and a run of untrained networks with plausible predictions; returns the run."""
    import cv2
    import torch
    import yaml

    from competition.checkpoint import Checkpoint, save_checkpoint
    from competition.config import TrainSettings
    from competition.inference import Preprocessing
    from competition.models.factory import create_network
    from competition.precision import Precision
    from competition.predictions import Predictions, save_predictions

    rng = np.random.default_rng(0)
    names = tuple(f"class {number:03}" for number in range(classes))
    labels = np.arange(images) % classes
    for name in names:
        (place / "data" / "train" / name).mkdir(parents=True)
    for number, label in enumerate(labels):
        colour = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = cv2.resize(colour, (64, 64)) // 2 + rng.integers(0, 128, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(place / "data" / "train" / names[label] / f"{number:05}.png"), picture)
    run, folds = place / "run", 2
    settings = TrainSettings(data=place / "data", folds=folds, model="resnet_fast", image_size=64)
    preprocessing = Preprocessing(64, "squash", (0.5,) * 3, (0.5,) * 3)
    network = create_network("resnet_fast", classes, image_size=64)
    ids = [f"train/{names[label]}/{number:05}.png" for number, label in enumerate(labels)]
    scores = rng.standard_normal((images, classes)) + 3.0 * np.eye(classes)[labels]
    probabilities = torch.from_numpy(scores).softmax(dim=1).numpy().astype(np.float32)
    for fold in range(folds):
        which = np.flatnonzero(np.arange(images) // classes % folds == fold)
        numbers = np.full(len(which), fold)
        held_out = Predictions(np.array(ids)[which], names, probabilities[which], labels[which], numbers)
        save_predictions(run / f"fold_{fold}" / "predictions.npz", held_out)
        checkpoint = Checkpoint("resnet_fast", {}, names, preprocessing, Precision())
        save_checkpoint(run / f"fold_{fold}", network, checkpoint)
    (run / "settings.yaml").write_text(yaml.safe_dump(settings.plain()))
    identity = {"class_names": list(names), "image_size": 64, "images_hash": "none", "fold_hash": "none"}
    write_json(run / "run.json", {"data": str(place / "data"), "fold_file": "none", "identity": identity})
    return run


if __name__ == "__main__":
    main()
