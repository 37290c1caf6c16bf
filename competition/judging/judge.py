"""The closed loop: does training on generated images make a better classifier of real ones, and where a worse one?

OUT/judge.json                 scores, paired differences, classes, verdict; written last
OUT/{real,generated,both}/     a folder per fold, and the pooled predictions (oof.npz)
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from competition.comparison import ClassChange, Comparison, Contender, Difference, compare
from competition.data.catalog import open_catalog
from competition.data.prepare import find_data
from competition.errors import counted, first_few
from competition.judging.arms import ARMS, Contest, Generated, join, open_generated
from competition.judging.settings import JudgeSettings
from competition.metrics import Interval
from competition.predictions import Predictions, load_predictions, pool, save_predictions
from competition.runs import environment, read_json, write_json
from competition.stop import Stop
from competition.training.cross_validation import (
    choose_preprocessing,
    claim_folder,
    identity_of,
    refuse_other_run,
    settle,
)
from competition.training.display import Display
from competition.training.fit import fit_fold
from competition.training.machine import choose_machine
from competition.training.material import Material, open_material
from competition.training.start import refuse_unfit

FEWEST_SCORED = 50  # images that a generator never saw, from which the score is theirs alone
SHOWN_CLASSES = 5
Findings = dict[str, Any]


def judge(
    path: Path, unseen: Sequence[str] | None, settings: JudgeSettings, out: Path, stop: Stop | None = None
) -> Findings:
    """Train classifiers on real images, on generated ones and on both; compare them on held-out real images.

    All trainings have the same folds, network and optimisation steps, so the both-training wins nothing by length.

    Args:
        path: labelled generated images: a folder or zip.
        unseen: ids of the real images that the generator was not trained on, or None where that is not known.
        settings: everything else.
        out: folder to write.
        stop: asked after every step; it listens while classifiers train. None: one of this call's own.

    Raises:
        Stopped: somebody wanted to stop; the same call goes on.
        UserError: data that cannot be judged, or a folder begun with other settings.
    """
    stop = stop or Stop()
    contest, material, generated = open_contest(path, settings, out)
    parts = {arm: train_arm(contest, arm, stop) for arm in ARMS}
    scored, note = _scored_rows(parts["real"], unseen)
    comparison = compare([Contender(arm, parts[arm].rows(scored)) for arm in ARMS])
    findings = {
        "generated": str(path),
        "generator": _generator_of(path),
        "data": str(material.images.catalog.source),
        "images": {"real": len(material.data.labels), "generated": len(generated.labels), "scored": len(scored)},
        "budget": {"folds": settings.folds, "steps": contest.settings.steps, "batch_size": contest.settings.batch_size},
        "verdict": verdict(comparison),
        **{standing.name: asdict(standing) for standing in comparison.runs},
        "notes": [note, *_notes_on(generated, material.data.class_names, contest.settings.batch_size)],
        "settings": settings.plain(),
        "environment": environment(),
    }
    write_json(out / "judge.json", findings)
    return findings


def _generator_of(path: Path) -> str | None:
    """Return the hash of the weights that made a folder of ``generate export``; None of other images."""
    made_with = path / "export.json"
    return read_json(made_with)["identity"]["generator"] if made_with.exists() else None


def _notes_on(generated: Generated, class_names: Sequence[str], batch_size: int | None) -> list[str]:
    notes = []
    if batch_size and len(generated.labels) < batch_size:
        count = counted(len(generated.labels), "image")
        notes.append(f"the generated ones fill no batch: alone they train in steps of {count} each")
    if generated.copies:
        notes.append(f"pixel for pixel images of the real data: {generated.copies:,} of the generated ones")
    found = set(generated.labels.tolist())
    missing = [name for k, name in enumerate(class_names) if k not in found]
    if missing:
        notes.append(f"classes without generated images: {first_few(missing)}")
    return notes


def open_contest(path: Path, settings: JudgeSettings, out: Path) -> tuple[Contest, Material, Generated]:
    """Open both kinds of images and claim the folder; refuse what does not fit before anything is trained."""
    made = open_catalog(path)  # one that is not there is told before the real images are decoded and dealt
    training = settle(settings.training())
    catalog = find_data(training)
    preprocessing = choose_preprocessing(training, catalog)
    refuse_unfit(training, tuple(catalog.class_names), preprocessing.image_size)
    material = open_material(training, catalog, preprocessing.image_size)
    generated = open_generated(path, made, training, settings.per_class, material)
    identity = identity_of(training, material, preprocessing) | {"generated_hash": generated.fingerprint}
    refuse_other_run(out, identity, "--out")
    machine, answer = choose_machine(out, training, material.data, preprocessing)
    claim_folder(out, training, identity, {"generated": str(path), **material.places})
    answer.save(out)
    return join(out, training, material, generated, preprocessing, machine), material, generated


def train_arm(contest: Contest, arm: str, stop: Stop) -> Predictions:
    """Train the folds of one training that are not finished; returns its pooled predictions of real images."""
    path = contest.folder / arm / "oof.npz"
    if path.exists():
        return load_predictions(path)
    print(f"training on {arm} images", flush=True)
    folds = list(range(contest.settings.folds))
    with stop.listening(), Display(folds) as display:
        pooled = pool([fit_fold(contest.job(arm, fold), display, stop) for fold in folds])
    save_predictions(path, pooled)
    return pooled


def _scored_rows(real: Predictions, unseen: Sequence[str] | None) -> tuple[np.ndarray, str]:
    """Return the rows that are scored, those that the generator never saw where they are enough; and a note on it."""
    every = np.arange(len(real.image_ids))
    if unseen is None:
        return every, "whether the generator was trained on the images that are scored is not known"
    rows = np.flatnonzero(np.isin(real.image_ids, np.asarray(unseen, dtype=np.str_)))
    if len(rows) >= FEWEST_SCORED:
        return rows, f"scored on the {counted(len(rows), 'image')} that the generator was not trained on"
    if len(rows):
        held = counted(len(rows), "image")
        return every, (
            f"the generator may have been trained on the images that are scored: it left {held} out, too few to score "
            f"on ({FEWEST_SCORED} are needed): train it with a larger --hold-out for a clean judgement"
        )
    return every, (
        "the generator may have been trained on the images that are scored, and what it makes may give them away: "
        "train it with --hold-out for a clean judgement"
    )


def verdict(comparison: Comparison) -> str:
    """Say in a few sentences whether generated images help, where they hurt, and what they are worth alone."""
    real, alone, both = comparison.runs
    assert both.difference is not None  # the first alone has none
    gain = both.difference
    share = alone.macro_f1 / real.macro_f1 if real.macro_f1 else 0.0
    sentences = [
        f"generated images {_effect(gain)}: macro F1 {real.macro_f1:.3f} on real images, {both.macro_f1:.3f} on both "
        f"({gain.macro_f1:+.3f} {gain.interval.signed()})",
        f"alone they give {alone.macro_f1:.3f}, {share:.0%} of what real images give",
        _classes_in_words(gain.classes),
    ]
    return "; ".join(sentences)


def _effect(gain: Difference) -> str:
    if gain.interval.low > 0:
        return "help"
    return "hurt" if gain.interval.high < 0 else "make no difference that these images could show"


def _classes_in_words(classes: Sequence[ClassChange]) -> str:
    """Name the classes whose interval leaves zero out, and how many would by chance."""
    worse = [change for change in classes if change.interval.high < 0]
    better = [change for change in classes if change.interval.low > 0]

    def named(changes: list[ClassChange]) -> str:
        shown = [f"{change.name} ({change.after - change.before:+.3f})" for change in changes]
        return first_few(shown, SHOWN_CLASSES) or "no class for certain"

    by_chance = f"{len(classes) * 0.025:.1f} of {len(classes)} classes would seem to, each way, by chance alone"
    return f"they hurt {named(worse)} and help {named(better)} ({by_chance})"


def in_words(findings: Findings) -> str:
    """Return the findings for a reader."""
    images, budget = findings["images"], findings["budget"]
    lines = [
        f"{images['real']:,} real and {images['generated']:,} generated images, {budget['folds']} folds, "
        f"{counted(budget['steps'], 'step')} of up to {budget['batch_size']} images each",
        "trained on   macro F1   95 % interval     difference to real",
    ]
    for arm in ARMS:
        standing = findings[arm]
        difference = standing["difference"]
        last = f"{difference['macro_f1']:+.4f}" if difference else ""
        lines.append(f"{arm:<12} {standing['macro_f1']:<10.4f} {Interval(**standing['interval'])}    {last}".rstrip())
    return "\n".join([*lines, findings["verdict"], *(f"note: {note}" for note in findings["notes"])])
