"""Who trains which trial: exact totals, stale trials queued again, failures."""

from collections import Counter

import pytest
from optuna.trial import TrialState

from competition.errors import UserError
from competition.stop import Stop, Stopped
from competition.tuning import claims as claims_module
from competition.tuning import storage as storages
from competition.tuning.claims import MOST_DEATHS, MOST_FAILURES, Nothing, Outcome, counts, refuse_no_result
from competition.tuning.results import reason_of
from competition.tuning.work import work
from tests.stand_in_worker import open_claims


def states(claims):
    return Counter(trial.state.name for trial in claims.trials())


def complete(claim):
    return Outcome(TrialState.COMPLETE, (claim.changes["x"],), {})


def failing(claim):
    raise ValueError("no such thing\nmore")


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


@pytest.mark.parametrize("first", [{"x": x, "y": y} for x in (0.0, 0.5, 1.0) for y in "ab"])
def test_defaults_on_the_grid_take_the_place_of_their_point(tmp_path, first):
    for total in (1, 3, 6, 50):  # over restarts
        claims = open_claims(tmp_path, total, sampler="grid")
        claims.enqueue_first(first)
        work(claims, complete, Stop())
        assert len(claims.trials()) == min(total, 6)
    tried = [trial.params for trial in claims.trials()]
    assert tried[0] == first
    assert sorted(tuple(params.values()) for params in tried) == [(x, y) for x in (0.0, 0.5, 1.0) for y in "ab"]


def test_defaults_beside_the_grid_are_tried_beside_it(tmp_path):
    claims = open_claims(tmp_path, 50, sampler="grid")
    claims.enqueue_first({"x": 0.25, "y": "a"})
    work(claims, complete, Stop())
    assert len({tuple(trial.params.values()) for trial in claims.trials()}) == len(claims.trials()) == 7


def test_a_stopped_first_trial_keeps_its_point_of_the_grid(tmp_path):
    stop = Stop()

    def stopping(claim):
        stop.is_signalled = True
        raise Stopped

    claims = open_claims(tmp_path, 6, sampler="grid")
    claims.enqueue_first({"x": 0.5, "y": "a"})
    work(claims, stopping, stop)
    work(claims, complete, Stop())
    tried = [tuple(trial.params.values()) for trial in claims.trials() if counts(trial)]
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
        with pytest.raises(UserError, match=r"the last 10 trials all failed.*\n  ValueError: no such thing\n.*goes on"):
            work(open_claims(tmp_path, 100), failing, Stop())
        assert states(open_claims(tmp_path, 100)) == {"FAIL": total}


def test_failures_that_fill_the_budget_are_told_what_helps(tmp_path):
    words = r"ValueError: no such thing\n.*failed trials count.*another --study"
    with pytest.raises(UserError, match=words):
        work(open_claims(tmp_path, MOST_FAILURES), failing, Stop())
    work(open_claims(tmp_path, MOST_FAILURES), complete, Stop())  # the same command does not go on
    with pytest.raises(UserError, match=words):
        refuse_no_result(open_claims(tmp_path, MOST_FAILURES).trials())
    assert states(open_claims(tmp_path, MOST_FAILURES)) == {"FAIL": MOST_FAILURES}
    work(open_claims(tmp_path, MOST_FAILURES + 1), complete, Stop())  # a higher --trials does
    refuse_no_result(open_claims(tmp_path, MOST_FAILURES).trials())


def test_a_study_in_which_nothing_finished_is_refused_however_few_its_trials(tmp_path):
    work(open_claims(tmp_path, 1), failing, Stop())
    with pytest.raises(UserError) as refusal:
        refuse_no_result(open_claims(tmp_path, 1).trials())
    assert str(refusal.value).splitlines() == [
        "no trial of this study has finished; of 1 trial 1 failed:",
        "  ValueError: no such thing",
        "mend the cause; failed trials count, so then raise --trials, or begin anew with another --study (a grid must)",
    ]


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
        raise Stopped

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


def test_what_became_of_a_killed_workers_trial_is_said_once(tmp_path):
    claims = open_claims(tmp_path, 1)
    claims.claim()
    claims.worker.leave()
    work(open_claims(tmp_path, 1), complete, Stop())
    assert reason_of(claims.trials()[0]) == f"its process ended ({claims.worker.name}); goes on as trial 1"


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
    claims.search.study.ask()
    work(claims, complete, Stop())
    assert states(claims) == {"FAIL": 1, "COMPLETE": 2}


def test_a_trial_that_was_taken_away_is_left_alone(tmp_path):
    claims = open_claims(tmp_path, 1)

    def objective(claim):
        claims.search.storage.trials.set_trial_state_values(claim.trial._trial_id, TrialState.FAIL)
        return complete(claim)

    work(claims, objective, Stop())
    assert states(claims) == {"FAIL": 1}


def test_a_claim_that_was_lost_with_the_connection_is_made_again(tmp_path, monkeypatch):
    claims = open_claims(tmp_path, 1)
    monkeypatch.setattr(claims.search.storage, "beat", lambda number: (_ for _ in ()).throw(ConnectionError))
    with pytest.raises(ConnectionError):
        claims.claim()
    monkeypatch.undo()
    work(claims, complete, Stop())
    assert states(claims) == {"FAIL": 1, "COMPLETE": 1}
    assert [trial.user_attrs.get("deaths") for trial in claims.trials()] == [None, 0]
