"""Between two pictures: the path from one to the other, the picture at one share, and the best of many pairs.

RUN/interpolation_FROM_TO.png         a row for each of the best pairs
RUN/interpolation_FROM_TO_ALPHA.png   the best pair at one share
RUN/interpolation_FROM_TO.png.json    what both were made with; written last, and gone while they are made anew
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from competition.data.decode import decode_file
from competition.errors import UserError, did_you_mean, first_few
from competition.generative.checkpoint import Generator, open_generator
from competition.generative.latents import lerp, slerp
from competition.generative.model import GenerativeModel
from competition.generative.pictures import Pictures, load_pictures, to_input
from competition.generative.run import find_settings
from competition.generative.sampling import SAMPLE_BATCH, decode_pixels, device_of, sample_latents
from competition.generative.settings import InterpolateSettings
from competition.generative.sheets import enlarge, tile, write_png
from competition.precision import pick_device
from competition.runs import counted_seed, write_json

SHOWN_PAIRS = 4
PICTURE_ZOOM = 8
SAMPLE = "sample"  # the end that is a drawn latent, whatever its class
LONGEST_NAME = 24  # letters of an end in the name of a sheet: two ends, of up to three bytes a letter, fit a file name
RECORDS = "interpolation_*.png.json"  # of the sheets in a run folder

Mix = Callable[[Tensor, Tensor, Tensor | float], Tensor]


@dataclass(frozen=True)
class Ends:
    """One end of N paths.

    Attributes:
        names: what each is, for messages.
        latents: (N, *latent_shape).
        weights: (N, K) of the classes.
        real: (N, S, S, 3) uint8 where the end is a real picture.
    """

    names: list[str]
    latents: Tensor
    weights: Tensor
    real: NDArray[np.uint8] | None


@dataclass(frozen=True)
class Interpolation:
    """What was written, and how the pairs fared."""

    sheet: Path
    picture: Path
    criterion: str
    pairs: list[tuple[str, str, float]]  # names and score, best first; higher is better


def interpolate(folder: Path, source: str, target: str, settings: InterpolateSettings) -> Interpolation:
    """Decode alpha * source + (1 - alpha) * target for ``--search`` pairs, and draw the paths of the best.

    Args:
        folder: a run of ``generate train``.
        source: a class, an image of the run's data, an image file, or ``sample``: a drawn latent of any class.
        target: likewise.
        settings: everything else.

    Raises:
        UserError: an end that is none of these, or an image where the model has no encoder.
    """
    changes = {"sampling_steps": settings.sampling_steps} if settings.sampling_steps else None
    model, generator = open_generator(folder, pick_device(settings.device), changes)
    finder = EndFinder(model, generator, folder, settings)
    ends = [finder.find(text, side) for text, side in ((source, "from"), (target, "to"))]
    mix = choose_method(settings.method, model)
    scores = realism_of(model, *mixture(mix, ends[0], ends[1], settings.alpha))
    order = torch.argsort(scores, descending=True, stable=True)
    pairs = [(ends[0].names[row], ends[1].names[row], scores[row].item()) for row in order.tolist()]
    sheet = settings.out or folder / f"interpolation_{_safe(source)}_{_safe(target)}.png"
    picture = sheet.with_name(f"{sheet.stem}_{settings.alpha:g}.png")
    record = sheet.with_name(f"{sheet.name}.json")
    record.unlink(missing_ok=True)
    write_paths(sheet, model, mix, ends, order[:SHOWN_PAIRS], settings.frames)
    best = [_rows(end, order[:1]) for end in ends]
    pixels = decode_pixels(model, *mixture(mix, best[0], best[1], settings.alpha))
    write_png(picture, enlarge(pixels[0], PICTURE_ZOOM))
    made = {
        **{"generator": generator.sha256, "sheet": sheet.name, "picture": picture.name, "from": source, "to": target},
        **{"method": mix.__name__, "pairs": pairs[:SHOWN_PAIRS], "settings": settings.plain()},
    }
    write_json(record, made)
    return Interpolation(sheet, picture, model.criterion, pairs)


def choose_method(name: str, model: GenerativeModel) -> Mix:
    """Return the function of ``--method``: noise lies on a sphere, encoded pictures do not."""
    if name == "auto":
        name = "lerp" if model.has_encoder else "slerp"
    return slerp if name == "slerp" else lerp


def mixture(mix: Mix, first: Ends, second: Ends, share: float) -> tuple[Tensor, Tensor]:
    """Return latents and class weights of share * first + (1 - share) * second."""
    return mix(first.latents, second.latents, share), lerp(first.weights, second.weights, share).float()


@torch.no_grad()
def realism_of(model: GenerativeModel, latents: Tensor, weights: Tensor) -> Tensor:
    """Return the model's own criterion for each latent: (N,), higher is better."""
    parts = zip(latents.split(SAMPLE_BATCH), weights.split(SAMPLE_BATCH), strict=True)
    return torch.cat([model.realism(part, classes).float().cpu() for part, classes in parts])


def write_paths(sheet: Path, model: GenerativeModel, mix: Mix, ends: list[Ends], rows: Tensor, frames: int) -> None:
    """Write one row of pictures per pair: the real ends, where there are any, and the path between them."""
    pictures = []
    for row in rows:
        first, second = (_rows(end, row.view(1)) for end in ends)
        steps = [mixture(mix, first, second, 1 - frame / (frames - 1)) for frame in range(frames)]
        path = decode_pixels(model, torch.cat([step[0] for step in steps]), torch.cat([step[1] for step in steps]))
        pictures += [part for part in (first.real, path, second.real) if part is not None]
    every = np.concatenate(pictures)
    write_png(sheet, tile(every, len(every) // len(rows)))


def _rows(end: Ends, rows: Tensor) -> Ends:
    which = rows.tolist()
    real = None if end.real is None else end.real[which]
    return Ends([end.names[row] for row in which], end.latents[which], end.weights[which], real)


def _safe(text: str) -> str:
    """Return a class, id or path as part of a file name: as it is, or where it may not be, with a hash of its own."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in text[-LONGEST_NAME:])
    return plain if plain == text else f"{plain}-{counted_seed(text):016x}"[:-10]


class EndFinder:
    """Turns a class, an image's name, an image file or ``sample`` into one end of the paths.

    Args:
        model: where it runs already.
        generator: its description.
        folder: the run, which knows its data.
        settings: how many pairs, and their seed.
    """

    def __init__(
        self, model: GenerativeModel, generator: Generator, folder: Path, settings: InterpolateSettings
    ) -> None:
        self._model, self._generator, self._folder, self._settings = model, generator, folder, settings
        self._device = device_of(model)
        self._pictures: Pictures | None = None

    def find(self, text: str, side: str) -> Ends:
        """Return ``--search`` ends for ``--from`` or ``--to``; a single image is repeated."""
        names = self._generator.design.class_names
        if text in names and self._model.has_encoder:
            return self._encoded_class(text, side)
        if text in (*names, SAMPLE):
            return self._sampled(text, side)
        is_file = Path(text).is_file()
        if not self._model.has_encoder:
            what = "it has no encoder for images" if is_file else "it knows no such class"
            raise UserError(
                f"--{side} {text}: {self._generator.design.model}: {what}{did_you_mean(text, (*names, SAMPLE))}; "
                f"name {self._drawable()}"
            )
        if is_file:
            decoded = decode_file(text, self._generator.design.image_size, self._generator.resize)
            if decoded.error:
                raise UserError(f"--{side} {text}: {decoded.error}")
            pixels = decoded.pixels.copy()  # PIL's own are read-only where nothing was resized, and torch warns of such
            return self._repeated(self._encoded([text], pixels[None], None))
        pictures = self.pictures()
        if text not in pictures.image_ids:
            known = [*names, SAMPLE, *pictures.image_ids.tolist()]
            raise UserError(
                f"--{side} {text}: no class, image or file of that name{did_you_mean(text, known)}; "
                f"the classes are {first_few(names, 20)}"
            )
        position = np.flatnonzero(pictures.image_ids == text)
        labels = torch.from_numpy(pictures.labels[position])
        return self._repeated(self._encoded([text], pictures.gather(position), labels))

    def _drawable(self) -> str:
        """Return the ends that need no picture."""
        design = self._generator.design
        drawn = f"{SAMPLE}: a picture of any class"
        return f"one of {first_few(design.class_names, 20)}, or {drawn}" if design.is_labelled else drawn

    def pictures(self) -> Pictures:
        """Return the run's own data, opened when it is first needed."""
        if self._pictures is None:
            trained = find_settings(self._folder, self._settings.data)
            cache_dir = self._settings.cache_dir or trained.cache_dir
            whole = trained.replace(cache_dir=cache_dir, hold_out=0.0)  # any picture may be named
            self._pictures = load_pictures(whole, self._generator.design.image_size)
        return self._pictures

    def _repeated(self, end: Ends) -> Ends:
        return _rows(end, torch.zeros(self._settings.search, dtype=torch.long))

    def _encoded_class(self, name: str, side: str) -> Ends:
        pictures = self.pictures()
        rng = np.random.default_rng(counted_seed(self._settings.seed, "pairs", side))
        own = pictures.of_class(pictures.class_names.index(name))
        chosen = own[rng.integers(len(own), size=self._settings.search)]
        labels = torch.from_numpy(pictures.labels[chosen])
        return self._encoded(pictures.image_ids[chosen].tolist(), pictures.gather(chosen), labels)

    @torch.no_grad()
    def _encoded(self, names: list[str], pixels: NDArray[np.uint8], labels: Tensor | None) -> Ends:
        images = to_input(torch.from_numpy(pixels), self._device, torch.contiguous_format)
        latents = torch.cat([self._model.encode(part) for part in images.split(SAMPLE_BATCH)])
        if labels is None:
            labels = self._likeliest_class(images, latents)
        return Ends(names, latents, self._model.class_weights(labels.to(self._device)), pixels)

    def _likeliest_class(self, images: Tensor, latents: Tensor) -> Tensor:
        """Return the class that lets the decoder repeat a picture best: (1,)."""
        errors = []
        for label in range(max(self._generator.design.classes, 1)):
            picture = self._model.decode(latents, torch.tensor([label], device=self._device))
            errors.append((picture - images).square().mean().item())
        return torch.tensor([int(np.argmin(errors))])

    def _sampled(self, name: str, side: str) -> Ends:
        """Return latents as the model draws them: of a class, or each of one that its seed deals out."""
        design, count = self._generator.design, self._settings.search
        seeds = [counted_seed(self._settings.seed, "pairs", side, number) for number in range(count)]
        labels = torch.tensor([seed % max(design.classes, 1) for seed in seeds])
        if name in design.class_names:
            if not design.is_labelled:
                raise UserError(f"--{side} {name}: the model was not told the classes: name {self._drawable()}")
            labels = torch.full((count,), design.class_names.index(name))
        names = [design.class_names[label] if design.classes else name for label in labels.tolist()]
        latents = sample_latents(self._model, seeds, labels)
        named = [f"{what} (seed {seed})" for what, seed in zip(names, seeds, strict=True)]
        return Ends(named, latents, self._model.class_weights(labels.to(self._device)), None)
