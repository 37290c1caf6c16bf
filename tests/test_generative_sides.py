"""What is measured: both sides of one size, whichever had more, and no more of a class than was asked for."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from competition.generative import sides as module
from competition.generative.measure_settings import MeasureSettings
from competition.generative.sides import open_sides
from tests.generative_data import Painter, write_pictures

NETWORK = SimpleNamespace(image_size=32)


def opened(path, tmp_path, **changes):
    settings = MeasureSettings(against=tmp_path / "real", cache_dir=tmp_path / "cache", neighbours=0, **changes)
    return open_sides(path, settings, tmp_path / "out", NETWORK)


@pytest.mark.parametrize(("generated", "real"), [(30, 20), (20, 30)])
def test_the_larger_side_is_cut_to_the_smaller(generated, real, tmp_path):
    write_pictures(tmp_path / "real", real)
    sides = opened(write_pictures(tmp_path / "generated", generated, size=16), tmp_path)
    assert len(sides.generated) == len(sides.real) == 60


def test_a_run_makes_as_many_of_a_class_as_are_asked_for(tmp_path, monkeypatch):
    write_pictures(tmp_path / "real", 25)
    asked = []

    def make(folder, out, counts, seed, device):
        asked.append(counts)
        return write_pictures(tmp_path / "made", 18)

    monkeypatch.setattr(module, "is_run", lambda path: path == Path("run"))
    monkeypatch.setattr(module, "read_generator", lambda folder: Painter().described)
    monkeypatch.setattr(module, "make_pictures", make)
    sides = opened(Path("run"), tmp_path, per_class=18)
    assert asked == [{"bird": 18, "horse": 18, "ship": 18}]
    assert [len(sides.real.of_class(name)) for name in ("bird", "horse", "ship")] == [18, 18, 18]
