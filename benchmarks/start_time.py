"""How long a person waits: for help, for a refusal, for a score, and for the first training batch.

python benchmarks/start_time.py [--data PATH] [--rounds 5]

Whole processes, timed from outside. The first batch is timed on a warm image cache, with a run folder of its own:
imports, checks, the precision probe and one optimisation step included. Seconds: median, [minimum, maximum].
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def seconds_of(words: list[str], folder: Path) -> float:
    """Run a command to its end."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, capture_output=True, check=False)
    return time.perf_counter() - start


def seconds_to_first_batch(words: list[str], folder: Path) -> float:
    """Start training and stop it at the first line that a fold prints, which follows its first step."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-u", *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("fold 0"):
            break
    seconds = time.perf_counter() - start
    process.kill()
    process.wait()
    return seconds


def report(name: str, measure: Callable[[], float], rounds: int) -> None:
    """Print one row."""
    values = [measure() for _ in range(rounds)]
    print(f"{name:28} {statistics.median(values):6.2f} [{min(values):.2f}, {max(values):.2f}]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="without it, the embedded sample")
    parser.add_argument("--rounds", type=int, default=5)
    values = parser.parse_args()
    train, rounds = str(REPOSITORY / "train.py"), values.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = folder / "truth.csv"
        truth.write_text("id,label\n" + "".join(f"image{n},class{n % 100}\n" for n in range(5000)))
        data = ["--data", str(Path(values.data).absolute())] if values.data else []
        first = [train, *data, "--cache-dir", str(folder / "cache")]
        seconds_to_first_batch(first, folder)  # warms the cache
        runs = iter(range(1000))
        report("train.py --help", lambda: seconds_of([train, "--help"], folder), rounds)
        report("train.py --epochs zero", lambda: seconds_of([train, "--epochs", "zero"], folder), rounds)
        score = ["-m", "competition", "score", str(truth), "--truth", str(truth)]
        report("score, 5,000 rows", lambda: seconds_of(score, REPOSITORY), rounds)
        report(
            "first batch, warm cache",
            lambda: seconds_to_first_batch([*first, "--run", f"runs/{next(runs)}"], folder),
            rounds,
        )


if __name__ == "__main__":
    main()
