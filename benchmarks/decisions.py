"""What decisions for macro F1 win and lose, and how long fitting and comparing take.

python benchmarks/decisions.py [--draws 50]

Models with a known truth: Bayes' rule for Gaussian features of 10 balanced classes, calibrated or with a prior of 20:1
that the truth does not have. Each draw fits on a few rows and is scored on 50,000 others; the oracle takes the weights
that are best on those themselves. Then processor seconds for 50,000 images of 100 classes.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from competition import metrics
from competition.class_weights import ascend
from competition.comparison import compare, open_contender
from competition.decision import fit_decision
from competition.predictions import Predictions, save_predictions

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]


def model_output(rng: np.random.Generator, rows: int, favour: NDArray[np.float64], separation: float) -> Sample:
    """Return (probabilities, labels); ``favour`` (K,) is added to the logits of a calibrated model."""
    labels = rng.integers(0, len(favour), rows)
    features = rng.normal(size=(rows, len(favour)))
    features[np.arange(rows), labels] += separation
    raised = np.exp(separation * features + favour)
    return (raised / raised.sum(axis=1, keepdims=True)).astype(np.float32), labels


def macro_f1(labels: NDArray[np.int64], decided: NDArray[np.int64], classes: int) -> float:
    return metrics.macro_f1(metrics.confusion(labels, decided, classes))


def print_gains(name: str, favour: NDArray[np.float64], rows: int, draws: int) -> None:
    """Print the true gain over argmax of each kind of decision."""
    probabilities, labels = model_output(np.random.default_rng(10**6), 50_000, favour, 2.0)
    argmax = macro_f1(labels, probabilities.argmax(axis=1), len(favour))
    logs = np.log(probabilities)
    best = ascend(logs, labels, np.zeros(len(favour)), caution=0)
    oracle = macro_f1(labels, (logs + best.astype(np.float32)).argmax(axis=1), len(favour)) - argmax
    cells = []
    for kind in ("auto", "prior", "weights"):
        gains = []
        for seed in range(draws):
            drawn = model_output(np.random.default_rng(seed), rows, favour, 2.0)
            fitted = fit_decision(kind, *drawn, np.arange(rows) % 5)
            gains.append(macro_f1(labels, fitted.apply(probabilities), len(favour)) - argmax)
        cells.append(f"{kind} {np.mean(gains):+.4f} [{min(gains):+.4f}, {max(gains):+.4f}]")
    print(f"{name:10} {rows:5} rows: argmax {argmax:.3f}, oracle {oracle:+.4f}, {', '.join(cells)}", flush=True)


def print_seconds(name: str, work: Callable[[], object]) -> None:
    start = time.process_time()
    work()
    print(f"{name:28} {time.process_time() - start:6.2f} s of processor time", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=50)
    draws = parser.parse_args().draws
    for rows in (500, 2000):
        print_gains("calibrated", np.zeros(10), rows, draws)
        print_gains("biased", np.log(np.geomspace(20, 1, 10)), rows, draws)

    rng = np.random.default_rng(0)
    probabilities, labels = model_output(rng, 50_000, rng.normal(0, 0.5, 100), 3.5)
    folds = rng.integers(0, 5, 50_000)
    for kind in ("prior", "weights", "auto"):
        print_seconds(f"--decide {kind}", lambda kind=kind: fit_decision(kind, probabilities, labels, folds))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "a.npz", Path(folder) / "b.npz"]
        for path, noise in zip(paths, (0.5, 0.6), strict=True):
            noisy = np.log(probabilities) + rng.normal(0, noise, probabilities.shape)
            ids, names = np.arange(50_000).astype(str), tuple(f"c{n}" for n in range(100))
            save_predictions(path, Predictions(ids, names, np.exp(noisy).astype(np.float32), labels, folds))
        print_seconds("compare", lambda: compare([open_contender(path) for path in paths]))
        print_seconds("compare --test-rows 5000", lambda: compare([open_contender(path) for path in paths], 5000))


if __name__ == "__main__":
    main()
