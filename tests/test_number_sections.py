"""The curves and the matrix as a reader sees them: what the axes are marked with, and the same in words."""

import dataclasses

import numpy as np
import pytest

from competition.analysis.figures import calibration_figure, confusion_figure
from competition.analysis.learning import curve
from competition.analysis.number_sections import learning_section
from competition.page import Section, figure, render_page
from tests.browser import browser, needs_browser  # noqa: F401

pytest.importorskip("plotly")
ONE_EPOCH = [{"epoch": 1, "train_loss": 0.0002}, {"epoch": 1, "valid_loss": 0.00041, "macro_f1": 0.0619}]
PERFECT = [{"epoch": epoch, "train_loss": 0.5 / epoch, "macro_f1": 1.0} for epoch in (1, 2)]


def section(history, fit=None):
    names = ("train_loss", "valid_loss", "macro_f1", "train_accuracy")
    curves = {name: dataclasses.asdict(curve({0: history}, name)) for name in names}
    return learning_section({"learning": {"curves": curves, "fit": fit, "words": []}})


def test_a_single_epoch_has_no_course():
    said = section(ONE_EPOCH).html
    assert "Loss per epoch, training 0.0002; validation 0.00041" in said
    assert "Score per epoch, macro F1, validation 0.0619" in said
    assert "training from 0.5 to 0.25" in section(PERFECT).html


def test_what_is_not_above_is_not_spoken_of():
    assert "comparison above" not in section(ONE_EPOCH).html
    assert "comparison above" in section(ONE_EPOCH, {"images": 9, "seen": 0.9, "held_out": 0.8}).html


@needs_browser
@pytest.mark.parametrize(("history", "epochs"), [(ONE_EPOCH, ["1"]), (PERFECT, ["1", "2"])])
def test_axes_are_marked_with_epochs_and_scores_that_there_are(browser, tmp_path, history, epochs):  # noqa: F811
    (tmp_path / "page.html").write_text(render_page("x", [section(history)]))
    browser.open((tmp_path / "page.html").as_uri())
    browser.wait_for("[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('.ytick text'))")
    marks = browser.run(
        "return [...document.querySelectorAll('.chart')].map(chart => ['.xtick', '.ytick'].map(ticks => "
        "[...chart.querySelectorAll(ticks + ' text')].map(text => text.textContent)))"
    )
    (loss_epochs, losses), (score_epochs, scores) = marks
    assert loss_epochs == score_epochs == epochs
    assert all(0 <= float(mark) <= 0.6 for mark in losses)  # not 200µ
    assert all(0 <= float(mark) <= 1 for mark in scores)


@needs_browser
@pytest.mark.parametrize(
    "names", [["cat", "dog"], ["bird", "horse", "airplane"], ["a", "a name that goes on and on", "b"]]
)
def test_the_confusion_matrix_writes_predicted_below_the_names(browser, tmp_path, names):  # noqa: F811
    chart = confusion_figure(np.eye(len(names), dtype=int).tolist(), names)
    (tmp_path / "page.html").write_text(render_page("x", [Section("x", figure(chart, "x"), "x")]))
    browser.open((tmp_path / "page.html").as_uri())
    browser.wait_for("document.querySelector('.xtitle')")
    names_end, title_begins = browser.run(
        "const boxes = all => [...document.querySelectorAll(all)].map(text => text.getBoundingClientRect());"
        "return [Math.max(...boxes('.xtick text').map(box => box.bottom)), boxes('.xtitle')[0].top]"
    )
    assert names_end <= title_begins


@needs_browser
def test_the_markers_of_all_right_and_none_right_are_whole(browser, tmp_path):  # noqa: F811
    chart = calibration_figure({"confidence": [0.4, 0.9], "accuracy": [0.0, 1.0], "images": [3, 1]})
    (tmp_path / "page.html").write_text(render_page("x", [Section("x", figure(chart, "x"), "x")]))
    browser.open((tmp_path / "page.html").as_uri())
    browser.wait_for("document.querySelectorAll('.points path').length == 2")
    clipped = "[...document.querySelectorAll('.points path')].map(point => point.closest('[clip-path]'))"
    assert browser.run(f"return {clipped}.every(around => around === null)")
