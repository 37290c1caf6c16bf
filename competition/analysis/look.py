"""One picture of what a run's network sees, written as a PNG."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from competition.analysis import drawings
from competition.analysis.layers import Layer, check_layer, map_layers
from competition.analysis.pictures import Picture, png, tiled
from competition.analysis.settings import LookSettings
from competition.analysis.source import Source, open_source
from competition.checkpoint import Checkpoint
from competition.data.decode import decode_file
from competition.errors import UserError, did_you_mean, first_few
from competition.precision import pick_device
from competition.predictions import load_predictions
from competition.runs import write_atomically


@dataclass(frozen=True)
class Subject:
    """The image to look at.

    Attributes:
        name: its id, or the file's name.
        pixels: (S, S, 3) uint8, as the network sees it.
        label: its class, or None where it is not known.
        fold: the finished fold that held it out, or None.
        is_in_folds: whether the other folds' networks may have learned from it.
    """

    name: str
    pixels: NDArray[np.uint8]
    label: str | None = None
    fold: int | None = None
    is_in_folds: bool = False


def look(settings: LookSettings, run: str) -> str:
    """Make the picture and write it to ``--out``; returns one line that says what it shows.

    Raises:
        UserError: no such run, image, fold, class or layer; a fold without weights; a network the tool does not suit.
    """
    assert settings.out is not None
    source = open_source(settings, run, pick_device(settings.device))
    subject = find_subject(source, settings.image) if settings.image is not None else None
    fold = settings.fold
    if fold is None:
        first = min(source.fold_folders)
        fold = subject.fold if subject is not None and subject.fold is not None else first
    network, checkpoint = source.open_network(fold)
    if settings.target is not None:
        _check_class(settings.target, checkpoint)
    picture, words = _draw(settings, source, network, checkpoint, subject)
    write_atomically(settings.out, png(picture))
    return f"{settings.out}: {words}; network of fold {fold}{_warn_of_learned(source, subject, fold)}"


def _warn_of_learned(source: Source, subject: Subject | None, fold: int) -> str:
    """Return the end of the sentence where the fold did not hold the image out, else nothing."""
    if subject is None or not subject.is_in_folds:
        return ""
    held_out = load_predictions(source.fold_folders[fold] / "predictions.npz").image_ids
    return "" if subject.name in held_out else ", which did not hold this image out and may have learned it by heart"


def find_subject(source: Source, image: str) -> Subject:
    """Return a training image by its id, a test image by its id, or a file.

    Raises:
        UserError: neither, or a file that cannot be read.
    """
    table = source.catalog.table
    for is_test in (False, True):
        found = np.flatnonzero((table["image_id"] == image) & ((table["split"] == "test") == is_test))
        if len(found):
            return _subject_of_row(source, image, int(found[0]))
    path = Path(image).expanduser()
    if not path.is_file():
        near = did_you_mean(image, table["image_id"])
        raise UserError(f"--image {image!r}: neither an id in {source.catalog.source} nor a file{near}")
    for row in np.flatnonzero(table["path"].str.endswith((path.name, path.resolve().name))):
        known = Path(table["path"].iloc[row])
        if known.is_file() and known.samefile(path):  # however the two are written: a link, or .. on the way
            return _subject_of_row(source, str(table["image_id"].iloc[row]), int(row))
    decoded = decode_file(str(path), source.member.image_size, source.member.resize)  # type: ignore[arg-type]
    if decoded.error:
        raise UserError(f"--image {image}: {decoded.error}")
    return Subject(path.name, decoded.pixels.copy())  # what was decoded may be read-only, which PyTorch warns of


def _subject_of_row(source: Source, name: str, row: int) -> Subject:
    error = source.store.facts["error"].iloc[row]
    if error:
        raise UserError(f"--image {name!r}: {error}")
    pixels = source.pictures(np.array([row]))[0]
    place = np.flatnonzero(source.rows == row)
    if len(place):
        return Subject(name, pixels, source.class_names[source.labels[place[0]]], int(source.folds[place[0]]), True)
    label, split = source.catalog.table[["label", "split"]].iloc[row]
    kept_out = ("test", "val") if source.member.settings.holdout else ("test",)  # else its fold is not finished
    return Subject(name, pixels, label if label in source.class_names else None, is_in_folds=split not in kept_out)


def _check_class(target: str, checkpoint: Checkpoint) -> None:
    names = checkpoint.class_names
    if target not in names:
        raise UserError(
            f"--target {target!r} is no class of this run{did_you_mean(target, names)}; classes: {first_few(names, 12)}"
        )


def _draw(
    settings: LookSettings, source: Source, network: nn.Module, checkpoint: Checkpoint, subject: Subject | None
) -> tuple[Picture, str]:
    if subject is None:
        return _draw_dream(settings, source, network, checkpoint)
    images = drawings.to_input(checkpoint.preprocessing, subject.pixels[None], source.device)
    if settings.what == "activations":
        sheet, layers = drawings.draw_activations(network, images[0], subject.pixels, settings.layer)
        return sheet, f"{subject.name} at the top, then filters of {', '.join(layer.name for layer in layers)}"
    with torch.inference_mode():
        probabilities = network(images).float().softmax(dim=1)[0]
    names = checkpoint.class_names
    predicted = names[int(probabilities.argmax())]
    target = settings.target or subject.label or predicted
    number = names.index(target)
    assert settings.what is not None
    draw = drawings.drawers(settings.layer)[settings.what]
    drawn = draw(network, images, subject.pixels[None], torch.tensor([number], device=source.device))
    sheet = tiled([drawings.tile(subject.pixels), drawings.tile(drawn.pictures[0])], 2)
    true = f"true {subject.label}, " if subject.label is not None else ""
    return sheet, (
        f"{settings.what} of {subject.name} for {target} (probability {float(probabilities[number]):.2f}; "
        f"{true}predicted {predicted} {float(probabilities.max()):.2f}); {drawn.words}"
    )


def _draw_dream(
    settings: LookSettings, source: Source, network: nn.Module, checkpoint: Checkpoint
) -> tuple[Picture, str]:
    """Draw a class, or 16 filters of a layer (the deepest where none is named)."""
    if settings.target is not None:
        number = checkpoint.class_names.index(settings.target)
        (sheet,) = drawings.draw_classes(network, [number], checkpoint.preprocessing)
        return sheet, f"what the network takes for {settings.target}"
    layer = _layer_to_dream(settings, source, network, checkpoint)
    channels = drawings.spread_channels(layer, drawings.FILTERS)
    sheet = drawings.draw_filters(network, layer.name, channels, checkpoint.preprocessing)
    return sheet, f"{len(channels)} of {layer.channels} filters of {layer.name}, evenly spaced, the most excited first"


def _layer_to_dream(settings: LookSettings, source: Source, network: nn.Module, checkpoint: Checkpoint) -> Layer:
    side = checkpoint.preprocessing.image_size
    example = torch.zeros(1, 3, side, side, device=source.device)
    if settings.layer is not None:
        return check_layer(network, settings.layer, example)
    layers = map_layers(network, example)
    if not layers:
        raise UserError(f"{type(network).__name__} keeps no map of places; name a class with --target")
    return layers[-1]
