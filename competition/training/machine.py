"""Device, number format and workers of a run: timed once, stored, and used by every fold and restart."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from competition.config import TrainSettings
from competition.inference import Preprocessing
from competition.precision import Precision, pick_device
from competition.runs import read_json, write_json
from competition.training.inputs import Machine, TrainingData
from competition.training.probe import probe_precision
from competition.training.start import starting_network

PROBE_BATCH = 256  # images the precision probe may use, where --batch-size does not say


@dataclass(frozen=True)
class Probed:
    """A machine, and what the probe said; None where it was not asked, because its answer is stored."""

    machine: Machine
    answer: dict[str, Any] | None

    def save(self, folder: Path) -> None:
        """Write ``precision.json``, and say what was chosen, where the probe was asked."""
        if self.answer is None:
            return
        write_json(folder / "precision.json", self.answer)
        timed = ", ".join(f"{name} {rate:,.0f}" for name, rate in self.answer["images_per_second"].items())
        print(f"precision: {self.machine.precision} (images/s in a short probe: {timed})", flush=True)


def choose_machine(folder: Path, settings: TrainSettings, data: TrainingData, preprocessing: Preprocessing) -> Probed:
    """Return device, precision and workers: the precision that ``folder`` stores, or the probe's; writes nothing.

    Raises:
        UserError: a device that is not there, or a precision in which the network does not work.
    """
    device = pick_device(settings.device)
    workers = settings.workers
    if workers is None:
        workers = 0 if device.type == "cpu" else min(8, torch.multiprocessing.cpu_count())
    path = folder / "precision.json"
    if path.exists():
        stored = read_json(path)
        return Probed(Machine(device, Precision(stored["number_format"], stored["channels_last"]), workers), None)
    torch.manual_seed(0)
    network = starting_network(settings, len(data.class_names), preprocessing.image_size, fold=0)
    pictures = torch.from_numpy(data.images.gather(data.rows[: settings.batch_size or PROBE_BATCH]))
    images = preprocessing.to_input(pictures, torch.device("cpu"), torch.contiguous_format)
    choice, rates = probe_precision(network, images, settings.precision, device)
    answer = {"number_format": choice.number_format, "channels_last": choice.channels_last, "images_per_second": rates}
    return Probed(Machine(device, choice, workers), answer)
