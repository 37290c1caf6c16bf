"""A network small enough to look at images in a moment, saved as a fold of train.py would be."""

from pathlib import Path

import torch

from competition.checkpoint import Checkpoint, save_checkpoint
from competition.inference import Preprocessing
from competition.models.factory import create_network
from competition.precision import Precision

HALF = (0.5, 0.5, 0.5)
MODEL = "plain_cnn"


def save_tiny_network(folder: Path, image_size: int = 16) -> Path:
    """Write ``folder/fold_0`` with random weights; returns the run folder."""
    torch.manual_seed(0)
    network = create_network(MODEL, 3, image_size=image_size)
    preprocessing = Preprocessing(image_size, "squash", HALF, HALF)
    checkpoint = Checkpoint(MODEL, {}, ("a", "b", "c"), preprocessing, Precision())
    save_checkpoint(folder / "fold_0", network, checkpoint)
    return folder
