"""How far a step moves the weights, where the settings leave it open: by the optimiser, the network and the data."""

import math

from competition.config import TrainSettings

# Wholly or mostly without norm layers: Muon's usual rate makes them diverge.
UNNORMED = ("imp_cnn", "base_cnn", "vgg11", "vgg13", "vgg16", "vgg19")
MOST_DECAY = 10.0  # that can be given


def peak_learning_rate(settings: TrainSettings) -> float:
    """Return the learning rate, ``auto`` resolved."""
    return settings.learning_rate or automatic_learning_rate(settings.optimizer, settings.model)


def automatic_learning_rate(optimizer: str, model: str) -> float:
    """Return the peak learning rate that suits one of timm's optimisers, and a network, where none is given."""
    if _is_muon(optimizer):
        return 1e-3 if model in UNNORMED else 5e-3
    return 0.1 if _is_sgd(optimizer) else 1e-3


def weight_decay(settings: TrainSettings, images: int) -> float:
    """Return the weight decay for a run over so many labelled images, ``auto`` resolved.

    Times the learning rate it is the share of a weight that a step forgets. Muon's steps are of one size however small
    the gradients are, so fresh weights have to forget much: as much in an epoch of any length, for the best decay
    falls with the number of its steps (Wang & Aitchison 2024, arXiv 2405.13698). Weights that were given are not to be
    forgotten.
    """
    if settings.weight_decay is not None:
        return settings.weight_decay
    if _is_muon(settings.optimizer) and not settings.weights and not settings.prune_from:
        rounded = f"{60 / steps_per_epoch(settings, images):.2g}"  # alike for folds that differ by an image
        return min(MOST_DECAY, float(rounded))
    return 5e-4 if _is_sgd(settings.optimizer) else 0.05


def steps_per_epoch(settings: TrainSettings, images: int) -> int:
    """Return the optimisation steps in which a fold sees its part of so many labelled images once."""
    trained = round((images - images // settings.folds) * (settings.train_share or 1)) * (1 + settings.copies)
    return max(1, math.ceil(trained / (settings.batch_size or automatic_batch_size(trained))))


def automatic_batch_size(images: int) -> int:
    """Return 256, halved down to 32 while an epoch of so many images has fewer than 40 steps."""
    size = 256
    while size > 32 and images < 40 * size:
        size //= 2
    return size


def _is_muon(optimizer: str) -> bool:
    return "muon" in optimizer.lower()


def _is_sgd(optimizer: str) -> bool:
    return "sgd" in optimizer.lower() or optimizer.lower() in ("momentum", "nesterov", "nesterovw")
