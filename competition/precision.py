"""Number format, memory layout and device: how a network runs."""

import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from competition.errors import UserError
from competition.runs import read_json, write_json

FORMATS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Precision:
    """A number format for the forward pass and a memory layout; weights stay float32."""

    number_format: str = "fp32"
    channels_last: bool = True

    def autocast(self, device: torch.device) -> AbstractContextManager[Any]:
        """Return the context in which the network runs."""
        if self.number_format == "fp32":
            return nullcontext()
        return torch.autocast(device.type, dtype=FORMATS[self.number_format])

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of pictures and convolution weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    def place(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Move a network to a device, its weights in this layout."""
        return network.to(device).to(memory_format=self.memory_format)  # type: ignore[call-overload]

    def on(self, device: torch.device) -> "Precision":
        """Return this, or the same in float32 where a device would only imitate the number format, slowly."""
        is_native = {"fp32": True, "bf16": has_bf16(device), "fp16": device.type == "cuda"}[self.number_format]
        return self if is_native else replace(self, number_format="fp32")

    def __str__(self) -> str:
        return f"{self.number_format} {'channels_last' if self.channels_last else 'contiguous'}"


def fastest(seconds: Mapping[Precision, float], lead: float) -> Precision:
    """Return the combination with the shortest step; the first one unless another is ``lead`` times as fast."""
    first, choice = next(iter(seconds)), min(seconds, key=lambda item: seconds[item])
    return first if seconds[first] < lead * seconds[choice] else choice


@dataclass(frozen=True)
class Answer:
    """A probe's choice, with the images per second it saw; None where it was asked before and its answer is stored."""

    precision: Precision
    rates: Mapping[str, float] | None

    def save(self, folder: Path) -> None:
        """Write ``precision.json``, and say what was chosen, where the probe was asked."""
        if self.rates is None:
            return
        write_json(folder / "precision.json", asdict(self.precision) | {"images_per_second": self.rates})
        timed = ", ".join(f"{name} {rate:,.0f}" for name, rate in self.rates.items())
        print(f"precision: {self.precision} (images/s in a short probe: {timed})", flush=True)


def ask_once(
    folder: Path, probe: Callable[[], tuple[Precision, dict[str, float]]], requested: str, device: torch.device
) -> Answer:
    """Return the precision that a run's folder stores, or the probe's; writes nothing.

    What another machine stored for ``auto`` is not taken where this device would only imitate it: see `Precision.on`.
    """
    path = folder / "precision.json"
    if path.exists():
        stored = read_json(path)
        precision = Precision(stored["number_format"], stored["channels_last"])
        return Answer(precision.on(device) if requested == "auto" else precision, None)
    return Answer(*probe())


def has_bf16(device: torch.device) -> bool:
    """Return whether a device computes in bf16 itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if platform.machine() in ("x86_64", "AMD64"):
        return torch.cpu._is_avx512_bf16_supported()  # oneDNN says yes to any AVX-512, and imitates it
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def pick_device(name: str) -> torch.device:
    """Return the device of ``--device``; raises UserError when CUDA is asked for and absent."""
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda: this machine or this PyTorch build has no CUDA; use --device cpu")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
    return torch.device(name)
