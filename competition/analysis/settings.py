"""Every setting of ``report`` and ``look``. Read by ``--help``, so nothing heavy is imported here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from competition.config import MACHINE, OUTPUT, RunDataSettings
from competition.settings import setting


@dataclass(frozen=True)
class ReportSettings(RunDataSettings):
    """Everything ``report`` can be told."""

    out: Path | None = setting(None, OUTPUT, "page to write; auto: report.html in the run folder")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the networks run")

    def contradictions(self) -> Iterator[str]:
        """Yield settings that cannot stand together."""
        if self.out is not None and self.out.suffix.lower() not in (".html", ".htm"):
            yield f"--out {self.out}: the page is HTML; name a file that ends in .html"


@dataclass(frozen=True)
class LookSettings(RunDataSettings):
    """Everything ``look`` can be told."""

    what: Literal["occlusion", "cam", "gradients", "activations", "dream"] | None = setting(
        None, OUTPUT, "which picture to make"
    )
    image: str | None = setting(None, OUTPUT, "id of an image of the data, or a file")
    fold: int | None = setting(None, OUTPUT, "whose network; auto: the fold that held the image out, else 0", low=0)
    target: str | None = setting(None, OUTPUT, "class asked for; auto: the image's label, else the predicted class")
    layer: str | None = setting(None, OUTPUT, "layer of cam, activations or dream; auto: chosen by its size")
    out: Path | None = setting(None, OUTPUT, "picture to write: FILE.png")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", MACHINE, "where the network runs")

    def contradictions(self) -> Iterator[str]:
        """Yield settings that cannot stand together."""
        if self.what is None:
            yield "--what is missing: occlusion, cam, gradients, activations or dream"
        if self.image is None and self.what != "dream":
            yield "--image is missing: an id of the data, or a file"
        if self.image is not None and self.what == "dream":
            yield "--what dream begins from noise: leave --image out"
        if self.layer is not None and self.what in ("occlusion", "gradients"):
            yield f"--what {self.what} looks at the whole network: leave --layer out"
        if self.target is not None and self.what == "activations":
            yield "--what activations has no class: leave --target out"
        if self.layer is not None and self.target is not None and self.what == "dream":
            yield "--what dream shows a class (--target) or a layer's filters (--layer): leave one out"
        if self.out is None or self.out.suffix.lower() != ".png":
            yield "--out: name the picture to write, such as look.png"
