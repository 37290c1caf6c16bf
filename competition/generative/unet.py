"""A small U-Net for pictures, told the time and the class: three resolutions, attention at the lowest one.

Residual blocks as in Ho et al. 2020 (arXiv 2006.11239) and Dhariwal & Nichol 2021 (arXiv 2105.05233). The highest
resolution has few channels, as it takes most of the time for the fewest parameters, but without it the pictures lack
their finest detail. Large pictures are cut into patches first as in Hoogeboom et al. 2023 (arXiv 2301.11093).
"""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn

from competition.errors import UserError

GROUP_CHANNELS = 16  # of the group norms: on a CPU, groups that do not fill its vectors cost five times as much
HEADS = 4  # of the attention; widths are multiples of it
BLOCKS, LOW_BLOCKS = 2, 3  # residual blocks at each stage of the higher and of the lower resolution
TIME_SCALE = 1000.0  # times in [0, 1] are spread like the steps that sinusoids were made for

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)


class UNet(nn.Module):
    """Velocity of a noisy picture. (B, C, S, S), times (B,), class weights (B, K) -> (B, C, S, S).

    With w = width and g = S / patch the maps are w/2 x g x g, w x g/2 x g/2 and 2w x g/4 x g/4.
    """

    def __init__(self, channels: int, image_size: int, patch: int, width: int, classes: int) -> None:
        super().__init__()
        if image_size % (4 * patch) or width % HEADS:
            raise UserError(
                f"flow: --image-size {image_size} must be a multiple of {4 * patch} (four times --patch), "
                f"and --width {width} one of {HEADS}"
            )
        told, fine = 2 * width, width // 2
        self.time = nn.Sequential(nn.Linear(width, told), nn.SiLU(), nn.Linear(told, told))
        self.classes = nn.Linear(classes, told, bias=False) if classes else None
        self.cut, self.join = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.stem = nn.Conv2d(channels * patch**2, fine, 3, padding=1)
        self.fold = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * fine, width, 1))
        self.down = nn.ModuleList([Residual(width, width, told) for _ in range(BLOCKS)])
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.low = nn.ModuleList([Residual(2 * width, 2 * width, told) for _ in range(LOW_BLOCKS)])
        self.attention = Attention(2 * width)
        self.middle = nn.ModuleList([Residual(2 * width, 2 * width, told) for _ in range(BLOCKS)])
        self.high = nn.ModuleList([Residual(4 * width, 2 * width, told) for _ in range(LOW_BLOCKS)])
        self.grow = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(2 * width, width, 3, padding=1)
        )
        self.up = nn.ModuleList([Residual(2 * width, width, told) for _ in range(BLOCKS)])
        self.unfold = nn.Sequential(nn.Conv2d(width, 4 * fine, 1), nn.PixelShuffle(2))
        self.fine = Residual(2 * fine, fine, told)
        self.head = nn.Sequential(_norm(fine), nn.SiLU(), _zero(nn.Conv2d(fine, channels * patch**2, 3, padding=1)))

    def forward(self, images: Tensor, times: Tensor, class_weights: Tensor) -> Tensor:
        told = self.time(sinusoids(times, self.shrink.in_channels))
        if self.classes is not None:
            told = told + self.classes(class_weights)
        fine = self.stem(self.cut(images))
        x = self.fold(fine)
        kept = []
        for block in self.down:
            x = block(x, told)
            kept.append(x)
        x = self.shrink(x)
        for block in self.low:
            x = block(x, told)
            kept.append(x)
        x = self.attention(x)
        for block in self.middle:
            x = block(x, told)
        for block in self.high:
            x = block(torch.cat([x, kept.pop()], dim=1), told)
        x = self.grow(x)
        for block in self.up:
            x = block(torch.cat([x, kept.pop()], dim=1), told)
        x = self.fine(torch.cat([self.unfold(x), fine], dim=1), told)
        return self.join(self.head(x))


class Residual(nn.Module):
    """x -> skip(x) + conv(silu(scale norm(conv(silu(norm(x)))) + shift)); scale and shift come from what is told."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.before = nn.Sequential(_norm(inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.told = nn.Linear(told, 2 * outputs)
        self.norm = _norm(outputs)
        self.after = nn.Sequential(nn.SiLU(), _zero(nn.Conv2d(outputs, outputs, 3, padding=1)))
        self.skip = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(nn.functional.silu(told))[:, :, None, None].chunk(2, dim=1)
        inner = self.norm(self.before(x)) * (1 + scale) + shift
        return self.skip(x) + self.after(inner)


class Attention(nn.Module):
    """Self-attention between all places of a map; Vaswani et al. 2017, arXiv 1706.03762."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.parts = nn.Linear(width, 3 * width)
        self.out = _zero(nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, HW, C)
        queries, keys, values = self.parts(tokens).unflatten(2, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        # By hand: for so few places torch's fused attention takes eight times as long on a CPU, in its backward pass.
        shares = (queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])).softmax(dim=3)  # (B, heads, HW, HW)
        mixed = (shares @ values).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).unflatten(2, x.shape[2:])


def _norm(channels: int) -> nn.GroupNorm:
    most = max(1, channels // GROUP_CHANNELS)
    return nn.GroupNorm(next(groups for groups in range(most, 0, -1) if channels % groups == 0), channels)


def _zero(layer: Layer) -> Layer:
    """Start a layer at zero, so that its block starts as the identity."""
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def sinusoids(times: Tensor, size: int) -> Tensor:
    """Return sines and cosines of times in [0, 1] at ``size / 2`` frequencies. (B,) -> (B, size)."""
    frequencies = torch.exp(-math.log(10_000) * torch.arange(size // 2, device=times.device) / (size // 2))
    angles = TIME_SCALE * times[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1)
