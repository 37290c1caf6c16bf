"""The sections of the page that are made of numbers: how good, did it learn, can it be trusted, what made it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from competition.analysis import figures
from competition.analysis.advice import Findings
from competition.analysis.corruptions import kernel_of
from competition.analysis.parts import bullets, chart, percent
from competition.metrics import Interval
from competition.page import Cell, Section, code, heading, paragraph, table


def score_section(findings: Findings) -> Section:
    """How good, how sure: the score, its interval, folds, classes, baseline and other runs."""
    score = findings["score"]
    html = bullets(_score_lines(score)) + _fold_table(score) + _other_table(findings)
    return Section("How good, how sure", html + _class_table(score), "score")


def _score_lines(score: Mapping[str, Any]) -> list[str]:
    low, high = score["interval_95"]
    lines = [
        f"Out of fold, macro F1 is {score['macro_f1']:.4f}, 95 % interval {low:.3f} to {high:.3f}; accuracy "
        f"{score['accuracy']:.4f}; {score['rows']:,} images, {score['classes']} classes."
    ]
    if score["warning"]:
        lines.append(f"But {score['warning']}.")
    if score["holdout"]:
        low, high = score["holdout"]["interval_95"]
        lines.append(
            f"On the validation split that was held out, the mean of all folds has {score['holdout']['macro_f1']:.4f}, "
            f"95 % interval {low:.3f} to {high:.3f}."
        )
    board = score["leaderboard"]
    if board is not None:
        low, high = board["interval_95"]
        lines.append(
            f"On a leaderboard of all {board['rows']:,} test images expect {low:.3f} to {high:.3f} in 95 of 100 cases, "
            "if test images are like training images. Averaging the folds' networks often adds a little."
        )
    baseline = score["baseline_macro_f1"]
    if baseline is not None:
        lines.append(
            f"The baseline, a linear model on thumbnails of 8 x 8 px and the same folds, has {baseline:.3f}: what "
            "colour and layout alone give away."
        )
    return lines


def _fold_table(score: Mapping[str, Any]) -> str:
    rows = [[int(fold), value] for fold, value in score["per_fold"].items()]
    return table(["fold", "macro F1"], rows, "Macro F1 of each fold")


def _other_table(findings: Findings) -> str:
    others = findings["score"]["others"]
    if not others:
        return ""
    model = findings["origin"]["settings"]["model"]
    rows: list[list[Cell]] = [[findings["run"], model, findings["score"]["macro_f1"], None, None]]
    for other in others:
        interval = "{:+.4f} to {:+.4f}".format(*other["gain_interval_95"])
        rows.append([other["run"], other["model"], other["macro_f1"], other["gain"], interval])
    columns = ["run", "network", "macro F1", "gain on shared images", "95 % interval of the gain"]
    caption = "Other runs against this one, on the images that both predicted; an interval that holds 0 means no clear "
    notes = dict.fromkeys(note for other in others for note in other["notes"])  # each once
    return table(columns, rows, caption + "difference") + bullets(list(notes))


def _class_table(score: Mapping[str, Any]) -> str:
    names = ("class", "f1", "precision", "recall", "rows", "taken_for", "times")
    rows = [[row.get(name) for name in names] for row in sorted(score["per_class"], key=lambda row: row["f1"])]
    columns = ["class", "F1", "precision", "recall", "images", "most often taken for", "times"]
    return table(columns, rows, "Every class, the weakest first")


def learning_section(findings: Findings) -> Section:
    """Did it learn: curves and words."""
    found = findings["learning"]
    curves = found["curves"]
    losses = {"train_loss": "training", "valid_loss": "validation"}
    scores = {"macro_f1": "macro F1, validation", "train_accuracy": "accuracy, training"}
    note = (
        "Lines are means over the folds, bands run from the lowest fold to the highest. Training values are of "
        "augmented, perhaps mixed images and smoothed labels, so they may look worse than validation values"
    )
    note += "; the comparison above is of plain images." if found["fit"] else "."
    html = bullets(found["words"]) if found["words"] else ""
    html += chart(lambda: figures.curves_figure(curves, losses, "loss"), "Loss per epoch, " + _in_words(curves, losses))
    html += chart(
        lambda: figures.curves_figure(curves, scores, "score", figures.SCORES),
        "Score per epoch, " + _in_words(curves, scores),
    )
    return Section("Did it learn", html + paragraph(note), "learning")


def _in_words(curves: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return first and last value of each curve, for those who do not see the chart."""
    said = []
    for name, title in names.items():
        if values := curves[name]["mean"]:
            course = f" from {values[0]:.4g} to" if len(values) > 1 else ""
            said.append(f"{title}{course} {values[-1]:.4g}")
    return "; ".join(said) or "nothing recorded"


def trust_section(findings: Findings) -> Section:
    """Can it be trusted: calibration, shift, corruptions."""
    found = findings["trust"]
    html = heading("Calibration") + paragraph(_calibration_words(found["calibration"]))
    html += chart(
        lambda: figures.calibration_figure(found["calibration"]), "Share of right answers against mean probability"
    )
    html += heading("Test images against training images") + paragraph(_shift_words(found["shift"]))
    html += heading("Small changes of the image") + _corruption_part(found)
    return Section("Can it be trusted", html, "trust")


def _calibration_words(found: Mapping[str, Any]) -> str:
    return (
        f"The expected calibration error is {found['error']:.3f}: on average the stated probability is that far from "
        f"the share of right answers (mean probability less share of right answers: {found['lean']:+.3f}). Perfect "
        f"probabilities of as many images stay below {found['chance']:.3f} in 95 of 100 cases: these are "
        f"{found['verdict']}."
    )


def _shift_words(shift: Mapping[str, Any] | None) -> str:
    if shift is None:
        return "There are too few test images to compare."
    word = "They differ." if shift["is_clear"] else "No clear difference."
    return (
        f"{word} A classifier on colours, layout, contrast and sharpness tells test from training images with AUC "
        f"{shift['auc']:.3f} (standard error {shift['spread']:.3f}; 0.5 is chance). Median sharpness: training "
        f"{shift['sharpness'][0]:.0f}, test {shift['sharpness'][1]:.0f}; median brightness: "
        f"{shift['brightness'][0]:.0f} and {shift['brightness'][1]:.0f}."
    )


def _corruption_part(found: Mapping[str, Any]) -> str:
    effects, width = found["corruptions"]["effects"], found["largest_width"]
    if not effects:
        return paragraph("Left out: it needs the networks' weights.")
    html = _effect_table(effects, "Macro F1 of held-out images after a change, one view")
    if found["corruptions"]["holdout"]:
        html += _effect_table(
            found["corruptions"]["holdout"], "The split that was held out, mean of all folds, one view"
        )
    if kernel_of(width) < 2:
        html += paragraph(
            "The filter of width w / 75, which makes large web photographs like shrunk ones, changes nothing here: the "
            f"images are {width} px wide at most, so its kernel has {kernel_of(width)} px."
        )
    return html


def _effect_table(effects: Sequence[Mapping[str, Any]], caption: str) -> str:
    names = ("name", "macro_f1", "difference", "images")
    rows = [[effect[name] for name in names] for effect in effects]
    return table(["change", "macro F1", "difference", "images"], rows, caption)


def origin_section(findings: Findings) -> Section:
    """What made it: commands, data, settings, environment."""
    found = findings["origin"]
    commands = "\n".join(f"# {name}\n{line}" for name, line in found["commands"].items())
    facts = [
        f"Data: {found['data']}, {found['images']}, fingerprint {found['images_hash']}.",
        f"Folds: {found['fold_file']}, fingerprint {found['fold_hash']}.",
    ]
    settings = [[name, _shown(value)] for name, value in found["settings"].items()]
    environment = [[name, _shown(value)] for name, value in found["environment"].items()]
    html = code(commands) + bullets(facts) + table(["setting", "value"], settings, "Settings")
    return Section("What made it", html + table(["what", "value"], environment, "Environment"), "origin")


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def advice_section(findings: Findings) -> Section:
    """What to do next, and what the page leaves out."""
    html = bullets(findings["advice"])
    if findings["left_out"]:
        html += paragraph("Left out of this page:") + bullets(findings["left_out"])
    return Section("What to do next", html, "next")


def subtitle(findings: Findings) -> str:
    """Return the score in one line."""
    score = findings["score"]
    line = f"macro F1 {score['macro_f1']:.4f} {Interval(*score['interval_95'])} out of fold"
    return f"{line}; {score['rows']:,} images, {score['classes']} classes, accuracy {percent(score['accuracy'])}"
