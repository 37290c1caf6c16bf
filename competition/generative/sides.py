"""What ``generate measure`` compares: two sets of images, or what a run makes and a set, cut to one size."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from competition.errors import UserError, first_few
from competition.generative.checkpoint import read_generator
from competition.generative.distances import FEWEST_IMAGES
from competition.generative.features import FeatureNetwork
from competition.generative.image_sets import (
    Decoded,
    ImageSet,
    chosen,
    common_side,
    decode_set,
    halves,
    is_run,
    of_classes,
    open_set,
    run_images,
    same_classes,
    size_notes,
)
from competition.generative.measure_settings import MeasureSettings
from competition.generative.run_pictures import make_pictures


@dataclass(frozen=True)
class Sides:
    """What is measured: equally many generated and real images, and the training images, where they are known.

    Attributes:
        generated, real: as many of each.
        trained: those that are searched for copies.
        seen: hashes of all that were trained on.
        notes: on how they were cut.
    """

    generated: Decoded
    real: Decoded
    trained: Decoded | None
    seen: set[int]
    notes: list[str]


def open_sides(path: Path, settings: MeasureSettings, out: Path, network: FeatureNetwork) -> Sides:
    """Open, decode and cut the sets to one size.

    Raises:
        UserError: see `measure`.
    """
    real_set, trained_set = _real_set(path, settings), _trained_set(path, settings)
    if is_run(path):
        generated, real, notes = _run_sides(path, real_set, settings, out, network)
    else:
        generated, real, notes = _image_sides(open_set(path), real_set, settings, network)
    _refuse_too_few([generated, real])
    count = min(len(generated), len(real))
    generated, real = (chosen(one, count, None, settings.seed) for one in (generated, real))
    if trained_set is None:
        return Sides(generated, real, None, set(), notes)
    every = decode_set(trained_set, real.store.shape[1], settings)
    trained = chosen(every, settings.neighbours, None, settings.seed)
    return Sides(generated, real, trained, set(every.contents), notes)


def _image_sides(
    generated_set: ImageSet, real_set: ImageSet, settings: MeasureSettings, network: FeatureNetwork
) -> tuple[Decoded, Decoded, list[str]]:
    """Return generated images and real ones, of the classes they share, and notes."""
    side = settings.image_size or common_side([generated_set, real_set], network.image_size)
    generated, real = (decode_set(one, side, settings) for one in (generated_set, real_set))
    notes = list(dict.fromkeys([*size_notes(generated), *size_notes(real)]))
    if sorted(generated.contents) == sorted(real.contents):
        generated, real = halves(real, settings.seed)
        notes.append("both sides are the same images: one half is measured against the other, the floor of the metric")
    else:
        generated, real, left_out = same_classes(generated, real)
        notes += left_out
    generated, real = (chosen(one, settings.most, settings.per_class, settings.seed) for one in (generated, real))
    return generated, real, notes


def _run_sides(
    path: Path, real_set: ImageSet, settings: MeasureSettings, out: Path, network: FeatureNetwork
) -> tuple[Decoded, Decoded, list[str]]:
    """Let a run make as many pictures of each class as there are real ones; return both sides and notes."""
    design = read_generator(path).design
    side = settings.image_size or min(common_side([real_set], network.image_size), design.image_size)
    every = decode_set(real_set, side, settings)
    real, left_out = of_classes(every, design.class_names)
    real = chosen(real, settings.most, settings.per_class, settings.seed)
    _refuse_too_few([real])
    counts = {name: len(real.of_class(name)) for name in sorted(set(design.class_names) & set(real.labels))}
    # Without a class in common, or without labels, nothing says how many of each are wanted.
    counts = counts or dict.fromkeys(design.class_names, -(-len(real) // len(design.class_names)))
    pictures = make_pictures(path, out / "pictures", counts, settings.seed, settings.device)
    generated = decode_set(dataclasses.replace(open_set(pictures), name=f"pictures of {path}"), side, settings)
    return generated, real, [*dict.fromkeys([*size_notes(generated), *size_notes(every)]), *left_out]


def _real_set(path: Path, settings: MeasureSettings) -> ImageSet:
    source = settings.against or path
    if settings.against is None:
        if not path.exists():
            raise UserError(f"{path}: no such run, folder or zip")
        if not is_run(path):
            raise UserError("--against is missing: name a folder or zip of real images")
    return run_images(source, held_out=True, data=settings.data) if is_run(source) else open_set(source)


def _trained_set(path: Path, settings: MeasureSettings) -> ImageSet | None:
    if not settings.neighbours:
        return None
    places = [settings.trained_on] if settings.trained_on else [place for place in (path, settings.against) if place]
    runs = [place for place in places if is_run(place)]
    if runs:
        return run_images(runs[0], held_out=False, data=settings.data)
    return open_set(settings.trained_on, ("train",)) if settings.trained_on else None


def _refuse_too_few(sides: list[Decoded]) -> None:
    small = [f"{side.name} ({len(side)})" for side in sides if len(side) < FEWEST_IMAGES]
    if small:
        raise UserError(f"too few images for any metric, which needs {FEWEST_IMAGES} on each side: {first_few(small)}")
