"""Small pieces of HTML from plain text; whatever comes from data is escaped here."""

import html
from collections.abc import Iterable, Sequence
from typing import Any

from competition.analysis.extras import is_missing, missing_message
from competition.page import figure as embed_figure


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def heading(text: str) -> str:
    """Return a heading within a section."""
    return f"<h3>{html.escape(text)}</h3>"


def code(text: str) -> str:
    """Return a block of commands or settings as it is."""
    return f"<pre><code>{html.escape(text)}</code></pre>"


def gallery(pictures: Sequence[str]) -> str:
    """Return pictures side by side."""
    return '<div class="gallery">' + "".join(pictures) + "</div>"


def chart(make: Any, alt: str) -> str:
    """Return a chart, or what it needs where plotly is missing. ``make`` builds the figure when called."""
    if is_missing("plotly"):
        return paragraph(f"Left out: {missing_message('plotly', 'this chart')}.")
    return embed_figure(make(), alt)


def percent(share: float) -> str:
    """Return ``12 %``."""
    return f"{share:.0%}".replace("%", " %")
