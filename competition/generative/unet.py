"""A small U-Net for pictures, told the time and the class: two resolutions, attention at the lower one.

Residual blocks as in Ho et al. 2020 (arXiv 2006.11239) and Dhariwal & Nichol 2021 (arXiv 2105.05233), pictures cut into
patches first as in Hoogeboom et al. 2023 (arXiv 2301.11093): at a million parameters the width is better spent there.
"""

import math

import torch
from torch import Tensor, nn

from competition.errors import UserError

GROUPS = 4  # of the group norms; widths are multiples of it
HEADS = 4  # of the attention
TIME_SCALE = 1000.0  # times in [0, 1] are spread like the steps that sinusoids were made for


class UNet(nn.Module):
    """Velocity of a noisy picture. (B, C, S, S), times (B,), class weights (B, K) or None -> (B, C, S, S).

    With w = width and g = S / patch the maps are w x g x g and 2w x g/2 x g/2.
    """

    def __init__(self, channels: int, image_size: int, patch: int, width: int, classes: int) -> None:
        super().__init__()
        if image_size % (2 * patch) or width % GROUPS:
            raise UserError(
                f"flow: --image-size {image_size} must be a multiple of {2 * patch} (twice --patch), "
                f"and --width {width} one of {GROUPS}"
            )
        told = 2 * width
        self.time = nn.Sequential(nn.Linear(width, told), nn.SiLU(), nn.Linear(told, told))
        self.classes = nn.Linear(classes, told, bias=False) if classes else None
        self.cut, self.join = nn.PixelUnshuffle(patch), nn.PixelShuffle(patch)
        self.stem = nn.Conv2d(channels * patch**2, width, 3, padding=1)
        self.down = nn.ModuleList([Residual(width, width, told), Residual(width, width, told)])
        self.shrink = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1)
        self.low = nn.ModuleList([Residual(2 * width, 2 * width, told), Residual(2 * width, 2 * width, told)])
        self.attention = Attention(2 * width)
        self.middle = Residual(2 * width, 2 * width, told)
        self.high = nn.ModuleList([Residual(4 * width, 2 * width, told), Residual(4 * width, 2 * width, told)])
        self.grow = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv2d(2 * width, width, 3, padding=1)
        )
        self.up = nn.ModuleList([Residual(2 * width, width, told), Residual(2 * width, width, told)])
        self.head = nn.Sequential(
            nn.GroupNorm(GROUPS, width), nn.SiLU(), _zero(nn.Conv2d(width, channels * patch**2, 3, padding=1))
        )

    def forward(self, images: Tensor, times: Tensor, class_weights: Tensor | None) -> Tensor:
        told = self.time(sinusoids(times, self.stem.out_channels))
        if self.classes is not None and class_weights is not None:
            told = told + self.classes(class_weights)
        x = self.stem(self.cut(images))
        kept = []
        for block in self.down:
            x = block(x, told)
            kept.append(x)
        x = self.shrink(x)
        for block in self.low:
            x = block(x, told)
            kept.append(x)
        x = self.middle(self.attention(x), told)
        for block in self.high:
            x = block(torch.cat([x, kept.pop()], dim=1), told)
        x = self.grow(x)
        for block in self.up:
            x = block(torch.cat([x, kept.pop()], dim=1), told)
        return self.join(self.head(x))


class Residual(nn.Module):
    """x -> skip(x) + conv(silu(scale norm(conv(silu(norm(x)))) + shift)); scale and shift come from what is told."""

    def __init__(self, inputs: int, outputs: int, told: int) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.GroupNorm(GROUPS, inputs), nn.SiLU(), nn.Conv2d(inputs, outputs, 3, padding=1))
        self.told = nn.Linear(told, 2 * outputs)
        self.norm = nn.GroupNorm(GROUPS, outputs)
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
        self.norm = nn.GroupNorm(GROUPS, width)
        self.parts = nn.Conv2d(width, 3 * width, 1)
        self.out = _zero(nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        parts = self.parts(self.norm(x)).reshape(B, 3, HEADS, C // HEADS, H * W).transpose(3, 4)
        mixed = nn.functional.scaled_dot_product_attention(*parts.unbind(dim=1))  # (B, heads, HW, C / heads)
        return x + self.out(mixed.transpose(2, 3).reshape(B, C, H, W))


def _zero(layer: nn.Conv2d) -> nn.Conv2d:
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
