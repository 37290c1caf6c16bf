"""The section that shows where a run errs: confusion, pairs, galleries, likely wrong labels, faults of the data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from competition.analysis import figures, mistakes
from competition.analysis.advice import Findings
from competition.analysis.drawings import tile
from competition.analysis.extras import missing_message
from competition.analysis.findings import LABELS, LOSSES, describe_row
from competition.analysis.parts import bullets, chart, folded, gallery, image_picture, percent
from competition.analysis.pictures import png
from competition.analysis.source import Source
from competition.errors import first_few
from competition.page import Section, heading, paragraph, table

PAIRS_SHOWN, EXAMPLES = 6, 4
LISTED = 200  # likely wrong labels in the table
SMALLEST = 64  # px, of a picture in a gallery; twice that at most


def mistake_section(source: Source, findings: Findings) -> Section:
    """Where it errs."""
    found = findings["mistakes"]
    count = len(found["order"])
    words = f"Confusion of {count} classes, ordered so that classes that are confused lie together"
    html = paragraph(f"{found['misclassified']:,} of {findings['score']['rows']:,} images are misclassified.")
    html += heading("Confusion matrix")
    html += chart(lambda: figures.confusion_figure(found["confusion"], found["order"]), words)
    pairs = found["confused_pairs"]
    html += heading("Most confused pairs") + _pair_table(pairs) + _pair_galleries(source, pairs[:PAIRS_SHOWN])
    html += heading("Misclassified images, the costliest first")
    html += image_gallery(source, mistakes.top_losses(source.predictions, LOSSES))
    html += heading("Labels that are likely wrong") + _label_part(source, findings)
    html += heading("Duplicates, conflicts and other faults of the data") + _problem_part(found["data_problems"])
    return Section("Where it errs", html, "mistakes")


def image_gallery(source: Source, rows: Sequence[int]) -> str:
    """Show some predictions' images with true and predicted class."""
    if not len(rows):
        return paragraph("None.")
    pictures = source.pictures(source.rows[np.asarray(rows)])
    shown = []
    for row, pixels in zip(rows, pictures, strict=True):
        shown.append(image_picture(png(tile(pixels, SMALLEST)), describe_row(source, row)))
    return gallery(shown)


def _pair_table(pairs: Sequence[Mapping[str, Any]]) -> str:
    if not pairs:
        return paragraph("None.")
    rows = [
        [pair["first"], pair["second"], pair["first_as_second"], pair["second_as_first"], pair["share"]]
        for pair in pairs
    ]
    columns = ["class", "other class", "taken for the other", "the other taken for it", "share of both"]
    return table(columns, rows, "Pairs of classes that are taken for one another most")


def _pair_galleries(source: Source, pairs: Sequence[Mapping[str, Any]]) -> str:
    """For each pair: sure and right images of both, and the mistaken ones between them."""
    html = ""
    for pair in pairs:
        first, second = source.class_names.index(pair["first"]), source.class_names.index(pair["second"])
        rows = [
            *mistakes.examples_of(source.predictions, first, first, EXAMPLES // 2),
            *mistakes.examples_of(source.predictions, first, second, EXAMPLES),
            *mistakes.examples_of(source.predictions, second, first, EXAMPLES),
            *mistakes.examples_of(source.predictions, second, second, EXAMPLES // 2),
        ]
        html += paragraph(
            f"{pair['first']} and {pair['second']}: right ones of each at the ends, mistaken ones between."
        )
        html += image_gallery(source, rows)
    return html


def _label_part(source: Source, findings: Findings) -> str:
    found = findings["mistakes"]["likely_wrong_labels"]
    if found is None:
        return paragraph(f"Left out: {missing_message('cleanlab', 'this list')}.")
    words = f"{mistakes.look_wrong(found['count'])} by confident learning (cleanlab) on the out-of-fold probabilities."
    if not found["images"]:
        return paragraph(words)
    accuracy, classes = findings["score"]["accuracy"], findings["score"]["classes"]
    if not mistakes.is_worth_asking(accuracy, classes):
        weak = f"A network that is right for {percent(accuracy)} of the images of {classes} classes"
        return paragraph(f"{words} {weak} doubts mostly right ones, so they are not shown; they are in the JSON file.")
    rows = [
        [about["image_id"], about["true"], about["predicted"], about["true_probability"], about["probability"]]
        for about in found["images"][:LISTED]
    ]
    columns = ["image", "label", "predicted", "probability of the label", "probability of the prediction"]
    caption = "Likely wrong labels, the likeliest first"
    listed = folded(f"The first {len(rows)} as a table; all are in the JSON file", table(columns, rows, caption))
    above = set(mistakes.top_losses(source.predictions, LOSSES))
    row_of = {image_id: row for row, image_id in enumerate(source.predictions.image_ids.tolist())}
    likely_wrong = [row_of[about["image_id"]] for about in found["images"]]
    new = [row for row in likely_wrong if row not in above]
    if len(new) < len(likely_wrong):
        words += f" Shown above among the costliest: {len(likely_wrong) - len(new)}."
    return paragraph(words) + (image_gallery(source, new[:LABELS]) if new else "") + listed


def _problem_part(problems: Sequence[Mapping[str, Any]]) -> str:
    if not problems:
        return paragraph("The checks found none.")
    lines = [
        f"{problem['severity'].upper()} {problem['kind']}: {problem['message']} {first_few(problem['rows'])}"
        for problem in problems
    ]
    return bullets(lines)
