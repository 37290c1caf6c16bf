"""What changes while a fold is trained, apart from the weights."""

import math
from dataclasses import dataclass


@dataclass
class Progress:
    """Everything about a training that changes, apart from the weights."""

    epoch: int = 0
    batch: int = 0  # next batch of the epoch
    step: int = 0
    loss_sum: float = 0.0
    hits: float = 0.0
    images: int = 0
    plateau_factor: float = 1.0
    best: float = -math.inf
    validations_without_gain: int = 0

    def begin_epoch(self, epoch: int) -> None:
        """Reset what is summed over an epoch."""
        self.epoch, self.batch, self.images = epoch, 0, 0
        self.loss_sum = self.hits = 0.0
