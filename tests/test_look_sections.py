"""The sections that open the networks: words that fit what is drawn."""

import pytest
import torch

from competition.analysis import drawings
from competition.analysis.activations import DeadFilters
from competition.analysis.look_sections import _dead_part, where_section
from competition.analysis.settings import ReportSettings
from competition.analysis.source import open_source
from competition.errors import UserError
from tests.finished_run import finished_run  # noqa: F401


@pytest.fixture
def source(finished_run):  # noqa: F811
    run, (_, cache) = finished_run
    return open_source(ReportSettings(cache_dir=cache), str(run), torch.device("cpu"))


def test_the_legend_names_the_columns_that_are_there_and_why_one_is_not(source, monkeypatch):
    def refuse(*_):
        raise UserError("an Mlp keeps no map of places")

    monkeypatch.setattr(drawings, "grad_cam", refuse)
    monkeypatch.setattr(drawings, "integrated_gradients", lambda network, images, targets: torch.ones_like(images))
    findings = {}
    html = where_section(source, findings).html
    assert "the image, then occlusion, integrated gradients." in html
    assert "Yellow" not in html
    assert "Left out, class activation: an Mlp keeps no map of places." in html
    assert all(about["tools"] == ["occlusion", "gradients"] for about in findings["look"])


@pytest.mark.parametrize("dead", [0, 3])
def test_what_is_said_of_dead_filters_is_true_of_none_too(dead):
    html = _dead_part([DeadFilters("stem", dead, 8)], 5)
    assert f"{dead} of 8 filters never answer, that is, have the same output for all of 5 images." in html
    assert ("Layers with dead filters" in html) == (dead > 0)
