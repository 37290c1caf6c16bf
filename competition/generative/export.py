"""Labelled folders of generated pictures, as `train.py` reads them, with a manifest of where each came from.

OUT/export.json              what the pictures are made with
OUT/manifest.csv             image_id, label, generator, seed, source, group; written before the pictures it names;
                             train.csv, which gives the labels, where a class cannot be the name of a folder
OUT/train/CLASS/000012.png   written one by one; a restart makes only what is missing
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competition.data.csvfile import write_csv
from competition.data.decode import to_png
from competition.errors import UserError, counted, did_you_mean, first_few
from competition.generative.checkpoint import Generator, open_generator, read_generator
from competition.generative.latents import slerp
from competition.generative.model import GenerativeModel
from competition.generative.pictures import named_classes
from competition.generative.sampling import SAMPLE_BATCH, counted_noise, decode_pixels, device_of
from competition.generative.settings import ExportSettings
from competition.precision import pick_device
from competition.progress import Bar
from competition.runs import counted_seed, read_json, refuse_other_identity, write_atomically, write_json

COLUMNS = ("image_id", "label", "generator", "seed", "source", "group")


def export(folder: Path, settings: ExportSettings) -> tuple[Path, int]:
    """Write ``--per-class`` pictures of each class; returns the folder and how many pictures were new.

    Raises:
        UserError: a model without classes, a class it does not know, or a folder that holds something else.
        OSError: the disk is full; what is written stays, and the same command goes on.
    """
    names = exported_classes(settings.classes, read_generator(folder))
    return write_labelled(folder, settings, dict.fromkeys(names, settings.per_class))


def write_labelled(folder: Path, settings: ExportSettings, wanted: Mapping[str, int]) -> tuple[Path, int]:
    """Write so many pictures of each class, as `export` does, whatever ``--per-class`` and ``--classes`` say.

    A picture depends on the model, the seed, its class and its number alone. Those of earlier calls stay.
    """
    out = settings.out
    assert out is not None  # the command refuses to start without
    device = pick_device(settings.device)
    model, generator = open_generator(folder, device, settings.design_changes)
    claim_folder(out, settings, generator, f"{device.type} {model.precision}")
    names = generator.design.class_names
    places = {name: out / "train" / folder_name(name) for name in names}
    numbers = {name: sorted(numbers_there(places[name]) | set(range(wanted.get(name, 0)))) for name in sorted(names)}
    # First, so that wherever a kill comes no walk is without its group.
    rows = [row for name in numbers for row in manifest_rows(folder, generator, settings, name, numbers[name])]
    table = "manifest.csv" if all(name == folder_name(name) for name in names) else "train.csv"
    write_csv(out / table, COLUMNS, rows)
    more = len(rows) - sum(wanted.values())
    if more:
        print(f"{out}: {counted(more, 'picture')} of earlier calls beside these: kept, in {table} too", flush=True)
    made = 0
    with Bar(f"making {out}", sum(wanted.values()), "pictures") as bar:
        for name, count in wanted.items():
            made += write_class(model, settings, name, names.index(name), places[name], count, bar)
    return out, made


def exported_classes(text: str, generator: Generator) -> list[str]:
    """Return the classes that ``--classes`` names; raises UserError where the model cannot label its pictures."""
    design = generator.design
    if not design.is_labelled:
        raise UserError(
            f"the model learned {len(design.class_names)} classes without being told them, so its pictures have no "
            "label to be filed under: train it without --unconditional, or on one class; as it is, measure makes and "
            "keeps its pictures, and interpolate --from sample --to sample walks between two of them"
        )
    known = list(design.class_names)
    names = known if text == "all" else named_classes(text, known)
    unknown = [f"{name!r}{did_you_mean(name, known)}" for name in names if name not in known]
    if unknown or not names:
        words = f"the model does not know {', '.join(unknown)}" if names else "that names no class"
        raise UserError(f"--classes {text}: {words}; it knows {first_few(known)}")
    return names


def folder_name(name: str) -> str:
    """Return a class as the name of a folder: as it is, or with a code for what cannot stand in one."""
    return re.sub(r"[/\\]|^\.", lambda match: f"%{ord(match[0]):02X}", name)


def claim_folder(out: Path, settings: ExportSettings, generator: Generator, machine: str) -> None:
    """Write what the pictures are made with, or compare it with what is there.

    Raises:
        UserError: the folder holds something else, or pictures made otherwise.
    """
    design = generator.design
    identity = {
        "generator": generator.sha256,
        "seed": settings.seed,
        "frames": settings.frames,
        "machine": machine,  # another kind of device or number format rounds otherwise
    }
    if design.model == "flow":
        identity |= {name: getattr(design, name) for name in ("sampling_steps", "solver", "guidance")}
    path = out / "export.json"
    if path.exists():
        refuse_other_identity(out, read_json(path)["identity"], identity, "--out")
        return
    if out.exists() and any(out.iterdir()):
        raise UserError(f"--out {out} holds other files: name a new or empty folder")
    write_json(path, {"identity": identity})


def write_class(
    model: GenerativeModel, settings: ExportSettings, name: str, label: int, folder: Path, count: int, bar: Bar
) -> int:
    """Write the pictures of one class that are missing; returns how many they were.

    They are made in batches that begin at multiples of `SAMPLE_BATCH`.
    """
    made = 0
    for begin in range(0, count, SAMPLE_BATCH):
        numbers = range(begin, min(begin + SAMPLE_BATCH, count))
        missing = [number for number in numbers if not (folder / file_name(number)).exists()]
        if missing:
            # The whole batch is made even for one picture: it is the same picture in the same place.
            pixels = make_batch(model, settings, name, label, range(begin, begin + SAMPLE_BATCH))
            for number in missing:
                write_picture(folder / file_name(number), to_png(pixels[number - begin]))
        made += len(missing)
        bar.skip(len(numbers) - len(missing))
        bar.advance(len(missing))
    return made


@torch.no_grad()
def make_batch(
    model: GenerativeModel, settings: ExportSettings, name: str, label: int, numbers: Sequence[int]
) -> NDArray[np.uint8]:
    """Return the pictures of a class with these numbers. -> (B, S, S, 3)."""
    noise = noise_of(settings, name, numbers, model.latent_shape).to(device_of(model))
    labels = torch.full((len(noise),), label, device=noise.device)
    return decode_pixels(model, model.to_latents(noise, labels), labels)


def noise_of(settings: ExportSettings, name: str, numbers: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Return the noise that pictures are made from: of a walk, on the arc between its ends. -> (B, *shape)."""
    ends = [seeds_of(settings, name, number) for number in numbers]
    first = counted_noise([seeds[0] for seeds in ends], shape)
    if settings.frames == 1:
        return first
    share = torch.tensor(
        [1 - number % settings.frames / (settings.frames - 1) for number in numbers], dtype=torch.float64
    )
    return slerp(first, counted_noise([seeds[1] for seeds in ends], shape), share)


def seeds_of(settings: ExportSettings, name: str, number: int) -> list[int]:
    """Return the seed of a picture, or those of both ends of its walk."""
    if settings.frames == 1:
        return [counted_seed(settings.seed, "export", name, number)]
    walk = number // settings.frames
    return [counted_seed(settings.seed, "walk", name, walk, end) for end in range(2)]


def file_name(number: int) -> str:
    """Return the name of a class's picture."""
    return f"{number:06}.png"


def numbers_there(folder: Path) -> set[int]:
    """Return the numbers of the pictures of a class that are written."""
    return {int(path.stem) for path in folder.glob("*.png") if path.stem.isdecimal()}


def write_picture(path: Path, data: bytes) -> None:
    """Write one picture, whole or not at all, without waiting for the disk.

    A power cut may cost pictures that the next run makes again, and waiting would cost more than making them.
    """
    write_atomically(path, data, sync=False)


def manifest_rows(
    folder: Path, generator: Generator, settings: ExportSettings, name: str, numbers: Iterable[int]
) -> Iterator[tuple[str, ...]]:
    """Yield a row per picture of a class; the pictures of one walk share a group."""
    made_by = f"{generator.design.model} {generator.sha256}"
    for number in numbers:
        seeds = "+".join(str(seed) for seed in seeds_of(settings, name, number))
        group = f"{name}/{number // settings.frames}" if settings.frames > 1 else ""
        yield f"train/{folder_name(name)}/{file_name(number)}", name, made_by, seeds, folder.absolute().name, group
