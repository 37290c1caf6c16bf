"""How far a step moves the weights, where the settings leave it open: by the optimiser, and the network."""

from competition.config import TrainSettings

# Wholly or mostly without norm layers: Muon's usual rate makes them diverge.
UNNORMED = ("imp_cnn", "base_cnn", "vgg11", "vgg13", "vgg16", "vgg19")


def peak_learning_rate(settings: TrainSettings) -> float:
    """Return the learning rate, ``auto`` resolved."""
    return settings.learning_rate or automatic_learning_rate(settings.optimizer, settings.model)


def weight_decay(settings: TrainSettings) -> float:
    """Return the weight decay, ``auto`` resolved.

    Times the learning rate it is the share of a weight that a step forgets. Muon's steps are of one size however small
    the gradients are, so fresh weights have to forget much; those that were given are not to be forgotten.
    """
    if settings.weight_decay is not None:
        return settings.weight_decay
    if _is_muon(settings.optimizer) and not settings.weights and not settings.prune_from:
        return 0.75
    return 5e-4 if _is_sgd(settings.optimizer) else 0.05


def automatic_learning_rate(optimizer: str, model: str) -> float:
    """Return the peak learning rate that suits one of timm's optimisers, and a network, where none is given."""
    if _is_muon(optimizer):
        return 1e-3 if model in UNNORMED else 5e-3
    return 0.1 if _is_sgd(optimizer) else 1e-3


def _is_muon(optimizer: str) -> bool:
    return "muon" in optimizer.lower()


def _is_sgd(optimizer: str) -> bool:
    return "sgd" in optimizer.lower() or optimizer.lower() in ("momentum", "nesterov", "nesterovw")
