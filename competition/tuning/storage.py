"""Where the trials of a study are recorded, and the lock under which they are claimed.

A journal file (the default) serves the processes of one machine, SQLite one process, PostgreSQL many machines. No
password leaves this module: `shown` is what messages and files may name.
"""

import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, TypeVar

import optuna
from optuna.storages import BaseStorage, RDBStorage

from competition.errors import UserError, did_you_mean, without_passwords
from competition.runs import counted_seed, locked, take_lock
from competition.tuning.journal import NO_LOCKS, open_journal

PATIENCE = 120.0  # s that a storage which answered before is waited for
FIRST_PATIENCE = 20.0  # s that one is waited for at the start, where a wrong address is likelier
HEARTBEAT = 15  # s between two signs of life of a trial in PostgreSQL
GRACE = 60  # s without one, after which a trial of another machine is taken for dead
TABLES_KEY = counted_seed("tables") - 2**63  # held while Optuna's tables are made; PostgreSQL's keys are signed
HOPELESS = ("authentication failed", "does not exist", "no password supplied", "no pg_hba.conf entry")

Answer = TypeVar("Answer")


class StorageDown(UserError):
    """The storage cannot be reached, and no trial is to blame."""


def open_storage(url: str | None, folder: Path, study: str) -> "StudyStorage":
    """Open the storage of a study.

    Args:
        url: ``--storage``; None is a journal file in the study's folder.
        folder: the study's folder.
        study: the study's name.

    Raises:
        UserError: an address of no known kind, a missing package, a damaged file, or a server that refuses.
        StorageDown: a server that does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")  # it has one here: `beating`
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if url is None:
        return LocalStorage(open_journal(folder / "journal.log"), "journal", folder)
    kind = url.split(":", 1)[0].split("+")[0]
    if kind == "sqlite":
        return LocalStorage(_open_sqlite(url), url, folder, is_for_one=True)
    if kind in ("postgresql", "postgres"):
        return PostgresStorage(url, study)
    known = ("postgresql://", "sqlite:///")
    close = did_you_mean(kind, [name.split(":")[0] for name in known])
    raise UserError(f"--storage {without_passwords(url)}: expected {' or '.join(known)}{close}, or none for a journal")


# -- one machine -----------------------------------------------------------------------------------------------


class LocalStorage:
    """A journal file or SQLite, with a kernel lock in the study's folder; SQLite is for one process.

    Both are refused where the file system has no locks: a living worker could not be told from a dead one.

    Attributes:
        trials: Optuna's view of it.
        shown: its address without a password.
        has_heartbeat: whether trials of other machines show signs of life in it.
    """

    has_heartbeat = False

    def __init__(self, trials: BaseStorage, shown: str, folder: Path, is_for_one: bool = False) -> None:
        self.trials, self.shown, self._path = trials, shown, folder / "claim.lock"
        self._sole = open(folder / "sole.lock", "a") if is_for_one else None  # noqa: SIM115 (held while it is used)
        if self._sole is not None:
            try:
                has_locks = take_lock(self._sole)
            except BlockingIOError:
                raise UserError(
                    f"{folder}: another process is at work, and SQLite locks when several write: wait for it, or "
                    "begin a study without --storage (a journal file) or with postgresql://"
                ) from None
            if not has_locks:
                raise UserError(f"{folder}: {NO_LOCKS}")

    def beat(self, trial_id: int) -> None:
        """Show a sign of life of a trial: none is needed, for the kernel knows who lives."""

    def beating(self, trial_id: int) -> AbstractContextManager[None]:
        """Show signs of life from another thread: none are needed."""
        return nullcontext()

    def silent_trials(self, study_id: int) -> set[int]:
        """Return the ids of running trials that have shown no sign of life for too long: of none is it known."""
        return set()

    def lock(self) -> AbstractContextManager[None]:
        """Hold the only lock under which trials are claimed; it is dropped when its holder dies."""
        return locked(self._path, str(self._path), wait=True)

    def patiently(self, action: Callable[[], Answer]) -> Answer:
        """Return the action's answer: a file is there or it is not."""
        return action()


def _open_sqlite(url: str) -> RDBStorage:
    import sqlalchemy.exc

    try:
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, ValueError) as error:
        raise UserError(f"--storage {url} cannot be opened: {_first_line(error)}") from None


# -- many machines ---------------------------------------------------------------------------------------------


class PostgresStorage:
    """PostgreSQL, with an advisory lock that the server drops when its holder's connection ends.

    Attributes and methods are those of `LocalStorage`.
    """

    has_heartbeat = True

    def __init__(self, url: str, study: str) -> None:
        self.shown = without_passwords(url)
        self._key = counted_seed("study", study) - 2**63
        self._back_since = float(-GRACE)
        self._database = self._try(lambda: self._open(url), FIRST_PATIENCE)
        self.trials = optuna.storages.get_storage(self._database)  # with Optuna's cache of finished trials

    def _open(self, url: str) -> RDBStorage:
        try:
            import psycopg  # noqa: F401
            from sqlalchemy import create_engine
        except ImportError:
            raise UserError("--storage postgresql:// needs a package: pip install 'psycopg[binary]'") from None
        address = "postgresql+psycopg:" + url.split(":", 1)[1].replace("{", "%7B").replace("}", "%7D")
        alive = {"keepalives_idle": 20, "keepalives_interval": 10, "keepalives_count": 3}
        options = {"pool_pre_ping": True, "connect_args": {"connect_timeout": 10, **alive}}
        engine = create_engine(address, connect_args=options["connect_args"])
        try:
            with _advisory_lock(engine, TABLES_KEY):  # two that make Optuna's tables at once would collide
                return RDBStorage(address, engine_kwargs=options, heartbeat_interval=HEARTBEAT, grace_period=GRACE)
        finally:
            engine.dispose()

    def beat(self, trial_id: int) -> None:
        """Show a sign of life of a trial."""
        self._database.record_heartbeat(trial_id)

    @contextmanager
    def beating(self, trial_id: int) -> Iterator[None]:
        """Show a sign of life every `HEARTBEAT` seconds; while the server is away there is nobody to show it to."""
        ended = threading.Event()

        def beat() -> None:
            while not ended.wait(HEARTBEAT):
                with suppress(Exception):
                    self.beat(trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()

    def silent_trials(self, study_id: int) -> set[int]:
        """Return the trials without a sign of life for `GRACE` seconds, unless the server itself was away."""
        if time.monotonic() - self._back_since < GRACE:
            return set()
        return set(self._database._get_stale_trial_ids(study_id))

    def lock(self) -> AbstractContextManager[None]:
        """Wait for the lock and hold it; a holder that hangs loses it after a minute."""
        return _advisory_lock(self._database.engine, self._key)

    def patiently(self, action: Callable[[], Answer]) -> Answer:
        """Return the action's answer, tried again for `PATIENCE` seconds while the server is away."""
        return self._try(action, PATIENCE)

    def _try(self, action: Callable[[], Answer], patience: float) -> Answer:
        end, pause = math.inf, 0.25
        while True:
            try:
                answer = action()
            except Exception as error:
                said = self._connection_trouble(error)
                if said is None:
                    raise
                if time.monotonic() + pause > end:
                    raise StorageDown(
                        f"--storage {self.shown} has not answered for {patience:.0f} s ({said}); all that was "
                        "finished is kept, and the same command goes on"
                    ) from None
            else:
                if end < math.inf:
                    self._back_since = time.monotonic()
                return answer
            if end == math.inf:
                end = time.monotonic() + patience
                print(f"storage {self.shown} does not answer; trying again for {patience:.0f} s", flush=True)
            time.sleep(pause)
            pause = min(2 * pause, 10.0)

    def _connection_trouble(self, error: Exception) -> str | None:
        """Return what a server that is away says, or None for any other error; raises UserError where it refuses."""
        cause = _connection_error(error)
        if cause is None:
            return None
        said = without_passwords(_first_line(cause))
        if any(word in said for word in HOPELESS):
            raise UserError(f"--storage {self.shown} refuses: {said}") from None
        return said


StudyStorage = LocalStorage | PostgresStorage


@contextmanager
def _advisory_lock(engine: Any, key: int) -> Iterator[None]:
    from sqlalchemy import text

    with engine.begin() as connection:
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        yield


def _connection_error(error: BaseException | None) -> BaseException | None:
    """Return the error beneath Optuna's that says the server is away, or None for any other error."""
    from sqlalchemy import exc

    while error is not None:
        if isinstance(error, exc.OperationalError | exc.InterfaceError):
            return error
        # Tables made by two processes at the same moment; and what a session is left with by a lost connection.
        if isinstance(error, exc.PendingRollbackError) or "pg_type_typname_nsp_index" in str(error):
            return error
        error = error.__cause__ or error.__context__
    return None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
