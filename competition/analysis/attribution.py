"""Integrated gradients (Sundararajan et al. 2017, arXiv 1703.01365), by captum."""

from torch import Tensor, nn

from competition.analysis.extras import require
from competition.memory import in_halves

STEPS = 32  # points on the way from the mean colour to the picture
BATCH = 64  # pictures per backward pass, fewer where memory runs out


def integrated_gradients(network: nn.Module, images: Tensor, targets: Tensor, steps: int = STEPS) -> Tensor:
    """Return each pixel's share in the target's logit, against a picture of the mean colour. -> (B, 3, H, W), CPU.

    The shares of a picture add up to the difference of the two logits, but for the error of ``steps`` points.

    Args:
        network: any classifier in eval mode.
        images: (B, 3, H, W), normalised.
        targets: (B,) class numbers.
        steps: points of the integral.

    Raises:
        UserError: captum is not installed.
    """
    require("captum", "the picture of integrated gradients")
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(network)

    def attribute(size: int) -> Tensor:
        shares = method.attribute(images, target=targets, n_steps=steps, internal_batch_size=max(size, len(images)))
        return shares.detach().float().cpu()

    return in_halves(attribute, BATCH, print)[0]
