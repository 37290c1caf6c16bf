"""One self-contained HTML page: sections, sortable tables, pictures that enlarge, charts; nothing is fetched.

Texts are escaped everywhere; only `Section.html` is taken as it is, and is made with the functions of this module.
"""

import base64
import html
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# Okabe and Ito's palette, told apart with any colour vision; its black is the text, so it is left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442")
SHRINKS_BY = 340  # px: a matrix of a dozen classes fits a phone
LONG_TABLE = 12  # rows from which a table has a filter
CHART = '<figure class="chart">'

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        heading: plain text.
        html: made with the functions of this module; everything in it that came from data is escaped.
        anchor: its id in the page.
    """

    heading: str
    html: str
    anchor: str


def render_page(title: str, sections: Sequence[Section], subtitle: str = "") -> str:
    """Return a whole HTML page; plotly.js is in it once, and only where a section has a chart."""
    needs_plotly = any(CHART in section.html for section in sections)
    return _template("page.html").render(
        title=title,
        subtitle=subtitle,
        sections=sections,
        style=_asset("page.css"),
        script=_asset("page.js"),
        plotly=_plotly_script() if needs_plotly else "",
    )


def paragraph(text: str) -> str:
    """Return a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def heading(text: str) -> str:
    """Return a heading within a section."""
    return f"<h3>{html.escape(text)}</h3>"


def code(text: str) -> str:
    """Return a block of commands or settings as it is."""
    return f"<pre><code>{html.escape(text)}</code></pre>"


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], caption: str = "") -> str:
    """Return a table whose columns sort by click or Enter, with a filter when it is long.

    Numbers sort as numbers and are shown with four significant digits at least; None is an empty cell.
    """
    shown = [[_cell(value) for value in row] for row in rows]
    numeric = [any(row[place]["number"] is not None for row in shown) for place in range(len(columns))]
    return _template("table.html").render(
        columns=columns, numeric=numeric, rows=shown, caption=caption, is_long=len(shown) >= LONG_TABLE
    )


def picture(png: bytes, alt: str, caption: str = "") -> str:
    """Return a picture that enlarges by click or Enter; ``alt`` says what it shows."""
    data = base64.b64encode(png).decode()
    words = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure class="picture"><button type="button" aria-label="Enlarge: {html.escape(alt)}">'
        f'<img src="data:image/png;base64,{data}" alt="{html.escape(alt)}"></button>{words}</figure>'
    )


def figure(chart: Any, alt: str) -> str:
    """Return a plotly figure; ``alt`` says what it shows. plotly reads tags in a figure's texts: escape names there.

    A width in its layout is the most it takes; it shrinks by what a phone lacks, and is scrolled beyond that.
    """
    plain = chart.to_plotly_json()
    layout = {**plain["layout"], "template": {"layout": {"colorway": PALETTE}}}
    layout.setdefault("margin", {"l": 60, "r": 20, "t": 40, "b": 50})
    height, width = int(layout.setdefault("height", 400)), layout.pop("width", None)
    style = f"height: {height}px"
    if width is not None:
        style += f"; max-width: {width}px; min-width: {max(0, width - SHRINKS_BY)}px"
    from plotly.utils import PlotlyJSONEncoder  # late: an extra

    data = json.dumps({"data": plain["data"], "layout": layout}, cls=PlotlyJSONEncoder)
    data = data.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")  # cannot end the script
    return (
        f'{CHART}<div class="plot" role="img" aria-label="{html.escape(alt)}" style="{style}"></div>'
        f'<script type="application/json">{data}</script></figure>'
    )


def _cell(value: Cell) -> dict[str, Any]:
    if value is None:
        return {"text": "", "number": None}
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return {"text": str(value), "number": None}
    return {"text": f"{value:,}" if isinstance(value, int) else _short(value), "number": value}


def _short(value: float) -> str:
    """Return four decimals for numbers of everyday size, else four significant digits."""
    return f"{value:,.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.4g}"


@cache
def _asset(name: str) -> str:
    return (Path(__file__).parent / "page_assets" / name).read_text(encoding="utf-8")


@cache
def _template(name: str) -> Any:
    from jinja2 import Environment  # late: it is slow, and comes with torch

    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(_asset(name))


@cache
def _plotly_script() -> str:
    from plotly.offline import get_plotlyjs  # late: an extra

    return get_plotlyjs().replace("</script", "<\\/script")
