"""The page of a study: every section that its trials allow, nothing unescaped, fast and small."""

import json
import sys
import time
from functools import cache

import optuna
import pytest
from optuna.trial import TrialState

from competition.config import TrainSettings
from competition.tuning.report import FEWEST_FOR_IMPORTANCE, common_parameters, write_report
from competition.tuning.space import load_space

optuna.logging.set_verbosity(optuna.logging.WARNING)
BASE = TrainSettings()
EVIL = "<b>nan</b> & worse"
ANCHORS = ["best", "front", "history", "importance", "parallel", "slices", "curves", "pruning", "trials", "space"]


@cache
def shipped(name):
    """A space that ships, loaded once for all tests."""
    return load_space(name, BASE, images=13_000)


def make_study(folder, count, objectives=1, space_name="default", epochs=4):
    """A study whose score depends on the learning rate; every fifth trial is pruned, trial 3 fails."""
    space = shipped(space_name)
    sampler = optuna.samplers.RandomSampler(seed=0)
    study = optuna.create_study(directions=["maximize", "minimize"][:objectives], sampler=sampler)
    for number in range(count):
        trial = study.ask()
        changes = space.suggest(trial)
        score = 0.9 - abs(changes.get("learning_rate", 0.01) - 0.01)
        state = TrialState.FAIL if number == 3 else TrialState.PRUNED if number % 5 == 4 else TrialState.COMPLETE
        trained = epochs if state == TrialState.COMPLETE else 1
        history = folder / f"trials/{number:04d}/fold_0/history.jsonl"
        history.parent.mkdir(parents=True)
        history.write_text("".join(f'{{"epoch": {e + 1}, "valid_loss": {1 / (e + 1)}}}\n' for e in range(trained)))
        attributes = {"settings": changes, "folder": f"trials/{number:04d}", "epochs_planned": epochs}
        attributes |= {"epochs_trained": trained, "parameters": 1000 + number}
        if state == TrialState.COMPLETE:
            attributes |= {"macro_f1": score, "interval_95": [score - 0.1, score + 0.1], "per_fold": {"0": score}}
        if state == TrialState.FAIL:
            attributes["failed_because"] = EVIL
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        values = [score, float(attributes["parameters"])][:objectives]
        study.tell(trial, values if state == TrialState.COMPLETE else None, state=state)
    return study, space


def anchors(page):
    return [anchor for anchor in ANCHORS if f'<section id="{anchor}"' in page]


def report(folder, *arguments, **options):
    study, space = make_study(folder, *arguments, **options)
    write_report(folder, study, space)
    return (folder / "report.html").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of a study of 20 trials, its report written."""
    folder = tmp_path_factory.mktemp("study")
    report(folder, 20)
    return folder


@pytest.fixture
def page(folder):
    return (folder / "report.html").read_text()


def test_a_study_leaves_its_files_and_every_section(folder, page):
    assert anchors(page) == [anchor for anchor in ANCHORS if anchor != "front"]
    assert len((folder / "trials.csv").read_text().splitlines()) == 21
    assert (folder / "best.yaml").exists()
    assert not (folder / "pareto.csv").exists()
    assert EVIL not in page
    assert "{&#39;" not in page  # an option of the network as Python spells it
    assert "&lt;b&gt;nan&lt;/b&gt; &amp; worse" in page
    assert "optimistic" in page
    assert "15 finished trials" in page  # 20 less 4 pruned (4, 9, 14, 19) and 1 failed


def test_what_pruning_saved_is_counted(page):
    section = page[page.index('<section id="pruning"') :]
    # 15 x 4 + 4 x 1 + 1 x 1 epochs of 20 x 4
    row = section[section.index("<td>together</td>") :].split("</tr>")[0]
    assert [f">{number}<" in row for number in ("20", "65", "80")] == [True] * 3


def test_two_objectives_have_a_front(tmp_path):
    page = report(tmp_path, 14, objectives=2)
    assert_charts_are_json(page)
    assert anchors(page) == ANCHORS
    assert (tmp_path / "pareto.csv").read_text().startswith("trial,macro_f1,parameters,picked_by\n")


def test_each_optimiser_has_a_panel(tmp_path):
    page = report(tmp_path, 25, space_name="grid-mlp")
    assert all(f"<h3>{name}</h3>" in page for name in ("adam", "sgd", "rmsprop"))


def test_importance_is_left_out_of_a_small_study_with_the_reason(tmp_path):
    page = report(tmp_path, 5)
    assert f"Left out: 3 finished trials; it takes {FEWEST_FOR_IMPORTANCE}" in page


def test_conditional_parameters_are_named_as_left_out(page):
    assert "Left out, for not every finished trial has them or they have one value: cutmix_alpha" in page


def test_without_plotly_the_page_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    page = report(tmp_path, 12)
    assert anchors(page) == ["best", "pruning", "trials", "space"]
    assert "pip install -e &#x27;.[analysis]&#x27;" in page
    assert len(page) < 100_000


def test_common_parameters_are_those_that_all_have_and_that_vary(tmp_path):
    study, _ = make_study(tmp_path, 20)
    done = study.get_trials(states=(TrialState.COMPLETE,))
    names = common_parameters(done)
    assert "learning_rate" in names
    assert "cutmix_alpha" not in names
    assert common_parameters(done[:1]) == []


def test_200_trials_make_a_small_page_in_time(tmp_path):
    study, space = make_study(tmp_path, 200)
    start = time.process_time()
    write_report(tmp_path, study, space)
    assert time.process_time() - start < 10
    assert (tmp_path / "report.html").stat().st_size < 8_000_000


def test_every_chart_is_valid_json(page):
    assert_charts_are_json(page)


def assert_charts_are_json(page):
    charts = page.split('<script type="application/json">')[1:]
    assert len(charts) >= 6
    for chart in charts:
        assert set(json.loads(chart.split("</script>")[0])) == {"data", "layout"}
