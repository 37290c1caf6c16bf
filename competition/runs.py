"""The run folder and what keeps it whole: atomic writes, locks, history, counted seeds, environment.

runs/NAME/settings.yaml       effective settings (``train.py --config`` reads them back)
runs/NAME/run.json            fold table and its hash, class names, fingerprint of the images
runs/NAME/environment.json    machine, versions, command
runs/NAME/fold_K/             one folder per fold; nothing outside it is written by the fold
runs/NAME/oof.npz, oof.csv    pooled out-of-fold predictions
runs/NAME/score.json          macro F1, its interval, per fold, per class
"""

import errno
import fcntl
import hashlib
import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import IO, Any

from competition.errors import UserError, without_passwords

# What a file system without locks answers, such as Lustre mounted without ``-o flock`` and many of FUSE's.
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)


def write_atomically(path: Path, data: bytes | str, sync: bool = True) -> None:
    """Write a whole file or nothing: beside it, flushed to disk unless ``sync`` is off, then renamed over it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hosts and containers that share a folder can have the same PID at the same time; a name has 255 bytes at most.
    beside = path.with_name(f".{path.name[:40]}.tmp-{os.getpid()}-{time.time_ns()}")
    try:
        with open(beside, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):  # it may never have been made
            beside.unlink()
        if isinstance(error, OSError) and error.errno is not None:
            # A full disk does not say where it is, and nobody knows the file beside.
            error.filename, error.filename2 = str(path), None
        raise


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically."""
    write_atomically(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; raises UserError naming the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}): restore it, or make anew what it belongs to") from None


def read_run(folder: Path) -> dict[str, Any]:
    """Read ``run.json``; raises UserError when it is missing, damaged, or does not name the classes."""
    values = read_json(folder / "run.json")
    identity = values.get("identity") if isinstance(values, dict) else None
    if not isinstance(identity, dict) or not isinstance(identity.get("class_names"), list):
        raise UserError(f"{folder / 'run.json'} does not describe a run: restore it, or leave the run out")
    return values


def where_found(run: Mapping[str, Any], name: str, typed: Any) -> Any:
    """Return a setting of a run's data; a path is where ``run.json`` says the run found it, as long as that is there.

    Args:
        run: what ``run.json`` holds.
        name: of the setting.
        typed: its value in ``settings.yaml``, a path perhaps from the working directory of then.
    """
    recorded = run.get(name)
    if typed is None or recorded is None:
        return typed
    return typed if typed.exists() and not Path(recorded).exists() else Path(recorded)  # all has moved together


def is_finished(fold_folder: Path) -> bool:
    """Return whether a fold's folder holds a finished fold: its predictions are written last."""
    return (fold_folder / "predictions.npz").exists()


def refuse_other_identity(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], flag: str) -> None:
    """Raise UserError that lists what a folder was begun with and what is asked for now; ``flag`` names another."""
    differ = [f"  {name}: {then!r} then, {today!r} now" for name, then, today in _differences(before, now)]
    if differ:
        raise UserError(f"{folder} was begun with other settings:\n" + "\n".join(differ) + f"\nchoose another {flag}")


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    for name in {**before, **now}:
        then, today = before.get(name), now.get(name)
        if isinstance(then, dict) and isinstance(today, dict):
            yield from _differences(then, today, f"{prefix}{name}.")
        elif then != today:
            yield f"{prefix}{name}", then, today


def append_history(path: Path, record: dict[str, Any]) -> None:
    """Append one record to a JSON-lines file."""
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def read_history(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; a last line cut short by a kill is left out."""
    records = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                records.append(json.loads(line))
            except ValueError:
                break
    return records


def write_history(path: Path, records: list[dict[str, Any]]) -> None:
    """Write a JSON-lines file anew."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))


@contextmanager
def locked(path: Path, holder: str, wait: bool = False) -> Iterator[None]:
    """Hold an exclusive lock on a file; raises UserError when another process holds it, unless it is to wait.

    The kernel drops the lock when its process dies, so a kill leaves nothing to clean up. Where the file system has no
    locks, nobody is kept out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+") as file:
        try:
            take_lock(file, wait)
        except BlockingIOError:
            raise UserError(
                f"{holder} is being trained by another process: wait for it or choose another --run"
            ) from None
        yield


def take_lock(file: IO[str], wait: bool = False) -> bool:
    """Lock an open file until it is closed; returns False where the file system has no locks.

    Raises:
        BlockingIOError: another process holds the lock, and it is not to be waited for.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        if error.errno == errno.EACCES:  # how some network file systems say that it is held
            raise BlockingIOError(error.errno, error.strerror) from None
        raise
    return True


def counted_seed(*keys: int | str) -> int:
    """Return 64 bits that depend on the keys alone: randomness is counted, not carried."""
    text = "/".join(str(key) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def hash_file(path: Path) -> str:
    """Return the first 16 hex digits of a file's SHA-256."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def shortened(name: str, most: int) -> str:
    """Return a name of at most so many bytes: a longer one is cut, and a hash of the whole tells it from others."""
    whole = os.fsencode(name)
    if len(whole) <= most:
        return name
    return f"{whole[: most - 9].decode(errors='ignore').rstrip('-')}-{hashlib.sha256(whole).hexdigest()[:8]}"


def environment() -> dict[str, Any]:
    """Return what made a run: command, machine and the versions that can change a number."""
    packages = ("torch", "timm", "albumentations", "numpy", "opencv-python-headless", "scikit-learn", "pandas")
    return {
        "command": [Path(sys.argv[0]).name, *map(without_passwords, sys.argv[1:])],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "cores": os.cpu_count(),
        "versions": {name: version_of(name) for name in packages},
    }


def version_of(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
