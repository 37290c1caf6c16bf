"""One decode shared by everybody: whole or absent, noticed changes, bounded size and memory."""

import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from competition.data import cache, decode
from competition.data.cache import ImageStore, open_images
from competition.errors import UserError
from tests.conftest import REPOSITORY


def write_images(folder: Path, count: int, size: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / f"{index}.png")
    return pd.DataFrame({"path": [str(folder / f"{index}.png") for index in range(count)]})


def opened(table: pd.DataFrame, cache_dir: Path, **changes: object) -> ImageStore:
    settings = {"image_size": 8, "resize": "squash", "limit_bytes": 1 << 30, "progress": False, **changes}
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
    out = np.zeros((4, 8, 8, 3), np.uint8)
    assert store.gather(rows, out) is out
    assert (out == expected).all()
    assert (store.gather(rows) == expected).all()
    assert (np.load(store.folder / "images.npy", mmap_mode="r")[rows] == expected).all()
    assert store.gather(np.array([], np.int64)).shape == (0, 8, 8, 3)
    wider = np.zeros((4, 8, 16, 3), np.uint8)  # not contiguous
    store.gather(rows, wider[:, :, ::2])
    assert (wider[:, :, ::2] == expected).all()
    for row in (-1, 70):
        with pytest.raises(IndexError):
            store.gather(np.array([row]))


def test_facts_follow_the_table(table: pd.DataFrame, tmp_path: Path) -> None:
    Path(table["path"][3]).write_bytes(b"")
    Path(table["path"][4]).write_bytes(Path(table["path"][5]).read_bytes())
    Path(table["path"][6]).unlink()
    store = opened(table, tmp_path / "cache")
    facts = store.facts
    assert facts["error"][3] == "empty: 0 bytes"
    assert facts["error"][6] == "missing: no such file"
    assert (facts["error"] == "").sum() == 68
    assert facts["pixel_hash"][4] == facts["pixel_hash"][5] != facts["pixel_hash"][7]
    assert facts["content_hash"][4] == facts["content_hash"][5]
    assert (facts["width"][0], facts["format"][0], facts["mode"][0]) == (12, "PNG", "RGB")
    assert facts["perceptual_hash"].dtype == np.uint64
    assert store.gather(np.array([3, 6])).max() == 0


def test_second_open_reads_no_image(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = opened(table, tmp_path / "cache")
    monkeypatch.setattr(decode, "read_bytes", lambda path: pytest.fail(f"read {path}"))
    second = opened(table, tmp_path / "cache")
    assert second.fingerprint == first.fingerprint
    assert second.facts.equals(first.facts)


@pytest.mark.parametrize("change", ["touched", "rewritten", "removed", "fewer", "size", "policy"])
def test_every_change_gives_a_new_key(table: pd.DataFrame, tmp_path: Path, change: str) -> None:
    before = opened(table, tmp_path / "cache").fingerprint
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
    assert opened(table, tmp_path / "cache", **changes).fingerprint != before


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
        keys.append(opened(cache_table, tmp_path / "cache").fingerprint)
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
    assert decoding.fingerprint == stored.fingerprint


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


def test_pages_are_given_back(table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "DROP_AFTER_BYTES", 1000)
    store = opened(table, tmp_path / "cache")
    expected = store.gather(np.arange(70))
    assert store._mapped_bytes == 0
    assert (store.gather(np.arange(70)) == expected).all()


SLOW_DECODE = """
import sys, time
import pandas as pd
from pathlib import Path
from competition.data import cache, decode
real = decode.decode_file
def slow(*args):
    time.sleep(0.02)
    return real(*args)
decode.decode_file = slow
table = pd.read_csv(sys.argv[1], dtype=str)
print("go", flush=True)
cache.open_images(table, image_size=8, resize="squash", cache_dir=Path(sys.argv[2]), limit_bytes=1 << 30, workers=1)
print("done", flush=True)
"""


def start_slow_decode(table: pd.DataFrame, folder: Path) -> subprocess.Popen[str]:
    table.to_csv(folder / "table.csv", index=False)
    command = [sys.executable, "-c", SLOW_DECODE, str(folder / "table.csv"), str(folder / "cache")]
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "go\n"
    until = time.monotonic() + 20
    while not list((folder / "cache").glob("*.tmp-*/images.npy")):
        assert time.monotonic() < until
        time.sleep(0.01)
    return process


def test_killed_decode_leaves_nothing_usable(table: pd.DataFrame, tmp_path: Path) -> None:
    process = start_slow_decode(table, tmp_path)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "cache").glob("*/meta.json"))
    (left,) = (tmp_path / "cache").glob("*.tmp-*")
    opened(write_images(tmp_path / "others", 1), tmp_path / "cache")  # sweeps what the dead process left
    assert not left.exists()
    assert len(opened(table, tmp_path / "cache").facts) == 70


def test_two_processes_decode_once(table: pd.DataFrame, tmp_path: Path) -> None:
    process = start_slow_decode(table, tmp_path)
    (building,) = (tmp_path / "cache").glob("*.tmp-*")
    opened(write_images(tmp_path / "others", 1), tmp_path / "cache")  # must not sweep a live decode
    assert building.exists()
    opened(table, tmp_path / "cache")  # waits
    assert process.wait(timeout=30) == 0
    assert len(list((tmp_path / "cache").glob("*/meta.json"))) == 2
    assert not list((tmp_path / "cache").glob("*.tmp-*"))


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("look_first", [True, False])
def test_full_disk(table: pd.DataFrame, small_disk: Path, monkeypatch: pytest.MonkeyPatch, look_first: bool) -> None:
    if not look_first:  # somebody else fills the disk after we looked
        monkeypatch.setattr(cache, "_require_space", lambda folder, needed: None)
    needed = 70 * 32 * 32 * 3 + 70 * cache.FACT_BYTES + 4096
    with pytest.raises(UserError, match=rf"{small_disk}.*no space.*{needed:,} bytes.*--cache-dir"):
        opened(table, small_disk, image_size=32)
    assert [path.suffix for path in small_disk.iterdir()] == [".lock"]
    assert len(opened(table[:5], small_disk)) == 5  # what fits still works


def test_cache_dir_that_is_a_file(table: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(UserError, match="cannot be written.*--cache-dir"):
        opened(table, tmp_path / "cache")


def test_progress_without_a_terminal(table: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened(table, tmp_path / "cache", progress=True)
    assert "Decoded 70 of 70 images" in capsys.readouterr().err
