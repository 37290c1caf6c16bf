"""``generate measure``: two sets of images -> features -> distances, classes, nearest training images.

OUT/measure.json     every figure, what it was measured on, and notes
OUT/neighbours.png   the generated pictures nearest to training images, each above its neighbour
OUT/pictures/        what a run made for it
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from competition.errors import counted, first_few
from competition.generative import distances, perceptual
from competition.generative.checkpoint import read_generator
from competition.generative.distances import FEWEST_FOR_FRECHET, FEWEST_IMAGES, Features
from competition.generative.features import FeatureNetwork, cached_features, open_features
from competition.generative.image_sets import Decoded, beside, drawn_of_class, is_run, resize_of
from competition.generative.measure_settings import MeasureSettings
from competition.generative.neighbours import Pairs, compare_nearness, nearest, pair_sheet
from competition.generative.sheets import write_png
from competition.generative.sides import Sides, open_sides
from competition.precision import pick_device
from competition.progress import Bar
from competition.runs import environment, write_json

INSTALL = "pip install -e '.[generative]'"
UNSEARCHED = "copies of training images were not looked for"
CLASSES_SHOWN = 10  # of the table that is printed, worst first
Figures = dict[str, Any]


def measure(path: Path, settings: MeasureSettings) -> tuple[Path, Figures]:
    """Measure generated images, or those a run makes, against real ones; returns the folder and what was written.

    Raises:
        UserError: nothing to measure against, too few images for the metric, features that are not there.
    """
    settings = settings.replace(resize=settings.resize or resize_of(path, settings.against, settings.trained_on))
    device = pick_device(settings.device)
    network = open_features(settings.features, settings.cache_dir, device)
    out = settings.out or (path / "measured" if is_run(path) else beside(path, "measured"))
    sides = open_sides(path, settings, out, network)
    out.mkdir(parents=True, exist_ok=True)  # a place that cannot be written is told before the work
    notes = [*sides.notes, *_notes_on(sides, network)]
    figures: Figures = {
        "generated": sides.generated.name,
        "generator": read_generator(path).sha256 if is_run(path) else None,
        "against": sides.real.name,
        "images": len(sides.real),
        "side": sides.real.store.shape[1],
        "features": {"name": network.name, "input": network.image_size, "identity": network.identity},
    }
    features = [_features_of(side, network, settings) for side in (sides.generated, sides.real)]
    figures |= _distance_figures(network, sides, features[0], features[1], settings.seed, notes)
    pairs = _nearest_pairs(sides, features, network, settings, notes) if settings.neighbours else None
    figures["nearest training images"] = _neighbour_figures(*pairs, out) if pairs else None
    figures[perceptual.NAME] = _perceptual_figures(sides, pairs, settings, device, notes)
    figures |= {"notes": notes, "settings": settings.plain(), "environment": environment()}
    write_json(out / "measure.json", figures)
    return out, figures


def _notes_on(sides: Sides, network: FeatureNetwork) -> list[str]:
    notes = []
    count = len(sides.real)
    if count < FEWEST_FOR_FRECHET:
        notes.append(
            f"{counted(count, 'image')} on each side: under {FEWEST_FOR_FRECHET:,}, {network.frechet_name} is mostly "
            f"bias and compares only with others of as many images; {network.kernel_name} has no such bias"
        )
    if not network.is_published:
        notes.append(
            f"{network.frechet_name} and {network.kernel_name} are not on the published FID and KID scale, which needs "
            "the published weights: --features inception=FILE"
        )
    return notes


def _features_of(images: Decoded, network: FeatureNetwork, settings: MeasureSettings) -> Features:
    """Return the features of all images, those that were looked at before from the cache folder. -> (N, D)."""
    resize, cache_dir = str(settings.resize), settings.cache_dir
    with Bar(f"features of {images.name}", len(images)) as bar:
        return cached_features(network, images.store, images.rows, images.contents, resize, cache_dir, bar.advance)


def _distance_figures(
    network: FeatureNetwork, sides: Sides, generated: Features, real: Features, seed: int, notes: list[str]
) -> Figures:
    """Return the distances of all images and of each class that both sides have enough of."""
    if not distances.is_available():
        notes.append(f"no distances: torch-fidelity is not installed: {INSTALL}")
        return {}
    found = distances.distances(generated, real, seed)
    figures: Figures = {
        network.frechet_name: found.frechet,
        network.kernel_name: found.kernel,
        f"{network.kernel_name} spread": found.kernel_spread,
        "precision": found.precision,
        "recall": found.recall,
    }
    names = sorted((set(sides.generated.labels) & set(sides.real.labels)) - {""})
    per_class, small = {}, []
    for name in names if len(names) > 1 else []:
        both = (sides.generated, sides.real)
        count = min(len(side.of_class(name)) for side in both)
        if count < FEWEST_IMAGES:
            small.append(f"{name} ({count})")
            continue
        own = [drawn_of_class(side, name, count, seed) for side in both]
        pair = generated[own[0]], real[own[1]]
        # No Frechet distance: a class has few images, and its bias would hide the class.
        kernel, _ = distances.kernel_distance(*pair, seed, distances.CLASS_SUBSETS)
        precision, recall = distances.precision_recall(*pair)
        per_class[name] = {"images": count, network.kernel_name: kernel, "precision": precision, "recall": recall}
    if small:
        notes.append(f"classes with fewer than {FEWEST_IMAGES} images on a side have no figures: {first_few(small)}")
    return {**figures, "per_class": per_class}


def _nearest_pairs(
    sides: Sides, features: list[Features], network: FeatureNetwork, settings: MeasureSettings, notes: list[str]
) -> tuple[Pairs, Pairs] | None:
    """Search the nearest training images of generated images, and of the real ones that were not trained on."""
    if sides.trained is None:
        notes.append(f"{UNSEARCHED}: name those images with --trained-on")
        return None
    is_new = np.array([content not in sides.seen for content in sides.real.contents])
    shared = f"{counted(int((~is_new).sum()), 'image')} of {sides.real.name} are training images themselves"
    if is_new.sum() < FEWEST_IMAGES:
        notes.append(f"{UNSEARCHED}: {shared}, so there is nothing to compare with; measure against held-out images")
        return None
    if not is_new.all():
        notes.append(f"{shared}: left out where copies are looked for")
    trained = _features_of(sides.trained, network, settings)
    return (
        Pairs(sides.generated, sides.trained, *nearest(features[0], trained)),
        Pairs(sides.real.take(np.flatnonzero(is_new)), sides.trained, *nearest(features[1][is_new], trained)),
    )


def _neighbour_figures(generated: Pairs, real: Pairs, out: Path) -> Figures:
    """Compare how near both lie, and draw the nearest pairs."""
    found = compare_nearness(generated.distance, real.distance, len(generated.trained))
    write_png(out / "neighbours.png", pair_sheet(generated))
    return {**dataclasses.asdict(found), "verdict": found.in_words()}


def _perceptual_figures(
    sides: Sides, pairs: tuple[Pairs, Pairs] | None, settings: MeasureSettings, device: torch.device, notes: list[str]
) -> dict[str, float] | None:
    if not settings.perceptual:
        return None
    if not perceptual.is_available():
        # Not in the extra: one of its files (models_lpf/downsample.py) is under CC BY-NC-SA, whatever the package says.
        notes.append(
            "no perceptual distances: stlpips-pytorch is not installed: pip install stlpips-pytorch, "
            "if non-commercial use is yours"
        )
        return None
    distance = perceptual.open_perceptual(device)
    named = {"diversity of generated": sides.generated, "diversity of real": sides.real}
    figures = {name: perceptual.diversity(distance, side, settings.seed) for name, side in named.items()}
    for name, found in zip(("generated", "real"), pairs or (), strict=False):
        figures[f"{name} to nearest training image"] = perceptual.to_nearest(distance, found, settings.seed)
    return {name: value for name, value in figures.items() if np.isfinite(value)}


def in_words(figures: Figures) -> str:
    """Return the figures for a reader."""
    lines = [f"{figures['generated']} against {figures['against']}: {figures['images']:,} images on each side"]
    kernel = next((name for name in figures if name.startswith(("KID", "KD["))), None)
    for name, value in figures.items():
        if isinstance(value, float) and not name.endswith(" spread"):
            spread = f" +- {figures[f'{name} spread']:.2g} over subsets" if name == kernel else ""
            lines.append(f"  {name} {value:.4g}{spread}")
    for name, values in (figures[perceptual.NAME] or {}).items():
        lines.append(f"  {perceptual.NAME}, {name}: {values:.3f}")
    classes = sorted(figures.get("per_class", {}).items(), key=lambda item: -item[1][kernel])
    for name, values in classes[:CLASSES_SHOWN]:
        shares = f"precision {values['precision']:.2f}, recall {values['recall']:.2f}"
        lines.append(f"    {name}: {kernel} {values[kernel]:.4g}, {shares} ({values['images']:,} images)")
    if len(classes) > CLASSES_SHOWN:
        lines.append(f"    the other {len(classes) - CLASSES_SHOWN} classes are nearer: see measure.json")
    if figures["nearest training images"]:
        lines.append(f"  {figures['nearest training images']['verdict']}")
    return "\n".join([*lines, *(f"note: {note}" for note in figures["notes"])])
