"""Who trains which trial: exact totals, nothing lost to kills, stale trials queued again, failures."""

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
from optuna.trial import TrialState

from competition.errors import UserError
from competition.runs import locked
from competition.training.watch import TimeUp
from competition.tuning import claims as claims_module
from competition.tuning import storage as storages
from competition.tuning.claims import MOST_DEATHS, MOST_FAILURES, Nothing, Outcome, counts
from competition.tuning.owners import is_alive
from competition.tuning.work import Stop, work
from tests.conftest import REPOSITORY
from tests.stand_in_worker import open_claims

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


def states(claims):
    return Counter(trial.state.name for trial in claims.trials())


def complete(claim):
    return Outcome(TrialState.COMPLETE, (claim.changes["x"],), {})


def failing(claim):
    raise ValueError("no such thing\nmore")


# -- one process -----------------------------------------------------------------------------------------------


def test_the_total_counts_over_restarts(tmp_path):
    for total in (3, 3, 5):
        work(open_claims(tmp_path, total), complete, Stop())
        assert states(open_claims(tmp_path, total)) == {"COMPLETE": total}


def test_the_defaults_are_trial_0_once(tmp_path):
    for _ in range(2):
        claims = open_claims(tmp_path, 2)
        claims.enqueue_first({"x": 0.25, "y": "b"})
        work(claims, complete, Stop())
    assert claims.trials()[0].params == {"x": 0.25, "y": "b"}
    assert len(claims.trials()) == 2


def test_proposals_do_not_repeat_and_do_not_depend_on_restarts(tmp_path):
    work(open_claims(tmp_path / "a", 4), complete, Stop())
    for total in (2, 4):
        work(open_claims(tmp_path / "b", total), complete, Stop())
    found = [[trial.params["x"] for trial in open_claims(tmp_path / name, 4).trials()] for name in "ab"]
    assert found[0] == found[1]
    assert len(set(found[0])) == 4


def test_a_grid_is_tried_point_by_point_and_ends(tmp_path):
    work(open_claims(tmp_path, 50, sampler="grid"), complete, Stop())
    tried = [tuple(trial.params.values()) for trial in open_claims(tmp_path, 50).trials()]
    assert sorted(tried) == [(x, y) for x in (0.0, 0.5, 1.0) for y in "ab"]


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes", "nsga2"])
def test_every_sampler_proposes(tmp_path, sampler):
    work(open_claims(tmp_path, 12, sampler=sampler), complete, Stop())
    assert states(open_claims(tmp_path, 12)) == {"COMPLETE": 12}


def test_a_failed_trial_has_its_reason_and_the_study_goes_on(tmp_path):
    outcomes = iter([failing, complete, failing])
    claims = open_claims(tmp_path, 3)
    work(claims, lambda claim: next(outcomes)(claim), Stop())
    assert [trial.state.name for trial in claims.trials()] == ["FAIL", "COMPLETE", "FAIL"]
    assert claims.trials()[0].user_attrs["failed_because"] == "ValueError: no such thing"
    assert "Traceback" in (tmp_path / "trials" / "0000" / "error.txt").read_text()


def test_ten_failures_in_a_row_stop_the_study_until_the_next_command(tmp_path):
    for total in (MOST_FAILURES, 2 * MOST_FAILURES):
        with pytest.raises(UserError, match=r"the last 10 trials all failed.*\n  ValueError: no such thing\n"):
            work(open_claims(tmp_path, 100), failing, Stop())
        assert states(open_claims(tmp_path, 100)) == {"FAIL": total}


def test_nine_failures_do_not(tmp_path):
    work(open_claims(tmp_path, 9), failing, Stop())
    work(open_claims(tmp_path, 10), complete, Stop())


@pytest.mark.parametrize("error", [OSError(28, "disk full"), KeyboardInterrupt(), storages.StorageDown("gone")])
def test_what_is_not_the_trials_fault_ends_the_command_and_the_trial_goes_on(tmp_path, error):
    def objective(claim):
        raise error

    with pytest.raises(type(error)):
        work(claims := open_claims(tmp_path, 2), objective, Stop())
    claims.worker.leave()
    work(open_claims(tmp_path, 2), complete, Stop())
    counted = [trial for trial in claims.trials() if counts(trial)]
    assert Counter(trial.state.name for trial in counted) == {"COMPLETE": 2}


def test_a_stopped_trial_goes_on_in_its_folder_with_its_settings_and_curve(tmp_path):
    stop = Stop()

    def objective(claim):
        claim.trial.report(0.5, 1)
        stop.is_signalled = True
        raise TimeUp

    claims = open_claims(tmp_path, 1)
    work(claims, objective, stop)
    stopped = claims.trials()[0]
    assert stopped.user_attrs["goes_on_as"] == 1
    second = open_claims(tmp_path, 1)
    claim = second.claim()
    assert (claim.changes, str(claim.folder)) == (stopped.params, "trials/0000")
    again = claims.trials()[1]
    assert again.user_attrs["continues"] == 0
    assert again.intermediate_values == {1: 0.5}
    assert open_claims(tmp_path, 1).claim() is Nothing.WAIT


def test_a_trial_that_kills_its_workers_is_blamed_in_the_end(tmp_path):
    for _ in range(MOST_DEATHS):
        claims = open_claims(tmp_path, 1)
        assert str(claims.claim().folder) == "trials/0000"
        claims.worker.leave()
    claims = open_claims(tmp_path, 1)
    assert claims.claim() is Nothing.DONE
    last = claims.trials()[-1]
    assert "its process died 3 times" in last.user_attrs["failed_because"]
    assert counts(last)


def test_a_kill_between_queueing_again_and_marking_queues_once(tmp_path, monkeypatch):
    claims = open_claims(tmp_path, 1)
    claims.claim()
    claims.worker.leave()

    def killed(self, trial, why):
        raise KeyboardInterrupt

    second = open_claims(tmp_path, 1)
    monkeypatch.setattr(claims_module.Claims, "_fail", killed)
    with pytest.raises(KeyboardInterrupt):
        second.claim()
    monkeypatch.undo()
    work(open_claims(tmp_path, 1), complete, Stop())
    assert states(claims) == {"FAIL": 1, "COMPLETE": 1}


def test_a_trial_killed_before_it_had_an_owner_is_queued_again(tmp_path):
    claims = open_claims(tmp_path, 2)
    claims.study.ask()
    work(claims, complete, Stop())
    assert states(claims) == {"FAIL": 1, "COMPLETE": 2}


def test_a_trial_that_was_taken_away_is_left_alone(tmp_path):
    claims = open_claims(tmp_path, 1)

    def objective(claim):
        claims.storage.trials.set_trial_state_values(claim.trial._trial_id, TrialState.FAIL)
        return complete(claim)

    work(claims, objective, Stop())
    assert states(claims) == {"FAIL": 1}


# -- several processes, killed ---------------------------------------------------------------------------------


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
        silent = lambda: claims.storage.silent_trials(claims.study._study_id)  # noqa: E731
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
