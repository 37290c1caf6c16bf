"""The pictures of a run that are measured or judged: made once, kept in the run folder, made on after a kill."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from competition.data.decode import to_png
from competition.errors import UserError
from competition.generative.checkpoint import open_generator, read_generator
from competition.generative.export import file_name, write_labelled, write_picture
from competition.generative.image_sets import held_out_ids, is_run
from competition.generative.sampling import SAMPLE_BATCH, device_of, sample
from competition.generative.settings import ExportSettings
from competition.precision import pick_device
from competition.progress import Bar
from competition.runs import counted_seed, read_json

Device = Literal["auto", "cpu", "cuda"]


def make_pictures(folder: Path, out: Path, counts: Mapping[str, int], seed: int, device: Device) -> Path:
    """Make so many pictures of each class of a run; returns the folder they are in.

    A model that labels its pictures makes those of ``generate export``; another makes as many in all, without labels.
    """
    generator = read_generator(folder)
    count = sum(counts.values())
    chosen = pick_device(device)
    # Other weights, another seed, number, device or number format: other pictures, so that a measurement depends on
    # nothing done before.
    key = counted_seed(chosen.type, str(generator.precision.on(chosen)), repr(sorted(counts.items())))
    out = out / f"{generator.sha256}-{seed}-{count}-{key:016x}"
    if generator.design.is_conditional or len(generator.design.class_names) == 1:
        return write_labelled(folder, ExportSettings(seed=seed, device=device, out=out), counts)[0]
    _make_unlabelled(folder, out, count, seed, device)
    return out


def _make_unlabelled(folder: Path, out: Path, count: int, seed: int, device: Device) -> None:
    model, _ = open_generator(folder, pick_device(device))
    with Bar(f"making {out}", count, "pictures") as bar:
        for begin in range(0, count, SAMPLE_BATCH):
            paths = [out / file_name(number) for number in range(begin, min(begin + SAMPLE_BATCH, count))]
            if all(path.exists() for path in paths):
                bar.skip(len(paths))
                continue
            seeds = [counted_seed(seed, "export", "", number) for number in range(begin, begin + SAMPLE_BATCH)]
            pixels = sample(model, seeds, torch.zeros(len(seeds), dtype=torch.long, device=device_of(model)))
            for path, picture in zip(paths, np.asarray(pixels), strict=False):
                write_picture(path, to_png(picture))
            bar.advance(len(paths))


def pictures_to_judge(
    path: Path, out: Path, per_class: int | None, seed: int, device: Device
) -> tuple[Path, list[str] | None]:
    """Return labelled pictures, those a run makes or those of a folder, and the ids of images the run kept out.

    The ids are None where they are not known. A run makes as many of a class as it was trained on, on average.

    Raises:
        UserError: a run whose pictures have no labels.
    """
    if not is_run(path):
        return path, None
    design = read_generator(path).design
    if not design.is_conditional:
        raise UserError(
            f"{path}: its model was not told the classes, so its pictures have no labels to train a classifier with"
        )
    trained = int(read_json(path / "run.json")["identity"]["images"])
    counts = dict.fromkeys(design.class_names, per_class or -(-trained // len(design.class_names)))
    return make_pictures(path, out / "pictures", counts, seed, device), held_out_ids(path)
