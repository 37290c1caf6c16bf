"""A fold's probabilities, kept in its folder: when they are used again, and when not."""

import dataclasses
import errno

import numpy as np
import pandas as pd
import pytest
import torch

from competition.checkpoint import Checkpoint, save_checkpoint
from competition.errors import UserError
from competition.inference import Preprocessing, views_of
from competition.models.factory import create_network
from competition.precision import Precision
from competition.prediction import fold_prediction as module
from competition.prediction.fold_prediction import ImageRows, predict_fold, run_network, stored_path
from tests.conftest import ArrayImages

CPU = torch.device("cpu")
CHECKPOINT = Checkpoint("mycnn", {}, ("b", "a", "c"), Preprocessing(16, "squash", (0.5,) * 3, (0.5,) * 3), Precision())


class Store(ArrayImages):
    """An image store that knows its contents."""

    @property
    def facts(self):
        return pd.DataFrame(
            {"content_hash": self.pictures.reshape(len(self.pictures), -1).sum(axis=1).astype(np.uint64)}
        )


def save_network(folder, seed):
    torch.manual_seed(seed)
    save_checkpoint(folder, create_network("mycnn", 3, image_size=16), CHECKPOINT)


@pytest.fixture
def images(pictures):
    return ImageRows(np.array([f"{n}.png" for n in range(10)]), Store(pictures), np.arange(10, 20))


@pytest.fixture
def folder(tmp_path):
    save_network(tmp_path / "fold_0", seed=0)
    return tmp_path / "fold_0"


@pytest.fixture
def forward_passes(monkeypatch):
    """Count the calls of the network."""
    calls = []

    def counted(*arguments, **named):
        calls.append(arguments)
        return run_network(*arguments, **named)

    monkeypatch.setattr(module, "run_network", counted)
    return calls


def test_a_second_time_nothing_is_computed(folder, images, forward_passes):
    first = predict_fold(folder, images, 2, CPU)
    told = []
    second = predict_fold(folder, images, 2, CPU, on_batch=told.append)
    assert len(forward_passes) == 1
    assert sum(told) == 10
    np.testing.assert_array_equal(first.probabilities, second.probabilities)
    assert first.class_names == second.class_names == CHECKPOINT.class_names
    assert second.image_ids.tolist() == images.image_ids.tolist()
    with np.load(stored_path(folder, images, 2)) as arrays:
        assert arrays["probabilities"].dtype == np.float16


def test_it_is_the_one_evaluation_path_rounded_to_half_precision(folder, images):
    exact, _ = run_network(folder, images, views_of(2), CPU, 4)
    np.testing.assert_allclose(predict_fold(folder, images, 2, CPU).probabilities, exact, atol=2e-4)


@pytest.mark.parametrize("has_bf16", [True, False])
def test_a_fold_trained_in_bf16_is_predicted_in_it_only_where_the_machine_has_it(has_bf16, images, folder, monkeypatch):
    exact, _ = run_network(folder, images, views_of(1), CPU, 4)
    torch.manual_seed(0)
    network = create_network("mycnn", 3, image_size=16)
    save_checkpoint(folder, network, dataclasses.replace(CHECKPOINT, precision=Precision("bf16")))
    monkeypatch.setattr("competition.precision.has_bf16", lambda device: has_bf16)
    found, _ = run_network(folder, images, views_of(1), CPU, 4)
    assert np.array_equal(found, exact) is not has_bf16


def test_other_views_ids_or_contents_are_other_predictions(folder, images, pictures, forward_passes):
    changed = pictures.copy()
    changed[15, 0, 0, 0] ^= 1
    for other in (
        images,
        dataclasses.replace(images, image_ids=images.image_ids[::-1]),
        dataclasses.replace(images, rows=images.rows[::-1].copy()),
        dataclasses.replace(images, store=Store(changed)),
    ):
        predict_fold(folder, other, 1, CPU)
    predict_fold(folder, images, 3, CPU)
    assert len(forward_passes) == 5
    assert len(list(folder.glob("test-*.npz"))) == 5


def test_the_same_contents_elsewhere_are_the_same_images(folder, images, pictures, forward_passes):
    predict_fold(folder, images, 1, CPU)
    moved = ImageRows(images.image_ids, Store(pictures[10:20]), np.arange(10))
    predict_fold(folder, moved, 1, CPU)
    assert len(forward_passes) == 1


def test_a_fold_without_weights_or_predictions_is_refused_with_one_view_in_the_singular(folder, images):
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no stored predictions of these test images with 1 view: "):
        predict_fold(folder, images, 1, CPU)


def test_a_fold_without_weights_keeps_its_predictions(folder, images):
    before = predict_fold(folder, images, 1, CPU)
    (folder / "model.safetensors").unlink()
    np.testing.assert_array_equal(predict_fold(folder, images, 1, CPU).probabilities, before.probabilities)
    with pytest.raises(UserError, match="fold_0 has no weights, and no stored predictions .* with 2 views"):
        predict_fold(folder, images, 2, CPU)
    (folder / "model.json").unlink()
    np.testing.assert_array_equal(predict_fold(folder, images, 1, CPU).probabilities, before.probabilities)


def test_predictions_of_other_weights_are_not_used(folder, images, forward_passes):
    before = predict_fold(folder, images, 1, CPU)
    save_network(folder, seed=1)
    after = predict_fold(folder, images, 1, CPU)
    assert len(forward_passes) == 2
    assert not np.array_equal(before.probabilities, after.probabilities)
    np.testing.assert_array_equal(predict_fold(folder, images, 1, CPU).probabilities, after.probabilities)


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_cannot_be_written_is_predicted_from(folder, images, monkeypatch, number):
    kept = predict_fold(folder, images, 1, CPU)
    stored_path(folder, images, 1).unlink()
    refuse_writing(monkeypatch, number)
    np.testing.assert_array_equal(predict_fold(folder, images, 1, CPU).probabilities, kept.probabilities)
    assert not stored_path(folder, images, 1).exists()


@pytest.mark.parametrize(("number", "must_keep"), [(errno.ENOSPC, True), (errno.EIO, False)])
def test_predictions_that_are_lost_for_good_are_an_error(folder, images, monkeypatch, number, must_keep):
    refuse_writing(monkeypatch, number)
    with pytest.raises(OSError, match="nothing is written"):
        predict_fold(folder, images, 1, CPU, must_keep=must_keep)


def refuse_writing(monkeypatch, number):
    def refuse(path, data):
        raise OSError(number, "nothing is written", str(path))

    monkeypatch.setattr("competition.predictions.write_atomically", refuse)


def test_a_damaged_file_is_named(folder, images):
    stored_path(folder, images, 1).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"test-.*npz is not a predictions file"):
        predict_fold(folder, images, 1, CPU)
