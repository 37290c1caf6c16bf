"""What made a submission, as plain data: the JSON file that lies beside the CSV."""

import subprocess
from pathlib import Path
from typing import Any

from competition import __version__, metrics
from competition.data.catalog import Catalog
from competition.ensemble.selection import Selection
from competition.prediction.fitting import FittedDecision, FittedEnsemble
from competition.prediction.fold_prediction import weights_hash
from competition.prediction.members import Member
from competition.prediction.settings import PredictSettings
from competition.predictions import Predictions
from competition.runs import environment, hash_file, read_json
from competition.submission import Template


def describe_submission(
    path: Path,
    settings: PredictSettings,
    ensemble: FittedEnsemble,
    decision: FittedDecision,
    catalog: Catalog,
    template: Template,
    predictions: Predictions,
) -> dict[str, Any]:
    """Return runs, fold hashes, weights, scores, revision and the hash of the CSV.

    ``score`` is that of ensemble and decision together, out of fold: what to expect of the submission.
    """
    record: dict[str, Any] = {
        "submission": path.name,
        "sha256": hash_file(path),
        "toolkit": __version__,
        "revision": revision(),
        "data": str(catalog.source),
        "rows": len(template.ids),
        "id_column": template.id_column,
        "score": decision.score(),
        "ensemble": _describe_ensemble(settings, ensemble),
        "decision": decision.decision.plain(),
        "predicted_out_of_fold": decision.shares,  # rows of each class: what the guard compares the CSV with
        "runs": [
            _describe_member(member, float(weight))
            for member, weight in zip(ensemble.members, ensemble.combination.weights, strict=True)
        ],
        "environment": environment(),
    }
    if predictions.labels is not None:
        decided = decision.decision.apply(predictions.probabilities)
        counts = metrics.confusion(predictions.labels, decided, len(predictions.class_names))
        record["test_macro_f1"] = metrics.macro_f1(counts)
    return record


def _describe_ensemble(settings: PredictSettings, ensemble: FittedEnsemble) -> dict[str, Any]:
    combination, counts = ensemble.combination, ensemble.nested.confusion()
    return {
        "asked": settings.ensemble,
        "method": combination.method if ensemble.selection else "single",
        "bias": None
        if combination.bias is None
        else dict(zip(ensemble.nested.class_names, combination.bias.tolist(), strict=True)),
        "out_of_fold_images": len(ensemble.nested.image_ids),
        "nested_macro_f1": metrics.macro_f1(counts),
        "nested_interval_95": metrics.bootstrap_interval(counts).plain(),
        "methods": _describe_methods(ensemble.selection) if ensemble.selection else None,
    }


def _describe_methods(selection: Selection) -> dict[str, Any]:
    return {
        item.method: {
            "nested_macro_f1": item.macro_f1,
            "interval_95": item.interval.plain(),
            "less_chosen": difference.value,
            "less_chosen_interval_95": difference.interval.plain(),
        }
        for item, difference in zip(selection.estimates, selection.differences, strict=True)
    }


def _describe_member(member: Member, weight: float) -> dict[str, Any]:
    run, score = read_json(member.folder / "run.json"), member.folder / "score.json"
    return {
        "run": str(member.folder),
        "weight": weight,
        "model": member.settings.model,
        "folds": [folder.name for folder in member.fold_folders],
        "weights": [weights_hash(folder) for folder in member.fold_folders],
        "views": member.views,
        "fold_file": run["fold_file"],
        "fold_hash": run["identity"]["fold_hash"],
        "out_of_fold": {key: read_json(score)[key] for key in ("macro_f1", "interval_95")} if score.exists() else None,
        "cautions": member.cautions,
    }


def revision() -> str | None:
    """Return the git revision of this checkout, with "+" where files were changed; None where there is no git."""
    here = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty=+", "--abbrev=40", "--match="],
            capture_output=True,
            text=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return commit.stdout.strip() or None
