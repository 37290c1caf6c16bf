"""Muon for many small matrices: those of one shape are orthogonalised together.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), as timm has it: matrices of a million parameters in all are so
small that taking them one by one costs more in launches than in arithmetic: on a GPU it is half of a flow's step.
"""

import math
from collections import defaultdict

import torch
from torch import Tensor, nn

# Of the quintic x -> a x + b x^3 + c x^5, the first three steps that timm takes.
COEFFICIENTS = ((4.0848, -6.8946, 2.9270), (3.9505, -6.3029, 2.6377), (3.7418, -5.5913, 2.3037))
MOMENTUM = 0.95
TINY = 1e-7  # keeps matrices without a gradient finite
EPSILON = 1e-8  # of NAdam


def orthogonalize(matrices: Tensor) -> Tensor:
    """Bring all singular values near 1, by three Newton-Schulz steps in bfloat16. (N, R, C) -> (N, R, C)."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if is_tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=TINY)
    for a, b, c in COEFFICIENTS:
        squares = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(squares, squares, squares, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


class Muon(torch.optim.Optimizer):
    """Muon over matrices and convolutions, NAdam (Dozat 2016) over the rest; both with Nesterov's momentum.

    Args:
        matrices: weights of two or more dimensions; an update has the root mean square of Adam's (Liu et al. 2025,
            arXiv 2502.16982).
        others: all other weights.
        lr: learning rate of both. A group's may be exchanged for a tensor on the weights' device; then a step can be
            captured as a CUDA graph.
        betas: of NAdam.
    """

    def __init__(
        self, matrices: list[nn.Parameter], others: list[nn.Parameter], lr: float, betas: tuple[float, float]
    ) -> None:
        groups = [{"params": matrices, "is_matrices": True}, {"params": others, "is_matrices": False}]
        super().__init__([group for group in groups if group["params"]], {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            gradients = [weight.grad for weight in weights]
            if not weights:
                continue
            if group["is_matrices"]:
                self._move_matrices(weights, gradients, group["lr"])
            else:
                self._move_others(weights, gradients, group["lr"], group["betas"])

    def _averages(self, weights: list[Tensor], name: str) -> list[Tensor]:
        """Return moving averages of the weights' gradients, zero at first."""
        for weight in weights:
            if name not in self.state[weight]:
                self.state[weight][name] = torch.zeros_like(weight)
        return [self.state[weight][name] for weight in weights]

    def _move_matrices(self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor) -> None:
        means = self._averages(weights, "mean")
        torch._foreach_lerp_(means, gradients, 1 - MOMENTUM)
        ahead = torch._foreach_lerp(gradients, means, MOMENTUM)
        alike: dict[torch.Size, list[int]] = defaultdict(list)
        for place, weight in enumerate(weights):
            alike[weight.shape].append(place)
        for shape, places in alike.items():
            moves = orthogonalize(torch.stack([ahead[place].flatten(1) for place in places]))
            moves = moves * (rate * -0.2 * math.sqrt(max(moves.shape[1:])))
            torch._foreach_add_([weights[place] for place in places], list(moves.reshape(-1, *shape)))

    def _move_others(
        self, weights: list[Tensor], gradients: list[Tensor], rate: float | Tensor, betas: tuple[float, float]
    ) -> None:
        means, squares = self._averages(weights, "mean"), self._averages(weights, "square")
        state = self.state[weights[0]]  # the count of steps is there for all, since they are moved together
        if "steps" not in state:
            state["steps"] = torch.zeros((), device=weights[0].device)
        steps = state["steps"].add_(1)
        torch._foreach_lerp_(means, gradients, 1 - betas[0])
        torch._foreach_mul_(squares, betas[1])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - betas[1])
        spreads = torch._foreach_sqrt(squares)
        torch._foreach_div_(spreads, (1 - torch.pow(betas[1], steps)).sqrt())
        torch._foreach_add_(spreads, EPSILON)
        moves = torch._foreach_lerp(means, gradients, 1 - betas[0])
        torch._foreach_div_(moves, spreads)
        torch._foreach_mul_(moves, -rate / (1 - torch.pow(betas[0], steps)))
        torch._foreach_add_(weights, moves)
