"""What a generative model is built from: stored in its checkpoint, enough to build it again."""

from dataclasses import dataclass, fields
from typing import Any

from competition.generative.settings import GenerateSettings


@dataclass(frozen=True)
class Design:
    """Everything that shapes a model or its losses; the names are those of `GenerateSettings`."""

    model: str
    image_size: int
    class_names: tuple[str, ...]
    is_conditional: bool
    width: int
    latent: int = 16
    latent_width: int = 4
    mirror: str = "none"
    dense_latent: bool = False
    final_sigmoid: bool = False
    spectral_norm: bool = False
    patch: int = 1
    sampling_steps: int = 8
    solver: str = "heun"
    guidance: float = 2.0
    critic_mix: float = 0.2
    critic_weight: float = 0.5
    kl_weight: float = 1.0
    kl_schedule: str = "constant"
    gan_loss: str = "bce"
    diffaug: bool = False
    channels: int = 3

    @property
    def classes(self) -> int:
        """Number of classes the model is told; 0 where it is told none."""
        return len(self.class_names) if self.is_conditional else 0

    @property
    def is_labelled(self) -> bool:
        """Whether the pictures it makes have a label: it is told the classes, or there is one alone."""
        return self.is_conditional or len(self.class_names) == 1


def design_from(settings: GenerateSettings, image_size: int, class_names: tuple[str, ...], width: int) -> Design:
    """Return the design that settings ask for, their ``auto`` values settled."""
    settled: dict[str, Any] = {
        "image_size": image_size,
        "class_names": class_names,
        "is_conditional": len(class_names) > 1 and not settings.unconditional,
        "width": width,
        "latent": settings.latent or settings.recipe.latent,
        "latent_width": settings.latent_width or min(4, image_size // 2),
        "mirror": settings.mirrored,
        "patch": settings.patch or max(1, image_size // 32),
        "channels": 3,
    }
    same = {item.name: getattr(settings, item.name) for item in fields(Design) if item.name not in settled}
    return Design(**settled, **same)
