"""What a filter or a class looks for: a picture made by gradient ascent on the input.

Three independent functions meet in `dream` (Olah et al. 2017, distill.pub/2017/feature-visualization): frequencies
become a picture, transforms move it so that no single pixel counts, an objective says what to climb.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from competition.analysis.layers import recorded
from competition.errors import UserError

Objective = Callable[[nn.Module, Tensor], Tensor]  # network, input -> (B,) values

STEPS = 64
LEARNING_RATE = 0.05
SHARE, DEGREES, SCALING = 0.1, 8.0, 0.1  # how far the transforms go at most
# Colours of natural pictures are correlated; this square root of their covariance decorrelates (Olah et al. 2017).
COLOURS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


# ---- the picture ----


def frequencies(count: int, side: int, generator: torch.Generator) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Climb with Fourier coefficients, each scaled by 1 / frequency, and decorrelated colours: smooth pictures.

    Returns the numbers to climb with, and a function from them to pictures (B, 3, H, W) in 0..1.
    """
    rows, columns = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None]
    scale = 1.0 / torch.sqrt(rows**2 + columns**2).clamp(min=1.0 / side)
    # Strong from the start: grey excites few filters, so none would climb.
    start = torch.randn(count, 3, *scale.shape, 2, generator=generator)
    colours = torch.tensor(COLOURS) / torch.tensor(COLOURS).norm(dim=0).max()

    def to_pictures(numbers: Tensor) -> Tensor:
        spectrum = torch.view_as_complex(numbers.contiguous()) * scale.to(numbers.device)
        waves = torch.fft.irfft2(spectrum, s=(side, side), norm="ortho") / 4
        return torch.sigmoid(torch.einsum("dc,bchw->bdhw", colours.to(numbers.device), waves))

    return start, to_pictures


# ---- transforms ----


def jittered(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Move the pictures by up to ``SHARE`` of their side; what leaves on one side comes back on the other."""
    reach = max(1, round(SHARE * pictures.shape[-1]))
    rows, columns = torch.randint(-reach, reach + 1, (2,), generator=generator).tolist()
    return pictures.roll((rows, columns), dims=(2, 3))


def turned(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Turn by up to ``DEGREES`` and scale by up to ``SCALING``; the edge is mirrored."""
    turn, grow = (torch.rand(2, generator=generator) * 2 - 1).tolist()
    angle, scale = torch.tensor(turn * DEGREES).deg2rad(), 1 + grow * SCALING
    cosine, sine = float(angle.cos()) / scale, float(angle.sin()) / scale
    matrix = torch.tensor([[cosine, -sine, 0.0], [sine, cosine, 0.0]], device=pictures.device)
    grid = nn.functional.affine_grid(matrix.expand(len(pictures), 2, 3), list(pictures.shape), align_corners=False)
    return nn.functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


# ---- objectives ----


def class_logit(targets: Sequence[int]) -> Objective:
    """Climb the logit of one class for each picture."""

    def objective(network: nn.Module, images: Tensor) -> Tensor:
        return network(images).gather(1, torch.tensor(targets, device=images.device)[:, None]).squeeze(1)

    return objective


def filter_mean(layer: str, channels: Sequence[int]) -> Objective:
    """Climb the mean answer of one filter of a layer for each picture; raises UserError for a layer without a map."""

    def objective(network: nn.Module, images: Tensor) -> Tensor:
        with recorded(network, [layer]) as outputs:
            network(images)
        maps = outputs.map_of(layer)
        if maps is None:
            raise UserError(f"layer {layer!r} makes no map of places")
        return maps[torch.arange(len(channels)), list(channels)].mean(dim=(1, 2))

    return objective


# ---- the ascent ----


def dream(
    network: nn.Module,
    objective: Objective,
    count: int,
    side: int,
    normalise: Callable[[Tensor], Tensor],
    steps: int = STEPS,
) -> tuple[Tensor, Tensor]:
    """Return pictures that raise the objective, and the values they reach. -> (count, 3, side, side) in 0..1, (count,).

    Args:
        network: any classifier in eval mode; it is not changed.
        objective: what to climb, for ``count`` pictures at once.
        count: pictures.
        side: of the square, in pixels.
        normalise: pictures in 0..1 -> the network's input.
        steps: of Adam.
    """
    device = next(network.parameters()).device
    generator = torch.Generator().manual_seed(0)
    start, to_pictures = frequencies(count, side, generator)
    numbers = start.to(device).requires_grad_(True)
    optimizer = torch.optim.Adam([numbers], lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(steps):
            moved = turned(jittered(to_pictures(numbers), generator), generator)
            value = objective(network, normalise(moved))
            (numbers.grad,) = torch.autograd.grad(-value.sum(), [numbers])
            optimizer.step()
    with torch.no_grad():
        pictures = to_pictures(numbers)
        return pictures.cpu(), objective(network, normalise(pictures)).float().cpu()
