"""One door to the generative models: build one from its design, and find the width that a limit allows."""

import dataclasses

import torch

from competition.errors import UserError
from competition.generative.autoencoders import ACAI, Autoencoder, VariationalAutoencoder
from competition.generative.dcgan import DCGAN
from competition.generative.design import Design, design_from
from competition.generative.flow import FlowMatching
from competition.generative.model import GenerativeModel
from competition.generative.settings import GenerateSettings

MODELS: dict[str, type[GenerativeModel]] = {
    "autoencoder": Autoencoder,
    "acai": ACAI,
    "vae": VariationalAutoencoder,
    "dcgan": DCGAN,
    "flow": FlowMatching,
}
WIDTH_STEP = {"flow": 4}  # group norms need it
LARGEST_WIDTH = 256


def create_model(design: Design) -> GenerativeModel:
    """Build a model; random weights come from torch's current seed.

    Raises:
        UserError: an image size that the model cannot make.
    """
    return MODELS[design.model](design)


def parameter_count(design: Design) -> int:
    """Return the parameters of all networks of a design, without making them."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in create_model(design).parameters())


def choose_design(settings: GenerateSettings, image_size: int, class_names: tuple[str, ...]) -> Design:
    """Return the design that the settings ask for, as wide as ``--max-parameters`` allows.

    Raises:
        UserError: no width is small enough, or the given one is too large and not to be pruned.
    """
    limit, step = settings.max_parameters, WIDTH_STEP.get(settings.model, 1)
    design = design_from(settings, image_size, class_names, settings.width or step)
    count = parameter_count(design)
    if count > limit and settings.prune == "none":
        what = f"mirroring {design.mirror}" if design.mirror != "none" else f"--width {design.width}"
        smaller = "--latent" if settings.width is None else "--width or --latent"
        raise UserError(
            f"{settings.model} with {what} has {count:,} parameters, --max-parameters is {limit:,}: "
            f"take a smaller {smaller}, or raise the limit"
        )
    if settings.width is not None or design.mirror != "none":
        return design
    low, high = 1, LARGEST_WIDTH // step  # in steps; `low` fits
    while low < high:
        middle = (low + high + 1) // 2
        fits = parameter_count(dataclasses.replace(design, width=middle * step)) <= limit
        low, high = (middle, high) if fits else (low, middle - 1)
    return dataclasses.replace(design, width=low * step)
