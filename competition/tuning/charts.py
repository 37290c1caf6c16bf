"""The charts of a study's page, as plotly figures. Texts are escaped: plotly reads tags in them."""

import html
import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from competition.page import PALETTE
from competition.tuning.curves import Curve
from competition.tuning.dimensions import Dimension, Range
from competition.tuning.results import complete_trials

BLUE, ORANGE, GREEN, PINK = PALETTE[:4]
GREY = "#888888"
LEGEND = {"orientation": "h", "y": -0.22, "yanchor": "top"}  # below: it grows downwards on a narrow page
EARLY_TO_LATE = ((0.0, PALETTE[5]), (1.0, ORANGE))  # seen on white and on black
DASHES = ("solid", "dash", "dot")  # a second sign beside the colour
LONG_LABEL = 50  # letters from which a trial goes by its number alone


def history_figure(trials: Sequence[FrozenTrial]) -> Any:
    """Draw the macro F1 of each trial by its number, and the best so far."""
    import plotly.graph_objects as go

    done = complete_trials(trials)
    best, so_far = -math.inf, []
    for trial in done:
        best = max(best, trial.values[0])
        so_far.append(best)
    figure = go.Figure()
    figure.add_scatter(
        x=[trial.number for trial in done],
        y=[trial.values[0] for trial in done],
        mode="markers",
        name="finished",
        marker={"color": BLUE},
        text=[describe_params(trial) for trial in done],
        hovertemplate="trial %{x}: %{y:.4f}<br>%{text}<extra></extra>",
    )
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED and trial.value is not None]
    figure.add_scatter(
        x=[trial.number for trial in pruned],
        y=[trial.value for trial in pruned],
        mode="markers",
        name="pruned, where it stood",
        marker={"color": ORANGE, "symbol": "x"},
        text=[describe_params(trial) for trial in pruned],
        hovertemplate="trial %{x}, pruned at %{y:.4f}<br>%{text}<extra></extra>",
    )
    figure.add_scatter(
        x=[trial.number for trial in done],
        y=so_far,
        mode="lines",
        name="best so far",
        line={"color": GREEN, "shape": "hv"},
    )
    return figure.update_layout(xaxis_title="trial", yaxis_title="macro F1", legend=LEGEND)


def importance_figure(shares: dict[str, float]) -> Any:
    """Draw the share of the scores' variance that each parameter explains, the largest on top."""
    import plotly.graph_objects as go

    names = sorted(shares, key=shares.__getitem__)
    figure = go.Figure(
        go.Bar(
            x=[shares[name] for name in names],
            y=[html.escape(name) for name in names],
            orientation="h",
            marker={"color": BLUE},
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    return figure.update_layout(xaxis_title="share of the variance", height=120 + 28 * len(names))


def parallel_figure(study: optuna.Study, names: Sequence[str]) -> Any:
    """Draw each finished trial as a line through its parameters, the best tenth in colour and on top."""
    figure = optuna.visualization.plot_parallel_coordinate(
        study, params=list(names), target=lambda trial: trial.values[0], target_name="macro F1"
    )
    lines = sorted(figure.data[:-1], key=lambda line: line.y[0])  # but for the colour bar; y[0] is macro F1's height
    best = max(1, len(lines) // 10)
    for line in lines[:-best]:
        line.update(line={"color": GREY, "width": 1}, opacity=0.35)
    for line in lines[-best:]:
        line.update(line={"color": ORANGE, "width": 2}, opacity=0.9)
    figure.data = tuple(lines)
    figure.update_annotations(font={"size": 11}, overwrite=True)  # in the colour of the page's text
    return figure.update_layout(title=None, height=420, margin={"l": 50, "r": 60, "t": 30, "b": 60})


def slice_figure(finished: Sequence[FrozenTrial], dimension: Dimension) -> Any:
    """Draw macro F1 against one parameter; from blue for the first trial to orange for the last."""
    import plotly.graph_objects as go

    having = [trial for trial in finished if dimension.name in trial.params]
    drawn = [trial.params[dimension.name] for trial in having]
    values = dimension.values
    figure = go.Figure(
        go.Scatter(
            x=drawn if isinstance(values, Range) else [html.escape(shown(value)) for value in drawn],
            y=[trial.values[0] for trial in having],
            mode="markers",
            marker={
                "color": [trial.number for trial in having],
                "colorscale": EARLY_TO_LATE,
                "size": 7,
                "opacity": 0.8,
            },
            text=[str(trial.number) for trial in having],
            hovertemplate="trial %{text}: %{x}, macro F1 %{y:.4f}<extra></extra>",
        )
    )
    if isinstance(values, Range):
        figure.update_xaxes(type="log" if values.log else "linear", nticks=6)
    else:
        order = [html.escape(shown(value)) for value in values.grid()]
        figure.update_xaxes(type="category", categoryorder="array", categoryarray=order)
    margin = {"l": 55, "r": 15, "t": 30, "b": 45}
    return figure.update_layout(xaxis_title=html.escape(dimension.name), yaxis_nticks=5, height=260, margin=margin)


def curves_figure(curves: Sequence[Curve], span: tuple[float, float]) -> Any:
    """Draw the validation loss of one optimiser's trials per epoch, pruned ones faint; ``span`` is the loss axis."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for place, curve in enumerate(curves):
        colour, dash = PALETTE[place % len(PALETTE)], DASHES[place // len(PALETTE) % len(DASHES)]
        label = html.escape(curve.label)
        name = f"trial {curve.number}" + (f": {label}" if len(label) < LONG_LABEL else "")
        figure.add_scatter(
            x=curve.epochs,
            y=curve.losses,
            mode="lines+markers",
            name=name if curve.is_complete else f"{name} (pruned)",
            line={"color": colour, "dash": dash, "width": 2},
            marker={"size": 4},
            opacity=1.0 if curve.is_complete else 0.45,
            hovertemplate=f"trial {curve.number}, epoch %{{x}}: %{{y:.3f}}<br>{label}<extra></extra>",
        )
    figure.update_layout(xaxis_title="epoch", yaxis_title="validation loss", legend={**LEGEND, "font": {"size": 11}})
    figure.update_layout(height=380 + 20 * len(curves))  # a line of the legend each
    return figure.update_yaxes(range=span)


def saving_figure(trials: Sequence[FrozenTrial]) -> Any:
    """Draw the epochs each trial was trained, and those that it was spared; all have ``epochs_planned``."""
    import plotly.graph_objects as go

    numbers = [trial.number for trial in trials]
    trained = [trial.user_attrs.get("epochs_trained", 0) for trial in trials]
    spared = [max(0, trial.user_attrs["epochs_planned"] - have) for trial, have in zip(trials, trained, strict=True)]
    figure = go.Figure()
    figure.add_bar(x=numbers, y=trained, name="trained", marker={"color": BLUE})
    pattern = {"shape": "/", "fgcolor": ORANGE, "fillmode": "replace"}
    figure.add_bar(x=numbers, y=spared, name="not trained", marker={"color": ORANGE, "pattern": pattern})
    return figure.update_layout(barmode="stack", xaxis_title="trial", yaxis_title="epochs, all folds", legend=LEGEND)


def front_figure(finished: Sequence[FrozenTrial], front: Sequence[FrozenTrial], cost: str) -> Any:
    """Draw the finished trials by both objectives, and the Pareto front as a line."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.add_scatter(
        x=[trial.values[1] for trial in finished],
        y=[trial.values[0] for trial in finished],
        mode="markers",
        name="finished",
        marker={"color": PINK, "opacity": 0.7},
        text=[f"trial {trial.number}: {describe_params(trial)}" for trial in finished],
        hovertemplate="%{text}<br>macro F1 %{y:.4f}, %{x:,}<extra></extra>",
    )
    figure.add_scatter(
        x=[trial.values[1] for trial in front],
        y=[trial.values[0] for trial in front],
        mode="lines+markers",
        name="front",
        line={"color": BLUE, "shape": "hv"},
        text=[f"trial {trial.number}" for trial in front],
        hovertemplate="%{text}: macro F1 %{y:.4f}, %{x:,}<extra></extra>",
    )
    costs = [trial.values[1] for trial in finished]
    is_wide = min(costs) > 0 and max(costs) > 10 * min(costs)
    figure.update_xaxes(type="log" if is_wide else "linear")
    return figure.update_layout(xaxis_title=cost, yaxis_title="macro F1", legend=LEGEND)


def describe_params(trial: FrozenTrial) -> str:
    """Return a trial's parameters for a hover text, a line each."""
    return "<br>".join(html.escape(f"{name} {shown(value)}") for name, value in trial.params.items())


def shown(value: Any) -> str:
    """Return a setting's value to read; best.yaml has all its digits."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {shown(item)}" for name, item in value.items())
    return "auto" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
