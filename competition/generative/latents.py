"""Paths between latents: straight, or along the arc between two directions."""

import torch
from torch import Tensor

SMALLEST_SINE = 1e-4  # of the angle between two latents; under it they lie on one line


def lerp(first: Tensor, second: Tensor, share: Tensor | float) -> Tensor:
    """Return share * first + (1 - share) * second. (B, ...), (B, ...), (B,) or a number -> (B, ...)."""
    share = _per_row(share, first)
    return (share * first + (1 - share) * second).to(first.dtype)


def slerp(first: Tensor, second: Tensor, share: Tensor | float) -> Tensor:
    """Return the point on the arc, ``share`` of the way from second to first; Shoemake 1985.

    Rows that are zero or collinear have no arc between them and get the straight line.
    """
    share = _per_row(share, first)
    rows, others = first.flatten(1).double(), second.flatten(1).double()
    norms = rows.norm(dim=1) * others.norm(dim=1)
    cosine = ((rows * others).sum(dim=1) / norms.clamp(min=1e-300)).clamp(-1, 1)
    angle = _per_row(torch.arccos(cosine), first)
    sine = torch.sin(angle)
    has_arc = (sine > SMALLEST_SINE) & (_per_row(norms, first) > 0)
    safe = torch.where(has_arc, sine, torch.ones_like(sine))
    arc = torch.sin(share * angle) / safe * first + torch.sin((1 - share) * angle) / safe * second
    return torch.where(has_arc, arc, lerp(first, second, share)).to(first.dtype)


def _per_row(share: Tensor | float, like: Tensor) -> Tensor:
    """Shape one number per row so that it multiplies whole latents."""
    if not isinstance(share, Tensor):
        share = torch.full((len(like),), share, dtype=torch.float64, device=like.device)
    return share.view(-1, *[1] * (like.dim() - 1)).to(like.device)
