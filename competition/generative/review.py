"""A model looked at while it trains: the same samples again and again, beside real pictures of the same classes."""

import itertools

import numpy as np
import torch
from numpy.typing import NDArray

from competition.generative.model import GenerativeModel
from competition.generative.pictures import to_input
from competition.generative.run import Run
from competition.generative.sampling import counted_noise, decode_pixels, sample
from competition.generative.sheets import tile, write_png
from competition.generative.watch import Diversity, spreads
from competition.runs import counted_seed

SHEET_COLUMNS, SHEET_ROWS = 10, 8
COMPARED_IMAGES = 64  # real pictures of a class that its generated ones are compared with
SETTLE_IMAGES, SETTLE_PER_CLASS = 1024, 16  # real pictures a model is settled on: in all, and of a class at least
SETTLE_BATCH = 128


class Sheet:
    """The same latents decoded again and again, and what a model's diversity is measured against."""

    def __init__(self, run: Run) -> None:
        self._run = run
        classes = len(run.pictures.class_names)
        shown = np.unique(np.linspace(0, classes - 1, min(classes, SHEET_COLUMNS)).astype(np.int64))
        self._row = np.resize(shown, SHEET_COLUMNS)
        self.labels = np.tile(self._row, SHEET_ROWS)
        self.seeds = [counted_seed(run.settings.seed, "sheet", number) for number in range(len(self.labels))]
        self._real = self._real_pictures()
        # An unconditional model's pictures are of any class, and so are the real ones it is compared with.
        self._compared = self.labels if run.design.is_conditional else np.zeros_like(self.labels)
        self._real_spreads = self._spreads_of_real(shown)

    def _real_pictures(self) -> NDArray[np.uint8]:
        """Return a row of real pictures of the sheet's classes, in its order. -> (SHEET_COLUMNS, S, S, 3)."""
        pictures = self._run.pictures
        own = {label: itertools.cycle(pictures.of_class(label)) for label in set(self._row.tolist())}
        return pictures.gather(np.array([next(own[label]) for label in self._row.tolist()]))

    def _spreads_of_real(self, shown: NDArray[np.int64]) -> dict[int, float]:
        pictures = self._run.pictures
        taken = np.concatenate([pictures.of_class(label, COMPARED_IMAGES) for label in shown])
        labels = pictures.labels[taken]
        return spreads(pictures.gather(taken), labels if self._run.design.is_conditional else np.zeros_like(labels))

    @torch.no_grad()
    def settle(self, model: GenerativeModel) -> None:
        """Let a model with an encoder estimate its prior from real pictures, an average of weights what noise makes."""
        pictures, run = self._run.pictures, self._run
        positions = self._settled_on()
        labels = torch.from_numpy(pictures.labels[positions])
        if not model.has_encoder:
            if run.settings.ema_decay:
                seeds = [counted_seed(run.settings.seed, "settle", number) for number in range(len(positions))]
                model.settle(counted_noise(seeds, model.latent_shape).to(run.device), labels.to(run.device))
            return
        latents = []
        for part in np.array_split(positions, -(-len(positions) // SETTLE_BATCH)):
            batch = torch.from_numpy(pictures.gather(part))
            latents.append(model.encode(to_input(batch, run.device, run.precision.memory_format)).cpu())
        model.settle(torch.cat(latents), labels)

    def _settled_on(self) -> NDArray[np.intp]:
        pictures, classes = self._run.pictures, self._run.design.classes
        if not classes:
            return pictures.some(SETTLE_IMAGES)
        each = max(SETTLE_PER_CLASS, -(-SETTLE_IMAGES // classes))
        return np.concatenate([pictures.of_class(label, each) for label in range(classes)])

    def write(self, model: GenerativeModel, step: int) -> Diversity:
        """Write ``sheets/step_N.png``; returns the samples' diversity as a share of real pictures'."""
        samples = sample(model, self.seeds, torch.from_numpy(self.labels))
        rows = [samples]
        if model.has_encoder:
            rows += self._reconstructions(model)
        write_png(self._run.folder / "sheets" / f"step_{step:07}.png", tile(np.concatenate(rows), SHEET_COLUMNS))
        return Diversity.compare(spreads(samples, self._compared), self._real_spreads, self._run.pictures.class_names)

    @torch.no_grad()
    def _reconstructions(self, model: GenerativeModel) -> list[NDArray[np.uint8]]:
        """Return one row of real pictures and one of what the model makes of them."""
        batch = to_input(torch.from_numpy(self._real), self._run.device, self._run.precision.memory_format)
        return [self._real, decode_pixels(model, model.encode(batch), torch.from_numpy(self._row))]
