"""Does tuning pay? Search on one half of a subset, then compare defaults and winner on the other half.

The subset (some classes, shrunk pictures) is dealt into two halves with the same number of images of each class. The
search sees the first half only; the defaults and the setting it chose are then trained on the second half, on the
same folds, and compared image by image. Both have the same epochs, image size and stem.

    python benchmarks/tuning_gain.py --data PATH --scratch DIR
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

from competition.config import DataSettings
from competition.data import archive
from competition.data.prepare import find_data

REPOSITORY = Path(__file__).parent.parent
COMMON = ["--epochs", "10", "--batch-size", "128", "--image-size", "32", "--model-options", "stem_stride=2"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a competition: folder or zip")
    parser.add_argument("--scratch", type=Path, required=True, help="empty folder for data, study and runs")
    parser.add_argument("--classes", type=int, default=30)
    parser.add_argument("--per-class", type=int, default=65, help="images of each class in each half")
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--timeout", default="25m", help="of the search")
    values = parser.parse_args()
    values.scratch.mkdir(parents=True, exist_ok=True)
    for half in ("search", "judge"):
        shutil.rmtree(values.scratch / half, ignore_errors=True)
    deal(values.data, values.scratch, values.classes, values.per_class)
    search = ["--data", "search", "--study", "gain", "--folds", "3", "--views", "2", "--validate-every", "2"]
    search += ["--trials", str(values.trials), "--timeout", values.timeout]
    run(values.scratch, "tune.py", *search, *COMMON)
    judge = ["--data", "judge", "--folds", "5", "--views", "2"]
    run(values.scratch, "train.py", "--run", "runs/defaults", *judge, *COMMON)
    best = ["--config", "studies/gain/best.yaml", "--run", "runs/tuned", *judge]
    run(values.scratch, "train.py", *best)
    run(values.scratch, "-m", "competition", "compare", "runs/defaults", "runs/tuned")


def deal(data: Path, scratch: Path, classes: int, per_class: int) -> None:
    """Write ``search/train/CLASS`` and ``judge/train/CLASS``; classes, and images in them, are drawn with seed 0."""
    table = find_data(DataSettings(data=data)).of("train")
    rng = np.random.default_rng(0)
    for label in rng.permutation(sorted(set(table["label"])))[:classes]:
        paths = table.loc[table["label"] == label, "path"].sort_values().to_numpy()
        chosen = rng.permutation(len(paths))[: 2 * per_class]
        for number, row in enumerate(chosen):
            picture = cv2.imdecode(np.frombuffer(archive.read_bytes(paths[row]), np.uint8), cv2.IMREAD_COLOR)
            target = scratch / ("search", "judge")[number % 2] / "train" / label / f"{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(target), picture)


def run(place: Path, script: str, *words: str) -> None:
    """Run one of the project's scripts, or -m competition, in the scratch folder; the time limit may end a search."""
    command = [sys.executable, script if script == "-m" else str(REPOSITORY / script), *words]
    print("$", *command[1:], flush=True)
    code = subprocess.run(command, cwd=place).returncode
    if code not in (0, 3):
        sys.exit(code)


if __name__ == "__main__":
    main()
