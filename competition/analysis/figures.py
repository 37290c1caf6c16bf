"""The charts of the page, as plotly figures. Names are escaped: plotly reads tags in text."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from competition.analysis.parts import shortened
from competition.errors import counted
from competition.page import PALETTE

BAND_OPACITY = 0.2
WHOLE_TICKS = 8
SCORES = {"minallowed": -0.05, "maxallowed": 1.05}  # of an axis: 0 to 1 and room for the markers
LETTER = 6  # px that a letter on an axis takes


def plain_text(name: str) -> str:
    """Return a name as plotly shows it unchanged."""
    return html.escape(name, quote=False)


def curves_figure(
    curves: Mapping[str, Mapping[str, Any]],
    names: Mapping[str, str],
    axis: str,
    limits: Mapping[str, float] | None = None,
) -> Any:
    """Draw numbers over the epochs, folds as bands; ``names`` are those to draw and what to call them.

    The axis is named ``axis`` and stays within ``limits``, plotly's ``autorangeoptions``.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, (name, title) in enumerate(names.items()):
        found, colour = curves[name], PALETTE[place]
        if not found["epochs"]:
            continue
        around = [*found["epochs"], *reversed(found["epochs"])]
        figure.add_scatter(
            x=around, y=[*found["high"], *reversed(found["low"])], fill="toself", fillcolor=colour,
            mode="lines", opacity=BAND_OPACITY, line={"width": 2, "color": colour}, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
        figure.add_scatter(
            x=found["epochs"], y=found["mean"], mode="lines+markers", name=title, line={"color": colour},
            hovertemplate="epoch %{x}: %{y:.4~g}<extra>" + title + "</extra>",
        )  # fmt: skip
    last = max((curves[name]["epochs"][-1] for name in names if curves[name]["epochs"]), default=0)
    # By itself plotly marks epoch 1.5, and 0 and 2 around a single epoch, goes below 0 for a single score, and writes
    # 0.0002 as 200µ.
    ticks = {"tickvals": list(range(1, last + 1))} if last <= WHOLE_TICKS else {}
    figure.update_layout(
        xaxis={"title": "epoch", **ticks},
        yaxis={"title": axis, "autorangeoptions": limits, "exponentformat": "none"},
        height=320,
        legend={"orientation": "h", "y": 1.12},
    )
    return figure


def confusion_figure(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Any:
    """Draw the share of each true class (row) that was predicted as each class (column)."""
    import plotly.graph_objects as go

    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    shown = [plain_text(name) for name in names]
    on_axes = [plain_text(shortened(name)) for name in names]
    places = list(range(len(names)))
    bar = {"orientation": "h", "y": 1, "yanchor": "bottom", "thickness": 10, "title": {"text": "share", "side": "top"}}
    rows = list(zip(shown, counts, strict=True))
    # Places, not names, are the axes: two names may look alike to plotly, and a number would be drawn as one.
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=places, y=places, colorscale="Viridis", zmin=0, zmax=1, xgap=1 if len(names) < 30 else 0,
            ygap=1 if len(names) < 30 else 0, colorbar=bar,
            text=[[f"{true} predicted as {shown[b]}: {row[b]} of {sum(row)}" for b in places] for true, row in rows],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    ticks = {
        "tickmode": "array",
        "tickvals": places,
        "ticktext": on_axes,
        "tickfont": {"size": 10 if len(names) < 40 else 7},
    }
    side = len(names) * max(11, min(36, 700 // len(names)))
    words = 150 + LETTER * max(len(shortened(name)) for name in names)  # px beside and below the cells
    figure.update_layout(
        height=side + words, width=side + words, margin={"l": 60, "r": 20, "t": 70, "b": 50},
        xaxis={**ticks, "title": {"text": "predicted", "standoff": 35}, "tickangle": -90, "constrain": "domain"},
        yaxis={**ticks, "title": {"text": "true", "standoff": 20}, "autorange": "reversed"},
    )  # fmt: skip
    return figure


def calibration_figure(found: Mapping[str, Any]) -> Any:
    """Draw how often the network is right against how sure it is."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="as sure as right", line={"dash": "dash", "color": "#888888"}
    )
    figure.add_scatter(
        x=found["confidence"], y=found["accuracy"], mode="lines+markers", name="this run", line={"color": PALETTE[0]},
        cliponaxis=False,  # markers of all right and none right are whole
        text=[counted(count, "image") for count in found["images"]],
        hovertemplate="sure %{x:.2f}, right %{y:.2f}: %{text}<extra></extra>",
    )  # fmt: skip
    axes = {"range": [0, 1]}
    figure.update_layout(
        height=360, xaxis={**axes, "title": "mean probability of the answer"}, yaxis={**axes, "title": "share right"},
        legend={"orientation": "h", "y": 1.12},
    )  # fmt: skip
    return figure
