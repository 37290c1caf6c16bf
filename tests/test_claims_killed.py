"""Workers that are killed, on one machine and on several: nothing is lost; a database that goes away is waited for."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from competition.runs import locked
from competition.stop import Stop
from competition.tuning import storage as storages
from competition.tuning.claims import Nothing, counts
from competition.tuning.owners import is_alive
from competition.tuning.work import work
from tests.conftest import REPOSITORY
from tests.stand_in_worker import open_claims
from tests.test_claims import complete, states

PATIENT = {"timeout": 300}


@pytest.fixture(scope="module")
def postgres():
    """The address of a real PostgreSQL."""
    pgserver = pytest.importorskip("pgserver")
    pg_ctl = pgserver.postgres_server.pg_ctl
    with pytest.MonkeyPatch.context() as patch:  # it gives a server ten seconds to start
        patch.setenv("PGCTLTIMEOUT", "300")
        patch.setattr(pgserver.postgres_server, "pg_ctl", lambda *args, **options: pg_ctl(*args, **options | PATIENT))
        # As root it makes a user to run the server as: two processes at once would collide.
        with locked(Path(tempfile.gettempdir()) / "competition-tests-postgres.lock", "", wait=True):
            server = pgserver.get_server(tempfile.mkdtemp(prefix="pg"), cleanup_mode="delete")
    server.psql("ALTER SYSTEM SET fsync = off;")
    server.psql("SELECT pg_reload_conf();")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def database(postgres):
    """An address without any tables in it."""
    import psycopg

    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return postgres


def start(folder, total, gate, url=None, **environment):
    words = [sys.executable, str(REPOSITORY / "tests" / "stand_in_worker.py"), str(folder), str(total), str(gate)]
    return subprocess.Popen([*words, *filter(None, [url])], env={**os.environ, **environment})


def lines(folder, name):
    path = folder / name
    return path.read_text().splitlines() if path.exists() else []


def wait_until(condition):
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.02)


def kill_two_of_four(folders, total, gate, url=None, killed=lambda claims, trials: None, **environment):
    """Run four workers, kill two of them amid a trial, and return the claims of the finished study.

    ``killed`` is told which trials have lost their worker, before the others go on.
    """
    workers = [start(folder, total, gate, url, **environment) for folder in folders]
    try:
        # The gate is shut: nobody finishes, so four trials begun are one of each worker.
        wait_until(lambda: sum(len(lines(folder, "begun")) for folder in set(folders)) == 4)
        for worker in (workers[1], workers[2]):
            worker.send_signal(signal.SIGKILL)
            worker.wait()
        claims = open_claims(folders[0], total, url)
        dead = {str(worker.pid) for worker in (workers[1], workers[2])}
        killed(claims, [trial for trial in claims.trials() if trial.user_attrs["worker"].split("-")[-2] in dead])
        claims.worker.leave()
        gate.touch()
        assert [worker.wait(300) for worker in (workers[0], workers[3])] == [0, 0]
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            worker.wait()
    return open_claims(folders[0], total, url)


def assert_nothing_lost(claims, folders, total):
    trials = claims.trials()
    counted = [trial for trial in trials if counts(trial)]
    assert Counter(trial.state.name for trial in counted) == {"COMPLETE": total}
    # Each finished once, under one folder; what failed goes on as another.
    assert len({trial.user_attrs["folder"] for trial in counted}) == total
    ended = Counter(line for folder in set(folders) for line in lines(folder, "finished"))
    assert set(ended) == {trial.user_attrs["folder"] for trial in counted}
    failed = [trial for trial in trials if not counts(trial)]
    assert len(failed) == 2
    for trial in failed:
        successor = trials[trial.user_attrs["goes_on_as"]]
        assert trial.params == successor.params
        assert successor.user_attrs["folder"] == trial.user_attrs["folder"]


def test_two_of_four_workers_killed_with_a_journal(tmp_path):
    claims = kill_two_of_four([tmp_path] * 4, 12, tmp_path / "gate")
    assert_nothing_lost(claims, [tmp_path], 12)


def test_two_of_four_workers_killed_with_postgresql(tmp_path, database):
    claims = kill_two_of_four([tmp_path] * 4, 12, tmp_path / "gate", database)
    assert_nothing_lost(claims, [tmp_path], 12)


def test_two_of_four_workers_killed_on_other_machines(tmp_path, database):
    """Folders of their own, as on other machines: only the heartbeat tells that a worker is dead."""
    import psycopg

    folders = [tmp_path / str(number) for number in range(4)]

    def let_an_hour_pass(claims, trials):
        """Age every heartbeat; wait until the living have shown another, which the dead will not."""
        dead = {trial._trial_id for trial in trials}
        alive = {trial._trial_id for trial in claims.trials()} - dead
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("UPDATE trial_heartbeats SET heartbeat = heartbeat - interval '1 hour'")
        silent = lambda: claims.search.storage.silent_trials(claims.search.study._study_id)  # noqa: E731
        wait_until(lambda: not silent() & alive)
        assert silent() == dead

    claims = kill_two_of_four(folders, 12, tmp_path / "gate", database, let_an_hour_pass, BEAT="1")
    assert_nothing_lost(claims, folders, 12)


def test_workers_that_open_an_empty_database_at_once_make_its_tables_in_turn(tmp_path, database):
    import psycopg

    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with ThreadPoolExecutor(2) as pool:
        with psycopg.connect(database) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (storages.TABLES_KEY,))
            opened = [pool.submit(storages.open_storage, database, tmp_path, str(number)) for number in range(2)]
            wait_until(lambda: connection.execute(waiting).fetchone() == (2,))
            assert connection.execute(tables).fetchone() == (0,)
        assert [storage.result().trials.get_all_studies() for storage in opened] == [[], []]


def test_a_living_worker_is_told_from_a_dead_one(tmp_path):
    worker = start(tmp_path, 1, tmp_path / "gate")
    try:
        wait_until(lambda: lines(tmp_path, "begun"))
        claims = open_claims(tmp_path, 1)
        owner = claims.trials()[0].user_attrs["worker"]
        assert is_alive(tmp_path, owner) is True
        assert claims.claim() is Nothing.WAIT
        worker.kill()
        worker.wait()
        assert is_alive(tmp_path, owner) is False
        assert str(claims.claim().folder) == "trials/0000"
        assert is_alive(tmp_path, owner) is None  # and forgotten
    finally:
        worker.kill()


def test_postgresql_that_goes_away_is_waited_for(tmp_path, database, monkeypatch):
    claims = open_claims(tmp_path, 1, database)
    failures = iter([True, True, False])
    ask = optuna.Study.ask

    def away(self):
        if next(failures):
            import psycopg
            import sqlalchemy.exc

            raise sqlalchemy.exc.OperationalError("ask", {}, psycopg.OperationalError("server closed the connection"))
        return ask(self)

    monkeypatch.setattr(optuna.Study, "ask", away)
    work(claims, complete, Stop())
    assert states(claims) == {"COMPLETE": 1}
