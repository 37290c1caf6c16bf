"""The page: made by its command, everything on it, its JSON twin, nothing hostile in it, and a real browser's word."""

import html
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from competition.__main__ import main
from competition.analysis import extras, look_sections, mistake_section
from competition.analysis.findings import _origin, _score
from competition.analysis.settings import ReportSettings
from competition.analysis.source import open_source
from competition.cli import run_command
from competition.errors import UserError
from competition.predictions import load_predictions, save_predictions
from tests.browser import browser, needs_browser  # noqa: F401
from tests.finished_run import CLASSES, finished_run  # noqa: F401

ANCHORS = ["next", "score", "learning", "mistakes", "where", "learned", "trust", "origin"]


@pytest.fixture(scope="module", autouse=True)
def few_dreams():
    """Two filters a layer are enough to see that they come onto the page; each costs as much as the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(look_sections, "DREAM_FILTERS", 2)
        yield


@pytest.fixture(scope="module")
def page(finished_run, tmp_path_factory):  # noqa: F811
    """Return (path of the page, its text, its twin)."""
    run, cache = finished_run
    path = tmp_path_factory.mktemp("page") / "page.html"
    assert main(["report", str(run), str(run), "--out", str(path), *cache]) == 0
    return path, path.read_text(), json.loads(path.with_suffix(".json").read_text())


def test_every_section_is_there_in_order(page):
    _, text, _ = page
    assert re.findall(r'<section id="(\w+)"', text) == ANCHORS
    assert len(re.findall(r"<img [^>]*alt=\"[^\"]+\"", text)) >= 20
    assert "<img " not in re.sub(r"<img src=\"data:[^>]*>|<img alt=\"\">", "", text).replace("&lt;img ", "")


def test_the_twin_says_what_the_run_says(page, finished_run):  # noqa: F811
    run, _ = finished_run
    _, text, twin = page
    score = json.loads((run / "score.json").read_text())
    assert twin["score"]["macro_f1"] == pytest.approx(score["macro_f1"])
    assert twin["score"]["interval_95"] == pytest.approx(score["interval_95"])
    assert twin["score"]["per_fold"] == pytest.approx(score["per_fold"])
    assert f"{score['macro_f1']:.4f}" in text
    assert sum(map(sum, twin["mistakes"]["confusion"])) == score["rows"] == 42
    assert sorted(twin["mistakes"]["order"]) == sorted(CLASSES)
    assert twin["score"]["others"][0]["gain"] == 0
    assert (
        len(re.findall(rf"<td[^>]*>{twin['run']}</td><td>mycnn</td>", text)) == 2
    )  # it and the run it is compared with
    assert twin["left_out"] == []
    assert len(twin["trust"]["corruptions"]["effects"]) == 8
    assert twin["look"][0]["tools"] == ["cam", "occlusion", "gradients"]
    assert twin["advice"]


def test_bands_have_no_marks_and_epochs_are_whole(page):
    _, text, _ = page
    charts = [json.loads(data) for data in re.findall(r'<script type="application/json">(.*?)</script>', text)]
    curves = charts[:2]
    assert {trace["mode"] for chart in curves for trace in chart["data"] if trace.get("fill")} == {"lines"}
    assert [chart["layout"]["xaxis"]["tickvals"] for chart in curves] == [[1, 2, 3]] * 2


def test_names_stay_text(page):
    _, text, _ = page
    assert "<script>alert(1)" not in text
    assert "<img src=x" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_nothing_is_fetched_and_the_page_is_small(page):
    path, text, _ = page
    without_plotly = re.sub(r"<script>.{1000000,}?</script>", "", text, flags=re.S)
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", without_plotly)
    assert path.stat().st_size < 10e6


def test_missing_packages_are_named_and_the_page_is_still_made(finished_run, tmp_path, monkeypatch):  # noqa: F811
    run, cache = finished_run
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    assert main(["report", str(run), "--out", str(tmp_path / "page.html"), *cache]) == 0
    twin = json.loads((tmp_path / "page.json").read_text())
    assert [re.search("package (.*?),", line)[1] for line in twin["left_out"]] == ["plotly", "cleanlab", "captum"]
    assert twin["mistakes"]["likely_wrong_labels"] is None
    assert "pip install -e" in (tmp_path / "page.html").read_text()
    assert twin["look"][0]["tools"] == ["cam", "occlusion"]


def test_a_run_without_weights_and_with_a_missing_fold(finished_run, tmp_path):  # noqa: F811
    run, cache = finished_run
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    shutil.rmtree(copy / "fold_1")
    (copy / "fold_0" / "model.safetensors").unlink()
    flattered = {"warning": "the score flatters itself", "holdout": {"macro_f1": 0.5, "interval_95": [0.4, 0.6]}}
    (copy / "score.json").write_text(json.dumps(flattered))
    assert main(["report", str(copy), *cache]) == 0
    text = (copy / "report.html").read_text()
    assert "But the score flatters itself." in text
    assert "the mean of all folds has 0.5000, 95 % interval 0.400 to 0.600." in text
    twin = json.loads((copy / "report.json").read_text())
    assert twin["score"]["folds_missing"] == [1]
    assert "Fold 1 is not finished" in twin["advice"][0]
    assert twin["learning"]["fit"] is None
    assert twin["score"]["baseline_macro_f1"] is None
    assert "weights were deleted" in twin["left_out"][0]


@pytest.mark.parametrize("wrong", [3, 30])
def test_doubtful_labels_are_shown_once_and_only_by_a_network_worth_asking(finished_run, tmp_path, monkeypatch, wrong):  # noqa: F811
    pytest.importorskip("cleanlab")
    run, cache = finished_run
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("model.safetensors"))
    predictions = load_predictions(copy / "oof.npz")
    said = predictions.labels.copy()
    said[:wrong] = (said[:wrong] + 1) % 3
    probabilities = 0.05 + 0.85 * np.eye(3, dtype=np.float32)[said]
    probabilities[0] = 0.001 + 0.997 * np.eye(3)[said[0]]  # the costliest
    save_predictions(copy / "oof.npz", replace(predictions, probabilities=probabilities))
    monkeypatch.setattr(mistake_section, "LOSSES", 1)
    assert main(["report", str(copy), *cache]) == 0
    twin = json.loads((copy / "report.json").read_text())
    text = (copy / "report.html").read_text()
    part = text.partition("<h3>Labels that are likely wrong</h3>")[2].partition("<h3>")[0]
    if wrong == 3:
        shown = re.findall(r'<img [^>]*alt="(.*?): true', part)
        assert sorted(shown) == sorted(html.escape(name) for name in predictions.image_ids[1:3])
        assert "Shown above among the costliest: 1." in part
        assert part.index("<details>") < part.index("<table>")  # closed, a long list is not printed
        assert len(twin["mistakes"]["likely_wrong_labels"]["images"]) == part.count("<tr>") - 1 == 3
    else:
        assert "right for 29 % of the images" in part
        assert "<img" not in part
        assert "<table" not in part


def test_without_a_mistake_there_is_no_table_of_pairs():
    assert mistake_section._pair_table([]) == "<p>None.</p>"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs/none"], "runs/none is not a run"),
        (["RUN", "--out", "page.pdf"], "--out page.pdf: the page is HTML"),
        (["RUN", "--devise", "cpu"], "did you mean '--device'"),
        (["RUN", "--data", "nowhere"], "nowhere: no such file or folder"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_refusals(words, message, finished_run, capsys):  # noqa: F811
    run, cache = finished_run
    with pytest.raises(SystemExit) as end:
        run_command(main, ["report", *[str(run) if word == "RUN" else word for word in words], *cache])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


def test_a_runs_own_json_is_not_overwritten(finished_run, tmp_path):  # noqa: F811
    run, cache = finished_run
    (tmp_path / "best.json").write_text('{"submission": "best.csv"}')
    with pytest.raises(UserError, match="best.json is no report's twin"):
        main(["report", str(run), "--out", str(tmp_path / "best.html"), *cache])
    assert (tmp_path / "best.json").read_text() == '{"submission": "best.csv"}'


def test_a_run_on_other_labels_is_refused(finished_run, tmp_path, monkeypatch):  # noqa: F811
    run, cache = finished_run
    other = tmp_path / "other"
    shutil.copytree(run, other)
    found = load_predictions(other / "oof.npz")
    save_predictions(other / "oof.npz", replace(found, labels=(found.labels + 1) % len(CLASSES)))
    monkeypatch.setattr("competition.analysis.findings.SAMPLE", 0)
    with pytest.raises(UserError, match="give 42 images other labels"):
        main(["report", str(run), str(other), "--out", str(tmp_path / "page.html"), *cache])


def test_a_run_on_other_images_of_the_same_names_is_told(finished_run, tmp_path):  # noqa: F811
    run, cache = finished_run
    other = tmp_path / "other"
    shutil.copytree(run, other)
    images_hash = json.loads((run / "run.json").read_text())["identity"]["images_hash"]
    (other / "run.json").write_text((run / "run.json").read_text().replace(images_hash, "0" * 16))
    source = open_source(ReportSettings(cache_dir=Path(cache[1])), str(run), torch.device("cpu"))
    (found,) = _score(source, source.predictions.confusion(), [str(other)])["others"]
    (note,) = found["notes"]
    assert f"{other} has the ids but not the images of {run}" in note


def test_the_command_to_predict_is_one_that_works(finished_run, tmp_path):  # noqa: F811
    run, cache = finished_run
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    settings = ReportSettings(cache_dir=Path(cache[1]))
    source = open_source(settings, str(copy), torch.device("cpu"))
    assert _origin(source)["commands"]["predict"] == f"python predict.py {copy}"
    table = source.catalog.table
    untested = replace(source, catalog=replace(source.catalog, table=table[table["split"] != "test"]))
    assert _origin(untested)["commands"]["predict"] == f"python predict.py {copy} --data PATH"
    shutil.rmtree(copy / "fold_1")
    in_part = open_source(settings, str(copy), torch.device("cpu"))
    assert _origin(in_part)["commands"]["predict"] == f"python predict.py {copy} --allow-partial"


def test_data_that_lacks_images_of_the_run_is_refused(finished_run, tmp_path):  # noqa: F811
    run, cache = finished_run
    shutil.copytree(run.parent.parent / "data", tmp_path / "data")
    lines = (tmp_path / "data" / "train.csv").read_text().splitlines()
    (tmp_path / "data" / "train.csv").write_text("\n".join(lines[:-2]) + "\n")
    with pytest.raises(UserError, match="lacks 2 images that the run was trained on"):
        main(["report", str(run), "--data", str(tmp_path / "data"), *cache])


def test_a_run_of_other_classes_is_refused(finished_run, tmp_path, monkeypatch):  # noqa: F811
    run, cache = finished_run
    other = tmp_path / "other"
    shutil.copytree(run, other)
    found = load_predictions(other / "oof.npz")
    save_predictions(other / "oof.npz", replace(found, class_names=("green", *found.class_names[1:])))
    monkeypatch.setattr("competition.analysis.findings.SAMPLE", 0)
    with pytest.raises(UserError, match="know different classes.*green"):
        main(["report", str(run), str(other), "--out", str(tmp_path / "page.html"), *cache])


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_real_browser(page, browser, width, scheme):  # noqa: F811
    path, _, _ = page
    browser.resize(width, 900)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.command("Emulation.setEmulatedMedia", {"features": features})
    browser.open(path.as_uri())
    browser.run("window.alert = () => console.error('a name was run as a script')")
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth"), "the page is wider than the screen"
    assert len(set(browser.run("return [...document.images].map(i => i.alt)"))) > 10
    check_reading(browser)
    check_sorting(browser)
    check_enlarging(browser)
    check_charts(browser)
    check_printing(browser, scheme)
    assert browser.requests() == [path.as_uri()] or {url.partition(":")[0] for url in browser.requests()} <= {
        "data",
        "blob",
    }
    assert browser.messages() == []


def check_reading(browser):  # noqa: F811
    """Pictures are there before anybody scrolls, so a link of the navigation stays true; no word is cut off."""
    pictures = "[...document.querySelectorAll('main img')]"
    assert browser.run(f"return {pictures}.every(i => i.naturalWidth && i.loading !== 'lazy')")
    captions = "[...document.querySelectorAll('caption')].map(c => c.firstElementChild.getBoundingClientRect().right)"
    assert browser.run(f"return Math.max(...{captions}) <= innerWidth")
    assert browser.run("return [...document.querySelectorAll('pre')].every(p => p.scrollWidth <= p.clientWidth)")


def check_printing(browser, scheme):  # noqa: F811
    """Paper is white in the dark too, and a chart fits on it."""
    colours = "[document.body, document.querySelector('.main-svg')].map(e => getComputedStyle(e).backgroundColor)"
    browser.run("document.querySelector('.plot').style.minWidth = '1020px'")  # as a matrix of 100 classes asks
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert browser.run(f"return {colours}") == ["rgb(255, 255, 255)"] * 2
    assert browser.run("return Math.max(...[...document.querySelectorAll('.main-svg')].map(s => s.clientWidth))") <= 700
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert (browser.run(f"return {colours}[1]") == "rgb(255, 255, 255)") == (scheme == "light")


def check_sorting(browser):  # noqa: F811
    column = (
        "[...document.querySelector('#score .table:last-of-type tbody').rows].map(r => Number(r.cells[1].dataset.sort))"
    )
    for direction in (1, -1):
        browser.run("document.querySelectorAll('#score .table:last-of-type th button')[1].focus()")
        browser.press("Enter", "\r")
        values = browser.run(f"return {column}")
        assert values == sorted(values)[::direction]
        assert len(values) == len(CLASSES)


def check_enlarging(browser):  # noqa: F811
    browser.run("document.querySelector('.picture button').focus()")
    browser.press("Enter", "\r")
    assert browser.run("return document.querySelector('dialog').open")
    small, large = browser.run(
        "return [document.querySelector('.picture img').width, document.querySelector('dialog img').width]"
    )
    assert large > small
    browser.press("Escape")
    assert not browser.run("return document.querySelector('dialog').open")
    assert browser.run("return document.activeElement === document.querySelector('.picture button')")


def check_charts(browser):  # noqa: F811
    """Scroll to each chart; plotly shows hostile names as text."""
    count = browser.run("return document.querySelectorAll('.chart').length")
    assert count == 4
    for number in range(count):
        browser.run(f"document.querySelectorAll('.chart')[{number}].scrollIntoView()")
        browser.wait_for(f"document.querySelectorAll('.chart')[{number}].querySelector('.main-svg')")
    texts = browser.run("return [...document.querySelectorAll('#mistakes .chart text')].map(text => text.textContent)")
    assert set(CLASSES) <= set(texts)
    buttons = browser.run("return [...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")
    assert not [title for title in buttons if "Share" in title], "a chart offers to send itself away"
