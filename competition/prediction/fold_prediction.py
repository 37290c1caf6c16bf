"""One fold's probabilities of some images, computed once and kept in the fold's own folder.

fold_K/test-KEY.npz    float16 probabilities; KEY changes with any id or content of the images and with the views

So another ensemble of the same runs costs no forward pass, and a fold whose weights were deleted can still be used.
Several processes may predict the same fold: each writes the same file, whole or not at all.
"""

import errno
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from competition.checkpoint import open_checkpoint
from competition.data.cache import ImageStore
from competition.data.catalog import Catalog
from competition.data.loader import Loader
from competition.errors import UserError, counted
from competition.inference import View, views_of
from competition.predictions import Predictions, load_predictions, save_predictions
from competition.runs import read_json

UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class ImageRows:
    """Some images of a store, in order.

    Attributes:
        image_ids: (N,) names.
        store: the decoded pictures.
        rows: (N,) row of each image in the store.
    """

    image_ids: NDArray[np.str_]
    store: ImageStore
    rows: NDArray[np.int64]

    @classmethod
    def of_test(cls, catalog: Catalog, store: ImageStore) -> "ImageRows":
        """Return the test images of a catalog whose pictures were all decoded into ``store``."""
        rows = np.flatnonzero(catalog.table["split"] == "test")
        return cls(catalog.table["image_id"].to_numpy(np.str_)[rows], store, rows)

    @cached_property
    def fingerprint(self) -> bytes:
        """A hash of ids and contents, in order; the same wherever the files lie and whatever size they became."""
        contents = self.store.facts["content_hash"].to_numpy(np.uint64)[self.rows]
        digest = hashlib.blake2b("\0".join(self.image_ids.tolist()).encode(), digest_size=16)
        digest.update(contents.tobytes())
        return digest.digest()


def stored_path(folder: Path, images: ImageRows, views: int) -> Path:
    """Return where a fold's predictions of these images lie, or would."""
    key = hashlib.blake2b(images.fingerprint + f"{views} views".encode(), digest_size=8).hexdigest()
    return folder / f"test-{key}.npz"


def predict_fold(
    folder: Path,
    images: ImageRows,
    views: int,
    device: torch.device,
    batch_size: int = 256,
    on_batch: Callable[[int], None] = lambda images: None,
    must_keep: bool = False,
) -> Predictions:
    """Return a fold's probabilities of some images, from its folder where it has them.

    Args:
        folder: ``runs/NAME/fold_K``.
        images: what to predict, decoded at the size that the fold's network sees.
        views: test-time views averaged, see `competition.inference.views_of`.
        device: where the network runs.
        batch_size: images per forward pass.
        on_batch: told the number of images done, for progress.
        must_keep: whether a folder that cannot be written is an error; it is none to whoever only saves time by it.

    Returns:
        N rows in the order of ``images``, rounded to float16 (kept as float32); classes in the checkpoint's order.

    Raises:
        UserError: no stored predictions and no weights, or a damaged checkpoint.
        OSError: the predictions cannot be stored, see ``must_keep``.
    """
    path = stored_path(folder, images, views)
    if (stored := _load_stored(path, folder)) is not None:
        on_batch(len(images.rows))
        return stored
    _refuse_lost_weights(folder, views)
    probabilities, class_names = run_network(folder, images, views_of(views), device, batch_size, on_batch)
    half: NDArray[np.float16] = probabilities.astype(np.float16)
    predictions = Predictions(images.image_ids, class_names, half.astype(np.float32), weights=weights_hash(folder))
    _store(path, replace(predictions, probabilities=half), must_keep)  # type: ignore[arg-type]
    return predictions


def _refuse_lost_weights(folder: Path, views: int) -> None:
    if not (folder / "model.safetensors").exists():
        raise UserError(
            f"{folder} has no weights, and no stored predictions of these test images with {counted(views, 'view')}: "
            "train it again, or leave its run out (a study: tune with --predict-test, or leave out the whole)"
        )


def _store(path: Path, predictions: Predictions, must_keep: bool) -> None:
    try:
        save_predictions(path, predictions)
    except OSError as error:
        if must_keep or error.errno not in UNWRITABLE:
            raise


def run_network(
    folder: Path,
    images: ImageRows,
    views: list[View],
    device: torch.device,
    batch_size: int,
    on_batch: Callable[[int], None] = lambda images: None,
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Predict with the fold's network; returns ((N, K) mean probabilities over the views, K class names)."""
    network, checkpoint = open_checkpoint(folder)
    loader = Loader(images.store, images.rows, np.zeros(len(images.rows), np.uint64), batch_size)
    return checkpoint.predict(network, loader, device, views, on_batch), checkpoint.class_names


def weights_hash(folder: Path) -> str | None:
    """Return the hash of a fold's weights, or None where they were deleted."""
    path = folder / "model.json"
    return read_json(path).get("sha256") if path.exists() else None


def _load_stored(path: Path, folder: Path) -> Predictions | None:
    """Return stored predictions, unless there are none or the folder's weights are no longer those that made them."""
    if not path.exists():
        return None
    stored, now = load_predictions(path), weights_hash(folder)
    return stored if now in (None, stored.weights) else None
