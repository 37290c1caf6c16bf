"""Device, number format and workers of a run: timed once, stored, and used by every fold and restart."""

from pathlib import Path

import torch

from competition.config import TrainSettings
from competition.inference import Preprocessing
from competition.precision import Answer, Precision, ask_once, pick_device
from competition.process import usable_cores
from competition.training.inputs import Machine, TrainingData
from competition.training.probe import probe_precision
from competition.training.start import starting_network

PROBE_BATCH = 256  # images the precision probe may use, where --batch-size does not say


def choose_machine(
    folder: Path, settings: TrainSettings, data: TrainingData, preprocessing: Preprocessing
) -> tuple[Machine, Answer]:
    """Return device, precision and workers, and the probe's answer to be saved in ``folder``; writes nothing.

    The precision is the one that ``folder`` stores, or the probe's.

    Raises:
        UserError: a device that is not there, or a precision in which the network does not work.
    """
    device = pick_device(settings.device)
    workers = settings.workers
    if workers is None:
        workers = 0 if device.type == "cpu" else min(8, usable_cores())
    answer = ask_once(folder, lambda: _probe(settings, data, preprocessing, device), settings.precision, device)
    return Machine(device, answer.precision, workers), answer


def _probe(
    settings: TrainSettings, data: TrainingData, preprocessing: Preprocessing, device: torch.device
) -> tuple[Precision, dict[str, float]]:
    torch.manual_seed(0)
    network = starting_network(settings, len(data.class_names), preprocessing.image_size, fold=0)
    pictures = torch.from_numpy(data.images.gather(data.rows[: settings.batch_size or PROBE_BATCH]))
    images = preprocessing.to_input(pictures, torch.device("cpu"), torch.contiguous_format)
    return probe_precision(network, images, settings.precision, device)
