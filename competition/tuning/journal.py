"""The journal file: safe with several processes of one machine, mended where a killed writer left a line cut."""

import os
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from competition.errors import UserError
from competition.runs import take_lock

NO_LOCKS = (
    "its file system has no locks, and without them two processes at once would damage a study: give "
    "--storage postgresql://, or work in a folder on a local disk"
)


class JournalLock:
    """A kernel lock on a file beside the journal: no writer's death can leave it behind.

    Whoever takes it first removes the last line if a killed writer left it cut.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._file: Any = None

    def acquire(self) -> bool:
        """Wait for the lock; raises UserError where the file system has none."""
        self._file = open(self._journal.with_suffix(".lock"), "a")  # noqa: SIM115 (released by its own method)
        if not take_lock(self._file, wait=True):
            self.release()
            raise UserError(f"{self._journal}: {NO_LOCKS}")
        mend_last_line(self._journal)
        return True

    def release(self) -> None:
        """Drop the lock."""
        self._file.close()


def mend_last_line(path: Path) -> None:
    """Cut off what follows the last line's end: its writer died, and nobody was told that it is kept."""
    if not path.exists():
        return
    with open(path, "r+b") as file:
        size = end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        if end < size:
            file.truncate(end)


def open_journal(path: Path) -> JournalStorage:
    """Open a journal file, mended; raises UserError without locks, or when a line within it is damaged."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = JournalLock(path)
    lock.acquire()
    lock.release()
    try:
        return JournalStorage(JournalFileBackend(str(path), lock_obj=lock))  # type: ignore[arg-type]
    except (ValueError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}): begin another --study, or restore the file") from None
