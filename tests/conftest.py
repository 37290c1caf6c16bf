"""Shared by all tests: one thread per process (they run side by side), seeds, an image store, a tiny run."""

import errno
import fcntl
import os
import random
import shutil
import signal

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # in the background; the processes that are started inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from competition.torchvision_operators import declare_missing_operators  # noqa: E402
from tests.tiny_run import TINY, write_folders  # noqa: E402

declare_missing_operators()  # before any test imports timm

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def seeded():
    """Begin every test with the same global generators, whatever ran before it in this process."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def no_probe():
    """Train in fp32 and one layout without timing them: what the probe picks depends on the machine."""
    from competition.precision import Precision
    from competition.training import machine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(machine, "probe_precision", lambda *_: (Precision(), {}))
        yield


@pytest.fixture
def without_locks(monkeypatch):
    """A file system that knows no locks."""

    def fail(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", fail)


class ArrayImages:
    """An image store made from an array."""

    def __init__(self, pictures: np.ndarray) -> None:
        self.pictures = pictures

    def gather(self, rows: np.ndarray) -> np.ndarray:
        return self.pictures[rows].copy()


@pytest.fixture
def pictures() -> np.ndarray:
    """(40, 16, 16, 3) uint8 noise."""
    return np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8)


@pytest.fixture
def array_images(pictures: np.ndarray) -> ArrayImages:
    return ArrayImages(pictures)


@pytest.fixture
def small_sample(monkeypatch):
    """The embedded sample with a tenth of its images: what is planted in it is there, the damaged file too."""
    from competition.data import sample

    monkeypatch.setattr(sample, "TRAIN_PER_CLASS", 20)
    monkeypatch.setattr(sample, "TEST_PER_CLASS", 5)


# -- a tiny run of the real scripts ----------------------------------------------------------------------------


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Class folders of `tests.tiny_run`, made once; only read."""
    return write_folders(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty working directory with its own cache."""
    monkeypatch.chdir(tmp_path)
    return ["--cache-dir", str(tmp_path / "cache")]


@pytest.fixture(scope="module")
def trained(folders, no_probe, tmp_path_factory):
    """A finished run, made once; tests copy what they change."""
    import train  # late: few tests need it

    place = tmp_path_factory.mktemp("trained")
    before = Path.cwd()
    os.chdir(place)
    try:
        train.main(["--data", str(folders), "--run", "runs/a", "--cache-dir", str(place / "cache"), *TINY])
    finally:
        os.chdir(before)
    return place


@pytest.fixture
def finished(trained, tmp_path, monkeypatch):
    """A copy of the finished run in a working directory of its own."""
    shutil.copytree(trained, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return ["--cache-dir", str(tmp_path / "copy" / "cache")]
