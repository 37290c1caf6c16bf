"""One door to the generative models: build one from its design, and find the width that a limit allows."""

import dataclasses
from bisect import bisect

import torch

from competition.errors import UserError
from competition.generative.autoencoders import ACAI, Autoencoder, VariationalAutoencoder
from competition.generative.dcgan import DCGAN
from competition.generative.design import Design, design_from
from competition.generative.flow import FlowMatching
from competition.generative.model import GenerativeModel
from competition.generative.pruning import fixed_parameters
from competition.generative.settings import GenerateSettings

MODELS: dict[str, type[GenerativeModel]] = {
    "autoencoder": Autoencoder,
    "acai": ACAI,
    "vae": VariationalAutoencoder,
    "dcgan": DCGAN,
    "flow": FlowMatching,
}
LARGEST_WIDTH = 256
WIDTHS = {"flow": (4, 8, *range(16, LARGEST_WIDTH + 1, 16))}  # a width between them is slower than the next


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
        UserError: no width is small enough, the given one is too large, a pruning could not reach the limit or has
            nothing to do, or guidance of one class.
    """
    if len(class_names) == 1 and settings.guidance != GenerateSettings().guidance:
        raise UserError("--guidance weighs the class, and a model of one class is told none: leave it out")
    limit = settings.max_parameters
    widths = WIDTHS.get(settings.model, range(1, LARGEST_WIDTH + 1))
    design = design_from(settings, image_size, class_names, settings.width or widths[0])
    count = parameter_count(design)
    if count > limit and settings.prune == "none":
        _refuse_too_large(design, count, limit, is_given=settings.width is not None)
    if settings.prune != "none":
        _refuse_unprunable(design, count, limit)
    if settings.width is not None or design.mirror != "none":
        return design
    designs = [dataclasses.replace(design, width=width) for width in widths]
    return designs[bisect(designs, limit, key=parameter_count) - 1]


def _refuse_too_large(design: Design, count: int, limit: int, is_given: bool) -> None:
    """Name the ways out that were tried and lead below the limit; ``is_given``: the width is the user's."""
    least = {"--width": {"width": WIDTHS.get(design.model, (1,))[0]}, "--latent": {"latent": 1}}
    counts = {flag: parameter_count(dataclasses.replace(design, **change)) for flag, change in least.items()}
    fitting = [flag for flag in counts if counts[flag] <= limit]
    ways = [f"take a smaller {' or '.join(fitting)}"] if fitting else []
    if (is_given or design.mirror != "none") and _fixed_parameters(design) < limit:
        ways.append("add --prune magnitude")
    raise UserError(
        f"{_named(design)} has {count:,} parameters, --max-parameters is {limit:,}: "
        f"{', '.join([*ways, 'or raise the limit' if ways else 'raise the limit'])}"
    )


def _refuse_unprunable(design: Design, count: int, limit: int) -> None:
    if count <= limit:
        raise UserError(
            f"--prune magnitude has nothing to do: {_named(design)} has {count:,} parameters, --max-parameters is "
            f"{limit:,}: leave it out, or begin with a model past the limit"
        )
    fixed = _fixed_parameters(design)
    if fixed >= limit:
        smaller = "take a smaller --width, or " if design.mirror == "none" else ""
        raise UserError(
            f"--prune magnitude leaves biases and norms alone, and {_named(design)} has {fixed:,} of them; "
            f"--max-parameters is {limit:,}: {smaller}raise the limit"
        )


def _fixed_parameters(design: Design) -> int:
    with torch.device("meta"):
        return fixed_parameters(create_model(design).parameter_groups())


def _named(design: Design) -> str:
    if design.mirror != "none":
        return f"{design.model} mirroring {design.mirror}"
    return f"{design.model} with --width {design.width}"
