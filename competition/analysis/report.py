"""The page: findings, then sections in the order a person asks, then one self-contained HTML file and its JSON twin."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from competition.analysis.findings import find
from competition.analysis.look_sections import learned_section, where_section
from competition.analysis.mistake_section import mistake_section
from competition.analysis.number_sections import (
    advice_section,
    learning_section,
    origin_section,
    score_section,
    subtitle,
    trust_section,
)
from competition.analysis.settings import ReportSettings
from competition.analysis.source import Source, open_source
from competition.errors import UserError
from competition.page import render_page
from competition.precision import pick_device
from competition.runs import read_json, write_atomically, write_json


def make_report(settings: ReportSettings, runs: Sequence[str]) -> Path:
    """Write the page of the first run, compared with the others, and its JSON twin; returns the page's path.

    Raises:
        UserError: see `open_source` and `competition.comparison.compare`; another file in the twin's place.
    """
    source = open_source(settings, runs[0], pick_device(settings.device))
    path = settings.out or source.folder / "report.html"
    twin = path.with_suffix(".json")
    _refuse_other_json(twin)
    findings = find(source, runs[1:])
    page = page_of(source, findings)
    write_atomically(path, page)
    write_json(twin, findings)
    return path


def _refuse_other_json(twin: Path) -> None:
    """Raise UserError where the page's twin would take the place of a run's or a submission's own file."""
    if not twin.exists():
        return
    found = read_json(twin)
    if not (isinstance(found, dict) and {"advice", "left_out", "score"} <= set(found)):
        raise UserError(f"{twin} is no report's twin and would be overwritten: choose another --out")


def page_of(source: Source, findings: dict[str, Any]) -> str:
    """Return the whole page as HTML; what is drawn on the way is added to ``findings``."""
    sections = [
        advice_section(findings),
        score_section(findings),
        learning_section(findings),
        mistake_section(source, findings),
        where_section(source, findings),
        learned_section(source, findings),
        trust_section(findings),
        origin_section(findings),
    ]
    return render_page(findings["run"], sections, subtitle(findings))
