"""Small pieces of HTML from plain text; whatever comes from data is escaped here."""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from competition.analysis.extras import is_missing, missing_message
from competition.page import figure as embed_figure
from competition.page import paragraph, picture

LONGEST = 26  # letters of a name on an axis or below a picture


def bullets(lines: Iterable[str]) -> str:
    """Return a list."""
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"


def folded(summary: str, inside: str) -> str:
    """Return HTML that opens by a click or Enter on its summary, and is not printed while it is closed."""
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def image_picture(png: bytes, about: Mapping[str, Any], more: str = "") -> str:
    """Return a picture with what was predicted of an image, see `describe_row`, below it; ``more`` ends its alt text.

    Long names are shortened below it, and whole in the alt text, which stands below the enlarged picture.
    """
    name, true, predicted = about["image_id"], about["true"], about["predicted"]
    file = name if len(name) <= LONGEST else "…" + name[1 - LONGEST :]  # its end tells files apart
    words = "{}: true {} ({:.2f}), predicted {} ({:.2f})"
    sure = about["true_probability"], about["probability"]
    alt = words.format(name, true, sure[0], predicted, sure[1])
    return picture(png, alt + more, words.format(file, shortened(true), sure[0], shortened(predicted), sure[1]))


def shortened(name: str) -> str:
    """Return a name of at most 26 letters."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def gallery(pictures: Sequence[str]) -> str:
    """Return pictures side by side."""
    return '<div class="gallery">' + "".join(pictures) + "</div>"


def chart(make: Callable[[], Any], alt: str) -> str:
    """Return a chart, or what it needs where plotly is missing. ``make`` builds the figure when called."""
    if is_missing("plotly"):
        return paragraph(f"Left out: {missing_message('plotly', 'this chart')}.")
    return embed_figure(make(), alt)


def percent(share: float) -> str:
    """Return ``12 %``."""
    return f"{share:.0%}".replace("%", " %")
