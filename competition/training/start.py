"""The network a fold starts from: fresh, from weights, or from the same fold of an earlier run, pruned or as it is.

`refuse_unfit` asks everything that could refuse it, before a run is begun.
"""

from pathlib import Path

import torch
from torch import nn

from competition.checkpoint import hash_weights, open_checkpoint, read_checkpoint
from competition.config import TrainSettings
from competition.data.augment import POLICIES, create_policy
from competition.errors import UserError
from competition.models.budget import prune
from competition.models.factory import create_network
from competition.models.freezing import freeze
from competition.models.weights import describe_weights, find_weights, load_weights, refuse_fold
from competition.precision import pick_device
from competition.runs import hash_file, is_finished
from competition.training.material import Material, unlike_folds
from competition.training.optim import create_optimizer, growing_size
from competition.training.rates import peak_learning_rate


def refuse_unfit(settings: TrainSettings, class_names: tuple[str, ...], image_size: int) -> None:
    """Refuse a device, augmentation, network, size or optimiser that cannot be trained; writes nothing.

    Raises:
        UserError: whatever a fold would be refused for once it is begun.
    """
    pick_device(settings.device)
    create_policy(settings.augment, image_size)
    check_earlier_run(settings, class_names, image_size)
    network = starting_network(settings, len(class_names), image_size, fold=0)
    if not _takes_size(network, image_size):
        raise UserError(f"--model {settings.model} cannot take images of {image_size} px: choose another --image-size")
    starting_share(settings, network, image_size)
    starting_optimizer(settings, network, weight_decay=0.0)


def refuse_other_folds(settings: TrainSettings, material: Material) -> None:
    """Raise UserError where an earlier run's fold k, from which fold k starts, has seen what that is scored on."""
    run = earlier_run(settings)
    for problem in unlike_folds(run, material) if run else []:
        raise UserError(f"{'--prune-from' if settings.prune_from else '--weights'} {run}: {problem}")


def starting_contents(settings: TrainSettings) -> dict[str, str]:
    """Return what stands for the files that training begins from, by setting: their contents, wherever they lie."""
    contents, folds = {}, len(settings.fold_numbers)
    if settings.augment not in POLICIES and Path(settings.augment).is_file():  # else it will be refused
        contents["augment"] = f"contents {hash_file(Path(settings.augment))}"
    source = weights_of(settings, fold=0)
    if source is not None and source != "pretrained":
        run, wants = earlier_run(settings), describe_weights(source, name=settings.model)
        held = hash_weights(run, folds) if run else hash_file(find_weights(source, name=settings.model))
        contents["weights"] = f"contents {held}, mean {wants.mean}, std {wants.std}"
    if settings.prune_from is not None:
        contents["prune_from"] = f"contents {hash_weights(settings.prune_from, folds)}"
    return contents


def earlier_run(settings: TrainSettings) -> Path | None:
    """Return the run whose fold k this run's fold k starts from: that of ``--prune-from``, or of ``--weights RUN``."""
    if settings.weights is not None and (run := Path(settings.weights).expanduser()).joinpath("run.json").is_file():
        return run
    return settings.prune_from


def weights_of(settings: TrainSettings, fold: int) -> str | None:
    """Return what ``--weights`` means for one fold: of a run, the folder of its own fold.

    Raises:
        UserError: a run with a fold that is not finished or has lost its weights, or one fold of a run for all.
    """
    source = settings.weights
    if source is None or source == "pretrained":
        return source
    if (run := earlier_run(settings)) is None:
        refuse_fold(source, name=settings.model)
        return source
    folders = [run / f"fold_{number}" for number in settings.fold_numbers]
    for folder in folders:
        if not is_finished(folder):
            raise UserError(f"--weights {source}: its {folder.name} is not finished: train it first")
        if not (folder / "model.safetensors").exists():
            raise UserError(f"--weights {source}: the weights of its {folder.name} are gone")
    return str(folders[fold])


def starting_network(settings: TrainSettings, classes: int, image_size: int, fold: int) -> nn.Module:
    """Return the float32 network on the CPU with its frozen layers marked.

    Random layers come from torch's current seed.

    Raises:
        UserError: see `create_network`, `load_weights` and `prune`.
    """
    if settings.prune_from is not None:
        assert settings.max_parameters is not None
        network, _ = open_checkpoint(settings.prune_from / f"fold_{fold}")
        example = torch.zeros(2, 3, image_size, image_size)
        return prune(network, settings.max_parameters, settings.prune_method, example).train()
    network = untrained_network(settings, classes, image_size)
    if (source := weights_of(settings, fold)) is not None:
        load_weights(network, source, name=settings.model)
    freeze(network, settings.freeze)
    return network


def untrained_network(settings: TrainSettings, classes: int, image_size: int) -> nn.Module:
    """Return the network of the settings with fresh weights; raises UserError where there can be none."""
    return create_network(
        settings.model,
        classes,
        image_size=image_size,
        dropout=settings.dropout,
        options=settings.model_options,
        max_parameters=settings.max_parameters,
    )


def starting_optimizer(settings: TrainSettings, network: nn.Module, weight_decay: float) -> torch.optim.Optimizer:
    """Return the optimiser over what is trained of a network; raises UserError, see `create_optimizer`."""
    return create_optimizer(
        network, settings.optimizer, peak_learning_rate(settings), weight_decay, settings.momentum, settings.layer_decay
    )


def starting_share(settings: TrainSettings, network: nn.Module, image_size: int) -> float:
    """Return the share of the image size that training begins with.

    Raises:
        UserError: ``--grow-from`` with a network that does not take a size on the way.
    """
    share = settings.grow_from
    if share is None:
        share = 1.0 if image_size < 48 or settings.weights or settings.prune_from else 0.5
    sizes = {growing_size(share, step, 4, image_size) for step in range(4)} - {image_size}  # a step of every stage
    unfit = [size for size in sorted(sizes) if not _takes_size(network, size)]
    if not unfit:
        return share
    if settings.grow_from is None:
        return 1.0
    raise UserError(
        f"--grow-from {settings.grow_from}: {settings.model} cannot take images of {unfit[0]} px; use --grow-from 1"
    )


@torch.no_grad()
def _takes_size(network: nn.Module, size: int) -> bool:
    was_training = network.training
    try:
        network.eval()(torch.zeros(1, 3, size, size, device=next(network.parameters()).device))
    except (RuntimeError, AssertionError, ValueError):
        return False
    finally:
        network.train(was_training)
    return True


def check_earlier_run(settings: TrainSettings, class_names: tuple[str, ...], image_size: int) -> None:
    """Refuse a run of ``--prune-from`` or ``--weights`` that does not fit; raises UserError naming what differs."""
    if (run := earlier_run(settings)) is None:
        return
    is_pruned = settings.prune_from is not None
    for fold in settings.fold_numbers:
        checkpoint = read_checkpoint(run / f"fold_{fold}")
        size = checkpoint.preprocessing.image_size
        found = {"--model": checkpoint.model, "classes": checkpoint.class_names, "--image-size": size}
        wanted: dict[str, object] = {"--model": settings.model, "classes": class_names}
        if is_pruned:
            wanted["--image-size"] = settings.image_size or image_size
        for name, want in wanted.items():
            if found[name] != want:
                flag = "--prune-from" if is_pruned else "--weights"
                raise UserError(f"{flag} {run}/fold_{fold}: its {name} is {found[name]}, this run's is {want}")
