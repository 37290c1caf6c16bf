"""One decode shared by everybody: the same pixels everywhere, noticed changes, bounded size and memory."""

import mmap
import os
import pickle
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from competition.data import cache, decode
from competition.data.cache import ImageStore, open_images


def write_images(folder: Path, count: int, size: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return pd.DataFrame({"path": [str(folder / f"{index}.png") for index in range(count)]})


def opened(table: pd.DataFrame, cache_dir: Path, **changes: object) -> ImageStore:
    settings = {"image_size": 8, "resize": "squash", "limit_bytes": 1 << 30, **changes}
    return open_images(table, cache_dir=cache_dir, **settings)  # type: ignore[arg-type]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return write_images(tmp_path / "images", 70)


def test_gather_returns_the_decoded_pixels_in_any_order(table: pd.DataFrame, tmp_path: Path) -> None:
    store = opened(table, tmp_path / "cache")
    assert store.shape == (70, 8, 8, 3)
    assert len(store) == 70
    rows = np.array([69, 0, 0, 65])
    expected = np.stack([decode.decode_pixels(table["path"][row], 8, "squash") for row in rows])
    assert (store.gather(rows) == expected).all()
    assert (np.load(store.folder / "images.npy", mmap_mode="r")[rows] == expected).all()
    assert store.gather(np.array([], np.int64)).shape == (0, 8, 8, 3)
    for row in (-1, 70):
        with pytest.raises(IndexError):
            store.gather(np.array([row]))


def test_second_open_reads_no_image(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(table, tmp_path / "cache")
    monkeypatch.setattr(decode, "read_bytes", lambda path: pytest.fail(f"read {path}"))
    second = opened(table, tmp_path / "cache")
    assert second.folder == first.folder
    assert second.facts.equals(first.facts)


@pytest.mark.parametrize("change", ["touched", "rewritten", "removed", "fewer", "size", "policy"])
def test_every_change_gives_a_new_key(table: pd.DataFrame, tmp_path: Path, change: str) -> None:
    before = opened(table, tmp_path / "cache").folder
    file, changes = Path(table["path"][1]), {}
    if change == "touched":
        os.utime(file, ns=(1, 1))
    elif change == "rewritten":
        Image.new("RGB", (5, 5)).save(file)
    elif change == "removed":
        file.unlink()
    elif change == "fewer":
        table = table[:-1]
    else:
        changes = {"image_size": 9} if change == "size" else {"resize": "crop"}
    assert opened(table, tmp_path / "cache", **changes).folder != before


def test_a_changed_zip_member_is_noticed(tmp_path: Path) -> None:
    write_images(tmp_path / "images", 2)
    keys = []
    for name in ("0.png", "1.png"):
        folder = tmp_path / name
        folder.mkdir()
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
            file.write(tmp_path / "images" / name, "x.png")
        cache_table = pd.DataFrame({"path": [f"{tmp_path / 'a.zip'}::x.png"]})
        from competition.data import archive

        archive._archives.clear()  # another process would open it anew
        keys.append(opened(cache_table, tmp_path / "cache").folder)
    assert keys[0] != keys[1]


def test_over_the_limit_it_decodes_as_needed_with_equal_pixels(table: pd.DataFrame, tmp_path: Path) -> None:
    Path(table["path"][2]).write_bytes(b"broken")
    stored = opened(table, tmp_path / "cache")
    decoding = opened(table, tmp_path / "cache", limit_bytes=70 * 8 * 8 * 3 - 1)
    assert not decoding.is_stored
    assert not (decoding.folder / "images.npy").exists()
    rows = np.random.default_rng(0).integers(0, 70, 50)
    assert (decoding.gather(rows) == stored.gather(rows)).all()
    assert (pickle.loads(pickle.dumps(decoding)).gather(rows) == stored.gather(rows)).all()
    assert decoding.facts.equals(stored.facts)
    assert decoding.folder.name == f"{stored.folder.name}-facts"


def test_pickled_and_forked_stores_read_the_same(table: pd.DataFrame, tmp_path: Path) -> None:
    store = opened(table, tmp_path / "cache")
    expected = store.gather(np.arange(70))
    assert (pickle.loads(pickle.dumps(store)).gather(np.arange(70)) == expected).all()
    child = os.fork()
    if child == 0:
        os._exit(0 if (store.gather(np.arange(70)) == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(lambda _: (store.gather(np.arange(70)) == expected).all(), range(20)))


class Advised:
    """A map that notes what it is told."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.advice: list[int] = []

    def __len__(self) -> int:
        return self.size

    def madvise(self, advice: int) -> None:
        self.advice.append(advice)


@pytest.mark.parametrize(("keep_bytes", "drops"), [(0, 2), (1 << 20, 0)])
def test_only_large_files_give_their_pages_back(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep_bytes: int, drops: int
) -> None:
    monkeypatch.setattr(cache, "KEEP_MAPPED_BYTES", keep_bytes)
    monkeypatch.setattr(cache, "DROP_AFTER_BYTES", 1000)
    store = opened(table, tmp_path / "cache")
    expected = store.gather(np.arange(70))
    assert (store.gather(np.arange(70)) == expected).all()  # after a drop the pages come back with the same pixels
    assert store._mapped_bytes == 0
    noted = Advised(70 * 8 * 8 * 3)
    monkeypatch.setattr(store, "_map", noted)
    for _ in range(2):
        store.gather(np.arange(70))
    assert noted.advice == [mmap.MADV_DONTNEED] * drops
