"""What a study leaves behind: trials.csv, best.yaml, pareto.csv where it has two objectives, and report.html."""

import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from competition.errors import counted
from competition.page import Section, code, figure, heading, paragraph, render_page, table
from competition.runs import write_atomically
from competition.tuning import charts, results
from competition.tuning.curves import read_curves
from competition.tuning.proposals import Space

FEWEST_FOR_IMPORTANCE = 10  # finished trials; with fewer a forest of regression trees finds what is not there
MOST_CURVES = 12  # per optimiser
TREES = 32  # of the forest behind the importances
NO_PLOTLY = "The charts are left out, for they need plotly: pip install -e '.[analysis]', then run tune.py again."


@dataclass(frozen=True)
class Findings:
    """What the sections of the page are made from.

    Attributes:
        folder: ``studies/NAME``.
        study: Optuna's study.
        trials: its trials, in order.
        space: what is searched.
        rule: how the best trial is picked, see `results.pick`.
        has_charts: whether plotly is installed.
    """

    folder: Path
    study: optuna.Study
    trials: list[FrozenTrial]
    space: Space
    rule: results.Rule
    has_charts: bool

    @property
    def finished(self) -> list[FrozenTrial]:
        """The trials that have a score."""
        return results.complete_trials(self.trials)

    @property
    def is_double(self) -> bool:
        """Whether the study has two objectives."""
        return len(self.study.directions) == 2

    @property
    def cost(self) -> str:
        """What the second objective is called."""
        measures_time = any("latency_ms" in trial.user_attrs for trial in self.trials)
        return "latency_ms" if measures_time else "parameters"


def write_report(folder: Path, study: optuna.Study, space: Space, rule: results.Rule = "score") -> None:
    """Write the files of a study with a finished trial into its folder; best.yaml is the trial that the rule picks."""
    trials = study.get_trials(deepcopy=False)
    results.write_rows(folder / "trials.csv", results.trial_rows(trials))
    results.write_best(folder / "best.yaml", trials, space.base, rule)
    findings = Findings(folder, study, trials, space, rule, has_charts=find_spec("plotly") is not None)
    if findings.is_double:
        results.write_front(folder / "pareto.csv", results.pareto_front(trials), findings.cost)
    write_atomically(folder / "report.html", page(findings))


def page(findings: Findings) -> str:
    """Return the page of a study."""
    drawn = (history_section, importance_section, parallel_section, slices_section, curves_section)
    makers = (
        best_section,
        front_section,
        *(drawn if findings.has_charts else ()),
        saving_section,
        trials_section,
        space_section,
    )
    sections = [section for make in makers if (section := make(findings)) is not None]
    states = [trial.state.name.lower() for trial in findings.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return render_page(f"Study {findings.folder.name}", sections, f"{counted(len(states), 'trial')}: {counts}")


def best_section(findings: Findings) -> Section:
    """Say which trial is best, how sure that is, and how to train it."""
    best = results.best_of(findings.trials, findings.rule)
    notes = "" if findings.has_charts else paragraph(NO_PLOTLY)
    first = findings.trials[0]
    lead = f"Trial {best.number}: {results.score_in_words(best)}. "
    if first.state == TrialState.COMPLETE and first.number != best.number:
        lead += f"Trial 0, where the search began, has {first.values[0]:.4f}. "
    picked = "the best" if findings.rule == "score" else f"picked by the rule '{findings.rule}'"
    words = (
        f"It is {picked} of {counted(len(findings.finished), 'finished trial')}, and a score picked as the best of "
        "many is optimistic: expect less on new images."
    )
    if "warning" in best.user_attrs:
        words += f" Note: {best.user_attrs['warning']}."
    changes = [[name, charts.shown(value)] for name, value in best.user_attrs["settings"].items()]
    settings = table(["setting", "value"], changes, "What differs from the settings under the search")
    command = code(shlex.join(["python", "train.py", "--config", str(findings.folder / "best.yaml")]))
    return Section("Best", notes + paragraph(lead + words) + command + (settings if changes else ""), "best")


def front_section(findings: Findings) -> Section | None:
    """Show the Pareto front and what each rule picks of it."""
    if not findings.is_double:
        return None
    front = results.pareto_front(findings.trials)
    alt = f"Macro F1 against {findings.cost}"
    chart = figure(charts.front_figure(findings.finished, front, findings.cost), alt) if findings.has_charts else ""
    names: dict[results.Rule, str] = {
        "score": "highest macro F1",
        "within": f"cheapest within {results.WITHIN:g} of it",
        "knee": "farthest from the line between the ends",
        "cost": "cheapest",
    }
    rows: list[list[Any]] = []
    for rule, words in names.items():
        trial = results.pick(front, rule)
        rows.append([words, trial.number, trial.values[0], results.whole(trial.values[1])])
    columns = ["picked as", "trial", "macro F1", findings.cost]
    return Section("Front", chart + table(columns, rows, "Picks of the Pareto front; all of it: pareto.csv"), "front")


def history_section(findings: Findings) -> Section:
    """Show the scores in the order of the trials."""
    chart = figure(charts.history_figure(findings.trials), "Macro F1 of each trial and the best so far")
    return Section("History", chart, "history")


def importance_section(findings: Findings) -> Section:
    """Show which parameters matter, or say why that cannot be told."""
    done, varied = findings.finished, common_parameters(findings.finished)
    if len(done) < FEWEST_FOR_IMPORTANCE:
        have = counted(len(done), "finished trial")
        words = f"Left out: {have}; it takes {FEWEST_FOR_IMPORTANCE} to tell parameters apart from chance."
        return Section("Importance", paragraph(words), "importance")
    if not varied or len({trial.values[0] for trial in done}) == 1:
        return Section("Importance", paragraph("Left out: the finished trials do not differ."), "importance")
    shares = importances(findings.study, varied)
    words = (
        "By functional ANOVA (Hutter, Hoos and Leyton-Brown 2014) over the finished trials: the share of the scores' "
        f"variance that each parameter explains by itself. {left_out(done, varied)}"
    )
    chart = figure(charts.importance_figure(shares), "Share of the variance by parameter")
    return Section("Importance", paragraph(words) + chart, "importance")


def importances(study: optuna.Study, names: Sequence[str]) -> dict[str, float]:
    """Return the share of the variance of macro F1 that each parameter explains."""
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.importance.get_param_importances(
            study, evaluator=evaluator, params=list(names), target=lambda trial: trial.values[0]
        )


def common_parameters(trials: Sequence[FrozenTrial]) -> list[str]:
    """Return the parameters that every trial has and that take more than one value."""
    names = [name for name in trials[0].params if all(name in trial.params for trial in trials)]
    return [name for name in names if len({trial.params[name] for trial in trials}) > 1]


def left_out(trials: Sequence[FrozenTrial], names: Sequence[str]) -> str:
    """Return which parameters are not among those named, in a sentence, or nothing."""
    others = sorted({name for trial in trials for name in trial.params} - set(names))
    if not others:
        return ""
    return f"Left out, for not every finished trial has them or they have one value: {', '.join(others)}."


def parallel_section(findings: Findings) -> Section | None:
    """Show the finished trials as lines through their parameters."""
    names = common_parameters(findings.finished)
    if len(names) < 2:
        return None
    alt = "Each finished trial as a line through its parameters"
    chart = figure(charts.parallel_figure(findings.study, names), alt)
    words = f"The best tenth of the finished trials is in colour. {left_out(findings.finished, names)}"
    return Section("Parallel coordinates", paragraph(words) + chart, "parallel")


def slices_section(findings: Findings) -> Section:
    """Show macro F1 against each parameter by itself."""
    slices = [
        figure(charts.slice_figure(findings.finished, item), f"Macro F1 against {item.name}")
        for item in findings.space.dimensions
        if any(item.name in trial.params for trial in findings.finished)
    ]
    words = "Macro F1 of the finished trials; from blue for the first to orange for the last."
    return Section("Slices", paragraph(words) + panels(slices), "slices")


def curves_section(findings: Findings) -> Section | None:
    """Show the validation loss of the trials, a panel per optimiser."""
    curves, missing = read_curves(findings.folder, findings.trials, findings.space.base, MOST_CURVES)
    if not curves:
        return None
    losses = [loss for panel in curves.values() for curve in panel for loss in curve.losses]
    margin = 0.05 * (max(losses) - min(losses)) or 0.1
    span = (min(losses) - margin, max(losses) + margin)
    drawn = []
    for optimizer, panel in curves.items():
        chart = figure(charts.curves_figure(panel, span), f"Validation loss per epoch with {optimizer}")
        drawn.append(f"<div>{heading(optimizer)}{chart}</div>")
    words = "Validation loss per epoch, the mean over the folds; one line per trial, one panel per optimiser. "
    if missing:
        words += f"{counted(missing, 'trial')} left out: at most {MOST_CURVES} per panel, the best first."
    return Section("Learning curves", paragraph(words) + panels(drawn), "curves")


def saving_section(findings: Findings) -> Section:
    """Show the epochs that were trained against those that the trials would have taken."""
    known = [trial for trial in findings.trials if "epochs_planned" in trial.user_attrs]
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in known:
        is_reused = "reused_from" in trial.user_attrs
        groups.setdefault("result reused" if is_reused else trial.state.name.lower(), []).append(trial)
    rows = [_saving_row(name, trials) for name, trials in {**groups, "together": known}.items()]
    columns = ["trials", "count", "epochs trained", "epochs planned", "share"]
    alt = "Epochs trained and not trained, by trial"
    chart = figure(charts.saving_figure(known), alt) if findings.has_charts else ""
    return Section("What pruning saved", table(columns, rows, "Epochs, all folds") + chart, "pruning")


def _saving_row(name: str, trials: Sequence[FrozenTrial]) -> list[Any]:
    trained = sum(trial.user_attrs.get("epochs_trained", 0) for trial in trials)
    planned = sum(trial.user_attrs["epochs_planned"] for trial in trials)
    return [name, len(trials), trained, planned, round(trained / planned, 3)]


def trials_section(findings: Findings) -> Section:
    """List every trial."""
    rows = results.trial_rows(findings.trials)
    columns = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)]
    columns = [name for name in columns if name not in ("folder", "worker", "interval_low", "interval_high", "reason")]
    columns += ["reason"] if any(row["reason"] for row in rows) else []
    cells = [[row[name] for name in columns] for row in rows]
    return Section("Trials", table(columns, cells, "Every trial; a heading sorts, trials.csv has it all"), "trials")


def space_section(findings: Findings) -> Section:
    """Show what was searched."""
    return Section("Space", code(findings.space.describe()), "space")


def panels(pieces: Sequence[str]) -> str:
    """Return pieces side by side, as many as fit."""
    return f'<div class="panels">{"".join(pieces)}</div>'
