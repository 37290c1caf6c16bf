"""The charts of the page, as plotly figures. Names are escaped: plotly reads tags in text."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from competition.page import PALETTE

BAND_OPACITY = 0.2


def plain_text(name: str) -> str:
    """Return a name as plotly shows it unchanged."""
    return html.escape(name, quote=False)


def curves_figure(curves: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], axis: str) -> Any:
    """Draw numbers over the epochs, folds as bands; ``names`` are those to draw and what to call them."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, (name, title) in enumerate(names.items()):
        found, colour = curves[name], PALETTE[place]
        if not found["epochs"]:
            continue
        around = [*found["epochs"], *reversed(found["epochs"])]
        figure.add_scatter(
            x=around, y=[*found["high"], *reversed(found["low"])], fill="toself", fillcolor=colour,
            opacity=BAND_OPACITY, line={"width": 0}, hoverinfo="skip", showlegend=False,
        )  # fmt: skip
        figure.add_scatter(
            x=found["epochs"], y=found["mean"], mode="lines+markers", name=title, line={"color": colour},
            hovertemplate="epoch %{x}: %{y:.3f}<extra>" + title + "</extra>",
        )  # fmt: skip
    figure.update_layout(xaxis_title="epoch", yaxis_title=axis, height=320, legend={"orientation": "h", "y": 1.12})
    return figure


def confusion_figure(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Any:
    """Draw the share of each true class (row) that was predicted as each class (column)."""
    import plotly.graph_objects as go

    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    shown = [plain_text(name) for name in names]
    places = list(range(len(names)))
    rows = list(zip(shown, counts, strict=True))
    # Places, not names, are the axes: two names may look alike to plotly, and a number would be drawn as one.
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=places, y=places, colorscale="Viridis", zmin=0, zmax=1, xgap=1 if len(names) < 30 else 0,
            ygap=1 if len(names) < 30 else 0, colorbar={"title": "share"},
            text=[[f"{true} predicted as {shown[b]}: {row[b]} of {sum(row)}" for b in places] for true, row in rows],
            hovertemplate="%{text}<extra></extra>",
        )
    )  # fmt: skip
    ticks = {
        "tickmode": "array",
        "tickvals": places,
        "ticktext": shown,
        "tickfont": {"size": 10 if len(names) < 40 else 7},
    }
    side = max(420, min(1100, 11 * len(names) + 160))
    figure.update_layout(
        height=side, xaxis={**ticks, "title": "predicted", "tickangle": -90, "constrain": "domain"},
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
        text=[f"{count:,} images" for count in found["images"]],
        hovertemplate="sure %{x:.2f}, right %{y:.2f}: %{text}<extra></extra>",
    )  # fmt: skip
    axes = {"range": [0, 1]}
    figure.update_layout(
        height=360, xaxis={**axes, "title": "mean probability of the answer"}, yaxis={**axes, "title": "share right"},
        legend={"orientation": "h", "y": 1.12},
    )  # fmt: skip
    return figure
