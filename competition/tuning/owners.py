"""Who works on a study, and who of them is still alive.

studies/NAME/workers/HOST-PID-TIME.lock   held by a living worker through the kernel, which drops it at its death
studies/NAME/workers/HOST-PID-TIME.json   what it is doing, for the display
"""

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

from competition.runs import take_lock

STATUS_SECONDS = 1.0  # between two notes of what a worker is doing


class Worker:
    """This process as a worker of a study; the lock is held from construction to `leave`."""

    def __init__(self, study_folder: Path) -> None:
        self.name = f"{platform.node()}-{os.getpid()}-{time.time_ns():x}"  # which no other worker has or had
        self._folder = study_folder / "workers"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._lock = open(self._folder / f"{self.name}.lock", "a")  # noqa: SIM115 (held while the process lives)
        take_lock(self._lock, wait=True)
        self._last_status = 0.0

    def tell(self, status: dict[str, Any], now: bool = False) -> None:
        """Note what this worker is doing, at most once a second unless ``now``."""
        if not now and time.monotonic() - self._last_status < STATUS_SECONDS:
            return
        self._last_status = time.monotonic()
        beside = self._folder / f".{self.name}.tmp"
        beside.write_text(json.dumps(status))  # not flushed to disk: worth nothing after a crash
        os.replace(beside, self._folder / f"{self.name}.json")

    def leave(self) -> None:
        """Drop the lock and the notes."""
        forget(self._folder.parent, self.name)
        self._lock.close()


def is_alive(study_folder: Path, name: str) -> bool | None:
    """Return whether a worker holds its lock; None where this machine cannot know: no lock file, or no locks."""
    path = study_folder / "workers" / f"{name}.lock"
    if not path.exists():
        return None
    with open(path, "a") as file:
        try:
            return False if take_lock(file) else None
        except BlockingIOError:
            return True


def forget(study_folder: Path, name: str) -> None:
    """Remove what a dead worker left."""
    for suffix in (".lock", ".json"):
        (study_folder / "workers" / f"{name}{suffix}").unlink(missing_ok=True)


def statuses(study_folder: Path) -> list[dict[str, Any]]:
    """Return what each worker of this machine is doing."""
    found = []
    for path in sorted((study_folder / "workers").glob("*.json")):
        try:
            found.append(json.loads(path.read_text()))
        except (OSError, ValueError):
            continue  # it has just left
    return found
