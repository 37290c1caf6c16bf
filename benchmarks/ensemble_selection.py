"""Time and memory of ``--ensemble auto``: 200 members x 50,000 images x 100 classes.

python benchmarks/ensemble_selection.py [--members 200] [--images 50000] [--classes 100]

Writes synthetic members' out-of-fold predictions into a scratch folder (TMPDIR; 20 MB each at full size, removed
afterwards), each as train.py writes them. A process of its own joins them, estimates and fits every method, and prints
seconds of both steps and its peak resident memory (VmHWM, pages of the memory map included). Nested macro F1 of
every method is printed for comparison. The promise: under 60 s and 4 GB on two cores.
"""

# ruff: noqa: E402
import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from competition.process import settle

settle()

import numpy as np

from competition.ensemble import report
from competition.ensemble.selection import select_ensemble
from competition.ensemble.stack import join_members
from competition.predictions import Predictions, load_predictions, save_predictions
from competition.process import usable_cores

FOLDS = 5


def write_members(folder: Path, members: int, images: int, classes: int) -> None:
    """Write members of different skill whose mistakes are partly the same."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, images)
    ids = np.array([f"{number:06d}.png" for number in range(images)])
    folds = np.arange(images) % FOLDS
    names = tuple(f"class {number:03d}" for number in range(classes))
    shared = rng.standard_normal((images, classes), dtype=np.float32)
    for member in range(members):
        logits = rng.standard_normal((images, classes), dtype=np.float32)
        logits += shared
        logits[np.arange(images), labels] += rng.uniform(3, 5)
        odds = np.exp(logits * np.float32(rng.uniform(0.7, 1.5)))
        probabilities = odds / odds.sum(axis=1, keepdims=True)
        save_predictions(folder / f"{member:04d}.npz", Predictions(ids, names, probabilities, labels, folds))


def peak_resident_bytes() -> int:
    """Return VmHWM of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status: this benchmark needs Linux")


def measure(folder: Path) -> None:
    """Join the members and select; print what it took."""
    paths = sorted(folder.glob("*.npz"))
    start, cpu = time.perf_counter(), time.process_time()
    stack = join_members([path.stem for path in paths], [lambda path=path: load_predictions(path) for path in paths])
    joined, cpu_joined = time.perf_counter(), time.process_time()
    selection = select_ensemble(stack, "auto")
    end, cpu_end = time.perf_counter(), time.process_time()
    print(report.table(selection))
    print(report.reason(selection))
    print(f"{stack.probabilities.shape} on {usable_cores()} cores")
    print(f"joined in {joined - start:.1f} s ({cpu_joined - cpu:.0f} s CPU)")
    print(f"selected in {end - joined:.1f} s ({cpu_end - cpu_joined:.0f} s CPU)")
    print(f"peak resident memory {peak_resident_bytes() / 1e9:.2f} GB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=200)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    values = parser.parse_args()
    if values.measure:
        return measure(values.measure)
    needed = 6 * values.members * values.images * values.classes  # the files, and the stack in float16
    if shutil.disk_usage(tempfile.gettempdir()).free < 1.2 * needed:
        sys.exit(f"needs {needed / 1e9:.0f} GB in {tempfile.gettempdir()}: set TMPDIR")
    with tempfile.TemporaryDirectory() as folder:
        write_members(Path(folder), values.members, values.images, values.classes)
        subprocess.run([sys.executable, __file__, "--measure", folder], check=True)
    return None


if __name__ == "__main__":
    main()
