"""Resident memory and speed of a cache of one million 64 x 64 images: ``python benchmarks/cache_memory.py``.

The cache is synthetic: a sparse file of 12.3 GB that takes no space, with real facts beside it. A process of its own
holds a table of a million rows, reads all facts, gathers shuffled batches for an epoch (or ``--batches``), and
prints its peak resident memory (VmHWM). The promise is at most 1 GB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BATCH = 128
LIMIT_BYTES = 1_000_000_000


def write_cache(folder: Path, count: int, size: int) -> None:
    """Write what ``open_images`` would have left, the pixels as a hole in the file."""
    rng = np.random.default_rng(0)
    shape = (count, size, size, 3)
    with open(folder / "images.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        offset = file.tell()
        file.truncate(offset + count * size * size * 3)
    hashes = {
        name: rng.integers(0, 2**64, count, dtype=np.uint64)
        for name in ("content_hash", "pixel_hash", "perceptual_hash")
    }
    floats = {name: rng.random(count, dtype=np.float32) for name in ("brightness", "contrast", "sharpness")}
    sides = {name: np.full(count, size, np.int32) for name in ("width", "height")}
    codes = np.zeros(count, np.int16)
    np.savez(
        folder / "facts.npz",
        bytes=np.full(count, 9000, np.int64),
        mode=np.array(["RGB"]),
        mode_codes=codes,
        format=np.array(["PNG"]),
        format_codes=codes,
        thumbnail=rng.integers(0, 256, (count, 192), dtype=np.uint8),
        **hashes,
        **floats,
        **sides,
    )
    meta = {"shape": shape, "resize": "squash", "is_stored": True, "offset": offset, "errors": {}}
    (folder / "meta.json").write_text(json.dumps(meta))


def peak_resident_bytes() -> int:
    """Return VmHWM of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmHWM in /proc/self/status: this benchmark needs Linux")


def measure(folder: Path, count: int, batches: int) -> None:
    """Hold a table, read the facts, gather; print one JSON line."""
    import pandas as pd

    from competition.data.cache import ImageStore

    paths = pd.Series([f"/data/train_images/{index:07d}.png" for index in range(count)], dtype=object)
    ids = pd.Series([f"{index:07d}.png" for index in range(count)], dtype=object)
    table = pd.DataFrame({"image_id": ids, "path": paths, "label": "a", "split": "train", "group": None})
    store = ImageStore(folder, table["path"])
    start_bytes = peak_resident_bytes()
    facts = store.facts
    facts_bytes = peak_resident_bytes()
    order = np.random.default_rng(0).permutation(count)
    start = time.perf_counter()
    for batch in range(batches):
        first = batch * BATCH % (count - BATCH)
        pictures = store.gather(order[first : first + BATCH])
    seconds = time.perf_counter() - start
    result = {
        "rows": len(table),
        "facts": len(facts),
        "table_peak_mb": round(start_bytes / 1e6),
        "facts_peak_mb": round(facts_bytes / 1e6),
        "peak_mb": round(peak_resident_bytes() / 1e6),
        "gathered_gb": round(batches * pictures.nbytes / 1e9, 1),
        "images_per_s": round(batches * BATCH / seconds),
        "us_per_batch": round(seconds / batches * 1e6),
    }
    print(json.dumps(result))


def main() -> int:
    """Make the cache, measure in a fresh process, and fail above the limit."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=1_000_000, help="images")
    parser.add_argument("--size", type=int, default=64, help="pixels on a side")
    parser.add_argument("--batches", type=int, default=0, help="batches of 128 to gather (0: one epoch)")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    batches = arguments.batches or arguments.count // BATCH
    if arguments.measure:
        measure(arguments.measure, arguments.count, batches)
        return 0
    with tempfile.TemporaryDirectory() as name:
        write_cache(Path(name), arguments.count, arguments.size)
        command = [sys.executable, __file__, "--measure", name, "--count", str(arguments.count)]
        command += ["--batches", str(batches)]
        line = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result = json.loads(line)
    print(line.strip())
    within = result["peak_mb"] * 1e6 <= LIMIT_BYTES
    verdict = "kept" if within else "BROKEN"
    print(f"peak resident memory {result['peak_mb']} MB, limit {LIMIT_BYTES / 1e6:.0f} MB: {verdict}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
