"""What is known about each image comes back from disk as it was."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from competition.data.decode import Decoded
from competition.data.facts import load_facts, save_facts
from tests.test_cache import opened, write_images


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    return write_images(tmp_path / "images", 70)


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


def test_facts_survive_the_disk(tmp_path: Path) -> None:
    pixels = np.zeros((1, 1, 3), np.uint8)
    thumbnails = [bytes(192), bytes(range(192)), bytes([7, *[0] * 191])]  # zeros at the end are data
    facts = [
        Decoded(pixels, "", 3, 4, "RGB", "PNG", 2**64 - 1, 1, 2**63, 1.5, 2.5, 3.5, thumbnails[0]),
        Decoded(pixels, "empty: 0 bytes", thumbnail=thumbnails[1]),
        Decoded(pixels, "", 1, 1, "L", "PNG", thumbnail=thumbnails[2]),
    ]
    save_facts(tmp_path / "facts.npz", facts)
    read = load_facts(tmp_path / "facts.npz", {"1": "empty: 0 bytes"})
    assert read["error"].tolist() == ["", "empty: 0 bytes", ""]
    assert read["content_hash"].tolist() == [2**64 - 1, 0, 0]
    assert read["perceptual_hash"].tolist() == [2**63, 0, 0]
    assert read[["width", "height"]].to_numpy().tolist() == [[3, 4], [0, 0], [1, 1]]
    assert read["mode"].tolist() == ["RGB", "", "L"]
    assert read["format"].tolist() == ["PNG", "", "PNG"]
    assert read[["brightness", "contrast", "sharpness"]].iloc[0].tolist() == [1.5, 2.5, 3.5]
    assert read["thumbnail"].tolist() == thumbnails
