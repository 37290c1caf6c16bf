"""Let torchvision be imported beside a torch that its compiled operators do not fit.

The package index pairs a CPU-only torch with a CUDA build of torchvision. Its operator library then fails to load
silently, and ``import torchvision`` (so ``import timm`` too) dies with ``operator torchvision::nms does not exist``.
Nothing here calls these operators; torchvision only needs their schemas to register its Python-side shapes.
"""

import importlib.util
from pathlib import Path

import torch
from torch.library import Library

SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A Library's definitions vanish with the object, so it must live as long as the process.
_declared: list[Library] = []


def declare_missing_operators() -> list[str]:
    """Declare the schemas torchvision needs and its own library did not bring; return their names.

    Call it before the first import of torchvision. Harmless to call again, and where the operators work.
    """
    _load_torchvision_library()
    missing = [name for name in SCHEMAS if not _is_declared(name)]
    if missing:
        library = Library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(SCHEMAS[name])
        _declared.append(library)
    return missing


def _is_declared(name: str) -> bool:
    return hasattr(torch.ops.torchvision, name)


def _load_torchvision_library() -> None:
    """Load torchvision's own operators where they fit this torch, as its import would do first.

    Declaring a schema before the real library does makes the real one fail, so the real one gets its try here.
    """
    if all(_is_declared(name) for name in SCHEMAS):
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return
    for library in sorted(Path(spec.origin).parent.glob("_C.*")):
        try:
            torch.ops.load_library(str(library))
        except OSError:  # built for another torch: the case this module is for
            continue
