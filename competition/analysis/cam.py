"""Class activation maps by gradients: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391), on any kind of network."""

import torch
from torch import Tensor, nn

from competition.analysis.layers import candidate_names, check_layer, features_of, map_layers, recorded
from competition.errors import UserError

LEAST_PLACES = 4  # a map below 4 x 4 says little about where; an earlier layer with more is taken, if there is one


def grad_cam(network: nn.Module, images: Tensor, targets: Tensor, layer: str | None = None) -> Tensor:
    """Return where the network sees the target. -> (B, H, W), at least 0, on the CPU.

    A map's channels are summed, each weighted by the mean gradient of the target's logit; negative places become 0.
    In a transformer attention moves what a place knows to other places, so the map may point beside what counts;
    occlusion does not.
    Without ``layer`` it is the deepest one with at least 4 x 4 places whose places reach the logit: in a transformer
    that reads its class token alone, that is the input of the last block.

    Args:
        network: any classifier in eval mode.
        images: (B, 3, H, W), normalised.
        targets: (B,) class numbers.
        layer: name of a stage or block.

    Raises:
        UserError: an unknown layer, a network that does not split into features and head, one that keeps no map of
            places (dense layers alone), or maps of which nothing reaches the logit.
    """
    if layer is not None:
        check_layer(network, layer, images)
    names = candidate_names(network) if layer is None else [layer]
    with torch.enable_grad(), recorded(network, names) as outputs:
        features = features_of(network, images.detach().clone().requires_grad_(True))
        chosen = network.forward_head(features).gather(1, targets[:, None]).sum()  # type: ignore[operator]
        found = {name: output for name, output in outputs.items() if output.requires_grad}  # not what no picture moves
        reached = torch.autograd.grad(chosen, list(found.values()), allow_unused=True) if found else ()
    pairs = []
    for name, gradient in zip(found, reached, strict=True):
        if gradient is None:
            continue
        values, slopes = outputs.map_of(name), outputs.map_of(name, gradient)
        if values is not None and slopes is not None and bool(slopes.any()):
            pairs.append((values.detach(), slopes))
    values, slopes = _deepest(pairs, network, images)
    weights = slopes.mean(dim=(2, 3), keepdim=True)  # (B, C, 1, 1)
    heat = (weights * values).sum(dim=1, keepdim=True).relu().float()
    size = images.shape[2:]
    return nn.functional.interpolate(heat, size=size, mode="bilinear", align_corners=False).squeeze(1).cpu()


def _deepest(pairs: list[tuple[Tensor, Tensor]], network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return values and gradients of the last map with enough places, else of the last with the most."""
    places = [min(values.shape[2:]) for values, _ in pairs]
    most = max(places, default=0)
    if most < 2:
        has_maps = bool(map_layers(network, images))
        reason = "nothing of its maps reaches the logit of the class" if has_maps else "it keeps no map of places"
        raise UserError(
            f"a class activation map of {type(network).__name__} cannot be drawn, since {reason}: "
            "take occlusion or gradients, which need none"
        )
    enough = min(LEAST_PLACES, most)
    return next(pair for pair, count in zip(reversed(pairs), reversed(places), strict=True) if count >= enough)
