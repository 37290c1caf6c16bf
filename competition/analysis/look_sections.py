"""The sections that open the networks: where they look, and what they have learned."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from competition.analysis import drawings, mistakes
from competition.analysis.activations import DeadFilters, count_dead
from competition.analysis.findings import describe_row
from competition.analysis.layers import map_layers, several
from competition.analysis.parts import bullets, gallery, image_picture, shortened
from competition.analysis.pictures import png, tiled
from competition.analysis.predicting import evenly
from competition.analysis.source import Source
from competition.checkpoint import Checkpoint
from competition.errors import UserError, counted
from competition.page import Cell, Section, heading, paragraph, picture, table

RIGHT, WRONG = 4, 6  # images whose maps are drawn
DREAM_LAYERS, DREAM_FILTERS, DREAM_CLASSES = 3, 8, 12
DEAD_IMAGES = 256
TITLES = {"cam": "class activation", "occlusion": "occlusion", "gradients": "integrated gradients"}


def where_section(source: Source, findings: dict[str, Any]) -> Section:
    """Where it looks: maps for right and wrong images, each by the network that held the image out."""
    left_out: dict[str, str] = {}
    shown = [_maps_of(source, row, left_out) for row in _rows_to_look_at(source)]
    if not shown:
        html = paragraph("Left out: it needs the networks' weights.")
        return Section("Where it looks", html, "where")
    findings["look"] = [about for about, _ in shown]
    drawn = [name for name in TITLES if any(name in about["tools"] for about, _ in shown)]
    html = paragraph(_legend(drawn))
    if left_out:
        html += bullets([f"Left out, {TITLES[name]}: {reason}." for name, reason in left_out.items()])
    return Section("Where it looks", html + gallery([html for _, html in shown]), "where")


def _legend(drawn: Sequence[str]) -> str:
    """Return what the columns of the pictures show, and how to read them."""
    columns = ", ".join(TITLES[name] for name in drawn)
    words = [f"From left to right: the image, then {columns}."]
    if "cam" in drawn:
        words.append("Yellow in a class activation map: the network sees the class there.")
    if {"occlusion", "gradients"} & set(drawn):
        others = ", ".join(TITLES[name] for name in drawn if name != "cam")
        words.append(f"Orange ({others}): the place speaks for the class, blue: against it.")
    words.append(
        "Of a misclassified image the upper row asks for the true class, the lower one for the predicted one. "
        "Both are on one scale, whose size stands below the enlarged picture. Look for maps that lie on the background."
    )
    if "cam" in drawn:
        words.append(
            "In a transformer trust occlusion most: attention moves what a place knows, and class activation maps may "
            "point beside it."
        )
    return " ".join(words)


def _rows_to_look_at(source: Source) -> list[int]:
    """Return the costliest mistakes, then the surest right answers of several classes; those with weights alone."""
    usable = np.isin(source.folds, source.folds_with_weights())
    wrong = [row for row in mistakes.top_losses(source.predictions, 10 * WRONG) if usable[row]][:WRONG]
    counts = source.predictions.confusion()
    classes = [number for number in range(len(counts)) if counts[number, number]]
    right = []
    for number in classes[:: max(1, len(classes) // RIGHT)][:RIGHT]:
        found = mistakes.examples_of(source.predictions, number, number, 20)
        right += [row for row in found if usable[row]][:1]
    return [*wrong, *right]


def _maps_of(source: Source, row: int, left_out: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Return what was drawn and its HTML; a tool that cannot be drawn is noted in ``left_out`` with the reason."""
    about = describe_row(source, row)
    network, checkpoint = source.open_network(about["fold"])
    names = list(dict.fromkeys([about["true"], about["predicted"]]))  # of a right answer one
    pixels = np.repeat(source.pictures(source.rows[[row]]), len(names), axis=0)
    images = drawings.to_input(checkpoint.preprocessing, pixels, source.device)
    targets = torch.tensor([checkpoint.class_names.index(name) for name in names], device=source.device)
    columns, drawn = [list(pixels)], {}
    for name in TITLES:
        try:
            drawn[name] = drawings.drawers()[name](network, images, pixels, targets)
            columns.append(drawn[name].pictures)
        except UserError as error:  # a package or a map of places is missing: the other tools need neither
            left_out[name] = str(error)
    tiles = [drawings.tile(column[place]) for place in range(len(names)) for column in columns]
    drawn_words = "; the image and its " + ", ".join(f"{TITLES[name]} ({item.words})" for name, item in drawn.items())
    return {**about, "tools": list(drawn)}, image_picture(png(tiled(tiles, len(columns))), about, drawn_words)


def learned_section(source: Source, findings: dict[str, Any]) -> Section:
    """What it has learned: answers of filters, what filters and classes look for, dead filters; one fold's network."""
    title, anchor = "What it has learned", "learned"
    folds = source.folds_with_weights()
    if not folds:
        return Section(title, paragraph("Left out: it needs the networks' weights."), anchor)
    network, checkpoint = source.open_network(folds[0])
    rows = source.rows[source.folds == folds[0]]
    rows = rows[np.linspace(0, len(rows) - 1, min(DEAD_IMAGES, len(rows))).astype(np.int64)]  # of every class
    dead = count_dead(network, _batches(source, checkpoint, rows))
    findings["learned"] = {"fold": folds[0], "dead_filters": [vars(item) for item in dead]}
    html = paragraph(f"All of this section shows the network of fold {folds[0]}.")
    html += heading("Activation maps") + _activation_part(source, network, checkpoint, folds[0])
    html += heading("What filters and classes look for") + _dream_part(source, network, checkpoint)
    html += heading("Dead filters") + _dead_part(dead, len(rows))
    return Section(title, html, anchor)


def _batches(source: Source, checkpoint: Checkpoint, rows: NDArray[np.int64]) -> Iterator[torch.Tensor]:
    for some in np.array_split(rows, -(-len(rows) // 64)):
        yield drawings.to_input(checkpoint.preprocessing, source.pictures(some), source.device)


def _activation_part(source: Source, network: nn.Module, checkpoint: Checkpoint, fold: int) -> str:
    rows = np.flatnonzero(source.folds == fold)
    row = int(rows[np.argmax(mistakes.true_probabilities(source.predictions)[rows])])
    pixels = source.pictures(source.rows[[row]])
    image = drawings.to_input(checkpoint.preprocessing, pixels, source.device)[0]
    try:
        sheet, layers = drawings.draw_activations(network, image, pixels[0])
    except UserError as error:
        return paragraph(f"Left out: {error}.")
    about = describe_row(source, row)
    words = (
        f"{about['image_id']} ({about['true']}) at the top; below it the {drawings.FILTERS} filters that answer most, "
        f"of the layers {', '.join(layer.name for layer in layers)}"
    )
    return picture(png(sheet), f"Activation maps of {words}", words)


def _dream_part(source: Source, network: nn.Module, checkpoint: Checkpoint) -> str:
    preprocessing, names = checkpoint.preprocessing, checkpoint.class_names
    example = torch.zeros(1, 3, preprocessing.image_size, preprocessing.image_size, device=source.device)
    shown = []
    for layer in several(map_layers(network, example)[1:], DREAM_LAYERS):
        channels = drawings.spread_channels(layer, DREAM_FILTERS)
        words = (
            f"layer {layer.name}: pictures that excite {len(channels)} of its {layer.channels} filters, evenly spaced, "
            "the most excited first"
        )
        shown.append(picture(png(drawings.draw_filters(network, layer.name, channels, preprocessing)), words, words))
    chosen = evenly(len(names), DREAM_CLASSES).tolist()
    for number, pixels in zip(chosen, drawings.draw_classes(network, chosen, preprocessing), strict=True):
        words = f"what the network takes for {names[number]}"
        shown.append(picture(png(pixels), words, shortened(names[number])))
    note = (
        "Made by gradient ascent on the input (deep dream): noise, made to excite a filter or a class most. A filter "
        "that the noise does not excite at all cannot climb and keeps it."
    )
    return paragraph(note) + gallery(shown)


def _dead_part(dead: Sequence[DeadFilters], images: int) -> str:
    total, all_filters = sum(item.dead for item in dead), sum(item.filters for item in dead)
    same = f"have the same output for all of {counted(images, 'image')}"
    words = f"{total:,} of {all_filters:,} filters never answer, that is, {same}."
    rows: list[list[Cell]] = [[item.layer, item.dead, item.filters] for item in dead if item.dead]
    return paragraph(words) + (table(["layer", "dead", "filters"], rows, "Layers with dead filters") if rows else "")
