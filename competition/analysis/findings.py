"""Everything the page says, as plain data: the JSON twin. What is said of pictures is added where they are drawn."""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from competition import __version__, metrics
from competition.analysis import learning, mistakes, scores, trust
from competition.analysis.advice import advise
from competition.analysis.corruptions import measure_corruptions, measure_holdout, worst
from competition.analysis.extras import is_missing, missing_message
from competition.analysis.predicting import predict_held_out, sample_of
from competition.analysis.source import Source
from competition.comparison import compare, contender_of, warning_of
from competition.data.checks import check
from competition.errors import counted
from competition.prediction.members import Member, open_members
from competition.runs import read_history, read_json

SAMPLE = 1000  # images that are predicted again, for fit and corruptions
PAIRS, LOSSES, LABELS = 12, 24, 24  # listed on the page
CURVES = ("train_loss", "valid_loss", "macro_f1", "train_accuracy")
PURPOSES = {
    "plotly": "every chart",
    "cleanlab": "the search for wrong labels",
    "captum": "the picture of integrated gradients",
}


def find(source: Source, others: Sequence[str]) -> dict[str, Any]:
    """Compute all numbers of the page; ``others`` are run folders to compare with."""
    counts = source.predictions.confusion()
    left_out = [missing_message(name, what).capitalize() for name, what in PURPOSES.items() if is_missing(name)]
    which = sample_of(source, SAMPLE)
    plain = predict_held_out(source, which) if len(which) else None
    if plain is None:
        left_out.append(
            "The networks' weights were deleted: fit on seen images, corruptions and all pictures of what the networks "
            "see are left out"
        )
    findings: dict[str, Any] = {
        "run": str(source.folder),
        "toolkit": __version__,
        "advice": [],
        "left_out": left_out,
        "score": _score(source, counts, others),
        "learning": _learning(source, which, plain),
        "mistakes": _mistakes(source, counts),
        "trust": _trust(source, which, plain),
        "origin": _origin(source),
    }
    findings["advice"] = advise(findings)
    return findings


def _score(source: Source, counts: metrics.Counts, others: Sequence[str]) -> dict[str, Any]:
    facts = source.store.facts.iloc[source.rows].reset_index(drop=True)
    settings, score = source.member.settings, source.folder / "score.json"
    test_rows = len(source.catalog.submission_ids or source.catalog.of("test"))
    band = metrics.leaderboard_band(counts, test_rows) if test_rows else None
    missing = [fold for fold in settings.fold_numbers if fold not in source.fold_folders]
    # With a fold missing it would learn from less than the networks did.
    baseline = None if missing else scores.baseline_f1(facts, source.labels, source.folds, len(counts))
    return {
        "macro_f1": metrics.macro_f1(counts),
        "interval_95": metrics.bootstrap_interval(counts).plain(),
        "accuracy": metrics.accuracy(counts),
        "rows": int(counts.sum()),
        "classes": len(counts),
        "views": settings.views,
        "warning": warning_of(source.folder),
        "holdout": read_json(score).get("holdout") if score.exists() else None,
        "per_fold": scores.per_fold(source.fold_folders),
        "folds_missing": missing,
        "per_class": scores.class_rows(counts, source.class_names),
        "baseline_macro_f1": baseline,
        "leaderboard": {"rows": test_rows, "interval_95": band.plain()} if band else None,
        "others": [_other(source, member) for name in others for member in open_members([name], allow_partial=True)],
    }


def _other(source: Source, member: Member) -> dict[str, Any]:
    """Compare another run with this one on the images that both predicted."""
    sides = [(source.folder, source.predictions), (member.folder, member.out_of_fold())]
    found = compare([contender_of(folder, predictions) for folder, predictions in sides])
    difference = found.runs[1].difference
    assert difference is not None
    return {
        "run": str(member.folder),
        "model": member.settings.model,
        "macro_f1": found.runs[1].macro_f1,
        "images": found.images,
        "gain": difference.macro_f1,
        "gain_interval_95": difference.interval.plain(),
        "notes": list(found.notes),
    }


def _learning(source: Source, which: NDArray[np.intp], plain: NDArray[np.float32] | None) -> dict[str, Any]:
    histories = {fold: read_history(folder / "history.jsonl") for fold, folder in source.fold_folders.items()}
    curves = {name: learning.curve(histories, name) for name in CURVES}
    fit = learning.measure_fit(source, which, plain) if plain is not None else None
    rise = learning.rise_at_the_end(curves["macro_f1"], source.member.settings.stop_after)
    return {
        "curves": {name: dataclasses.asdict(found) for name, found in curves.items()},
        "fit": dataclasses.asdict(fit) if fit else None,
        "rise_at_the_end": rise,
        "words": learning.describe_learning(fit, curves["valid_loss"], curves["macro_f1"], rise),
    }


def _mistakes(source: Source, counts: metrics.Counts) -> dict[str, Any]:
    labels = None if is_missing("cleanlab") else mistakes.likely_wrong_labels(source.predictions)
    order, names = mistakes.similarity_order(counts), source.class_names
    problems = check(source.catalog, source.store.facts, folds=source.member.settings.folds, are_dealt=True)
    rows = counts.sum(axis=1)
    pairs = [
        {
            "first": names[pair.first],
            "second": names[pair.second],
            "first_as_second": pair.first_as_second,
            "second_as_first": pair.second_as_first,
            "share": pair.images / int(rows[pair.first] + rows[pair.second]),
        }
        for pair in mistakes.confused_pairs(counts, PAIRS)
    ]
    return {
        "order": [names[number] for number in order],
        "confusion": counts[np.ix_(order, order)].tolist(),
        "confused_pairs": pairs,
        "misclassified": int(counts.sum() - np.trace(counts)),
        "top_losses": [describe_row(source, row) for row in mistakes.top_losses(source.predictions, LOSSES)],
        "likely_wrong_labels": None
        if labels is None
        else {"count": len(labels), "images": [describe_row(source, row) for row in labels]},
        "data_problems": [dataclasses.asdict(problem) for problem in problems],
    }


def describe_row(source: Source, row: int) -> dict[str, Any]:
    """Return one prediction as plain data: id, fold, true and predicted class, and the probability of each."""
    probabilities, label = source.predictions.probabilities[row], int(source.labels[row])
    predicted = int(probabilities.argmax())
    return {
        "image_id": str(source.predictions.image_ids[row]),
        "fold": int(source.folds[row]),
        "true": source.class_names[label],
        "predicted": source.class_names[predicted],
        "probability": float(probabilities[predicted]),
        "true_probability": float(probabilities[label]),
    }


def _trust(source: Source, which: NDArray[np.intp], plain: NDArray[np.float32] | None) -> dict[str, Any]:
    found = trust.calibration(source.predictions.probabilities, source.labels)
    is_test = (source.catalog.table["split"] == "test").to_numpy()
    shift = trust.adversarial_validation(source.store.facts.iloc[source.rows], source.store.facts[is_test])
    effects = measure_corruptions(source, which, plain) if plain is not None else []
    lowest = worst(effects)
    return {
        "calibration": {**dataclasses.asdict(found), "lean": found.lean, "verdict": found.verdict},
        "shift": {**dataclasses.asdict(shift), "is_clear": shift.is_clear} if shift else None,
        "corruptions": {
            "images": len(which),
            "effects": [dataclasses.asdict(effect) for effect in effects],
            "holdout": [dataclasses.asdict(effect) for effect in measure_holdout(source)],
        },
        "worst_corruption": dataclasses.asdict(lowest) if lowest else None,
        "largest_width": int(source.store.facts["width"].to_numpy()[source.rows].max()),
    }


def _origin(source: Source) -> dict[str, Any]:
    path = source.folder / "environment.json"
    environment = read_json(path) if path.exists() else {}
    made_by = environment.pop("command", None)
    elsewhere = [] if len(source.catalog.of("test")) else ["--data", "PATH"]
    in_part = [] if source.member.is_whole else ["--allow-partial"]
    commands = {
        "train": shlex.join(["python", *made_by]) if made_by else None,
        "train again": shlex.join(["python", "train.py", "--config", str(source.folder / "settings.yaml")]),
        "predict": shlex.join(["python", "predict.py", str(source.folder), *elsewhere, *in_part]),
        "this page": shlex.join(["python", "-m", "competition", *_words()]),
    }
    record = read_json(source.folder / "run.json")
    return {
        "commands": {name: line for name, line in commands.items() if line},
        "data": str(source.catalog.source),
        "images": counted(len(source.rows), "image"),
        "images_hash": record["identity"]["images_hash"],
        "fold_file": record["fold_file"],
        "fold_hash": record["identity"]["fold_hash"],
        "settings": source.member.settings.plain(),
        "environment": environment,
    }


def _words() -> list[str]:
    """Return the verb and its flags as they were given on the command line."""
    return sys.argv[1:] if Path(sys.argv[0]).name == "__main__.py" else ["report", "..."]
