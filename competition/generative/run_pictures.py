"""The pictures of a run that are measured or judged: made once, kept in the run folder, made on after a kill."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from competition.errors import UserError
from competition.generative.checkpoint import open_generator, read_generator
from competition.generative.export import write_class, write_labelled
from competition.generative.image_sets import held_out_ids, is_run
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
    if generator.design.is_labelled:
        return write_labelled(folder, ExportSettings(seed=seed, device=device, out=out), counts)[0]
    model, _ = open_generator(folder, chosen)
    with Bar(f"making {out}", count, "pictures") as bar:
        write_class(model, ExportSettings(seed=seed), "", 0, out, count, bar)
    return out


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
