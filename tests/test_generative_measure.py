"""Measuring end to end: equal sizes, the floor, notes, classes, copies found, missing extras; bad input refused."""

import json
import re
import shutil
from pathlib import Path
from unittest.mock import patch

import cv2
import numpy as np
import pytest

from competition.errors import UserError
from competition.generative import perceptual
from competition.generative.measure import in_words, measure
from competition.generative.measure_settings import MeasureSettings
from competition.generative.run_pictures import make_pictures, pictures_to_judge
from competition.runs import read_json, write_json
from tests.feature_network import save_tiny_network
from tests.generative_data import trained

pytest.importorskip("torch_fidelity")
CLASSES = ("bird", "horse")


def write_noise(folder, per_class, seed=0, classes=CLASSES, brightness=0, size=16):
    """Write ``CLASS/N.png``: noise, each class brighter than the one before."""
    rng = np.random.default_rng(seed)
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            picture = rng.integers(0, 120, (size, size, 3)) + 60 * place + brightness
            cv2.imwrite(str(folder / name / f"{number}.png"), picture.clip(0, 255).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A feature network, real images and some that were kept apart."""
    root = tmp_path_factory.mktemp("measure")
    save_tiny_network(root / "network")
    write_noise(root / "real", 60, seed=0)
    write_noise(root / "trained", 60, seed=1)
    return root


def taken(place, path, tmp_path, **changes):
    settings = {
        "features": str(place / "network"),
        "cache_dir": place / "cache",
        "perceptual": False,
        "out": tmp_path / "out",
        **changes,
    }
    return measure(path, MeasureSettings(**settings))[1]


def distance_of(figures, kind="FD"):
    return next(value for name, value in figures.items() if name.startswith(f"{kind}["))


def test_equal_sizes_figures_and_files(place, tmp_path):
    generated = write_noise(tmp_path / "generated", 90, seed=2, brightness=40)
    figures = taken(place, generated, tmp_path, against=place / "real")
    assert figures["images"] == 120
    assert figures["side"] == 16
    assert figures["features"]["name"].startswith("plain_cnn ")
    assert distance_of(figures) > 0
    assert 0 <= figures["precision"] <= 1
    assert set(figures["per_class"]) == set(CLASSES)
    assert figures["per_class"]["bird"]["images"] >= 50
    assert json.loads((tmp_path / "out" / "measure.json").read_text()) == figures
    said = in_words(figures)
    assert "120 images on each side" in said
    assert any("under 2,000" in note for note in figures["notes"])
    assert any("not on the published FID" in note for note in figures["notes"])


def test_the_same_command_gives_the_same_figures_and_worse_images_worse_ones(place, tmp_path):
    near = write_noise(tmp_path / "near", 60, seed=2)
    far = write_noise(tmp_path / "far", 60, seed=2, brightness=60)
    first, again, worse = (
        taken(place, path, tmp_path, against=place / "real", cache_dir=cache)
        for path, cache in ((near, place / "cache"), (near, tmp_path / "fresh"), (far, place / "cache"))
    )
    for kind in ("FD", "KD"):
        assert distance_of(first, kind) == pytest.approx(distance_of(again, kind), rel=1e-6)
        assert distance_of(worse, kind) > 2 * distance_of(first, kind)


def test_a_set_against_itself_is_dealt_into_halves(place, tmp_path):
    figures = taken(place, place / "real", tmp_path, against=place / "real")
    assert figures["images"] == 60
    assert any("the floor of the metric" in note for note in figures["notes"])
    assert abs(distance_of(figures, "KD")) < 0.05


def test_per_class_and_most_cut_both_sides(place, tmp_path):
    figures = taken(place, place / "trained", tmp_path, against=place / "real", per_class=30)
    assert figures["images"] == 60
    assert any("classes with fewer than 50" in note for note in figures["notes"])
    assert taken(place, place / "trained", tmp_path, against=place / "real", most=70)["images"] == 70


def test_copies_of_training_images_are_found(place, tmp_path):
    copies = tmp_path / "copies"
    shutil.copytree(place / "trained", copies)
    new = write_noise(tmp_path / "new", 60, seed=3)
    asked = {"against": place / "real", "trained_on": place / "trained"}
    found = taken(place, copies, tmp_path, **asked)["nearest training images"]
    assert found["verdict"].startswith("memorised in part")
    assert found["generated_median"] == 0
    assert found["copies"] == 1
    assert (tmp_path / "out" / "neighbours.png").exists()
    found = taken(place, new, tmp_path, **asked)["nearest training images"]
    assert found["verdict"].startswith("new: ")
    assert found["searched"] == 120


def test_copies_are_not_looked_for_among_images_that_were_trained_on(place, tmp_path):
    asked = {"against": place / "real", "trained_on": place / "real"}
    figures = taken(place, place / "trained", tmp_path, **asked)
    assert figures["nearest training images"] is None
    assert any("120 images of" in note and "are training images themselves" in note for note in figures["notes"])


def test_copies_among_the_held_out_images_are_left_out_of_the_search(place, tmp_path):
    real = shutil.copytree(place / "real", tmp_path / "real")
    shutil.copy(place / "trained" / "bird" / "3.png", real / "bird" / "copy.png")
    figures = taken(
        place, write_noise(tmp_path / "new", 61, seed=5), tmp_path, against=real, trained_on=place / "trained"
    )
    assert figures["nearest training images"]["searched"] == 120
    assert any(note.startswith("1 image of ") and "left out where copies" in note for note in figures["notes"])


def test_without_a_search_the_training_images_may_be_gone(place, tmp_path):
    run = trained("dcgan", tmp_path)
    shutil.rmtree(tmp_path / "data")
    figures = taken(place, run, tmp_path, against=place / "real", neighbours=0)
    assert figures["nearest training images"] is None
    assert not any("copies" in note for note in figures["notes"])


def test_pictures_become_square_as_in_the_training_of_the_run(place, tmp_path):
    run = trained("dcgan", tmp_path, per_class=50, hold_out=0.5, resize="crop")
    assert taken(place, run, tmp_path, out=None)["settings"]["resize"] == "crop"
    assert taken(place, run, tmp_path, out=None, resize="letterbox")["settings"]["resize"] == "letterbox"


def test_neighbours_are_asked_for_by_a_note(place, tmp_path):
    figures = taken(place, place / "trained", tmp_path, against=place / "real")
    assert any("--trained-on" in note for note in figures["notes"])


def test_sizes_that_differ_are_told(place, tmp_path):
    small = write_noise(tmp_path / "small", 30, size=8)
    figures = taken(place, small, tmp_path, against=place / "real")
    assert figures["side"] == 8
    assert any("16x16" in note and "compared at 8x8" in note for note in figures["notes"])


@pytest.mark.parametrize("unconditional", [False, True])
def test_a_run_is_measured_against_what_it_kept_out(unconditional, place, tmp_path):
    run = trained("dcgan", tmp_path, per_class=50, hold_out=0.5, unconditional=unconditional)
    figures = taken(place, run, tmp_path, out=None)
    assert figures["generated"] == f"pictures of {run}"
    assert figures["against"] == f"images held out of {run}"
    assert figures["images"] >= 50
    assert figures["nearest training images"]["searched"] > 50
    assert (run / "measured" / "measure.json").exists()
    assert (run / "measured" / "neighbours.png").exists()
    pictures = sorted((run / "measured" / "pictures").rglob("*.png"))
    stamps = [path.stat().st_mtime_ns for path in pictures]
    again = taken(place, run, tmp_path, out=None)
    assert [path.stat().st_mtime_ns for path in pictures] == stamps  # nothing is made twice
    assert distance_of(again) == pytest.approx(distance_of(figures), rel=1e-6)


def test_a_run_makes_as_many_of_each_class_as_the_real_side_has(place, tmp_path):
    run = trained("dcgan", tmp_path / "run")
    real = write_noise(tmp_path / "real", 60, seed=3)
    for number in range(50):
        (real / "horse" / f"{number}.png").unlink()
    figures = taken(place, run, tmp_path, against=real, neighbours=0)
    assert figures["images"] == 70
    assert "classes that only one side has are left out: ship" in figures["notes"]
    made = [path.parent.name for path in (tmp_path / "out" / "pictures").rglob("*.png")]
    assert {name: made.count(name) for name in made} == {"bird": 60, "horse": 10}


def test_a_run_measured_against_other_classes_makes_equally_many_of_each(place, tmp_path):
    run = trained("dcgan", tmp_path / "run")
    real = write_noise(tmp_path / "real", 50, seed=3, classes=("cat", "dog"))
    figures = taken(place, run, tmp_path, against=real, neighbours=0)
    assert figures["images"] == 100
    assert "no class is in common: the whole sets are compared, whatever they show" in figures["notes"]
    made = [path.parent.name for path in (tmp_path / "out" / "pictures").rglob("*.png")]
    assert {name: made.count(name) for name in made} == {"bird": 34, "horse": 34, "ship": 34}


def test_missing_extras_are_named_and_the_rest_is_measured(place, tmp_path, capsys):
    asked = {"against": place / "real", "trained_on": place / "trained", "perceptual": True}
    asked["cache_dir"] = tmp_path / "cache"  # where nothing was looked at before
    with (
        patch("competition.generative.distances.find_spec", return_value=None),
        patch("competition.generative.perceptual.find_spec", return_value=None),
    ):
        figures = taken(place, place / "trained", tmp_path, **asked)
    assert re.search(r"features of .*: 120/120 images in ", capsys.readouterr().err)
    assert figures["nearest training images"]["searched"] == 120
    assert "precision" not in figures
    for package in ("torch-fidelity", "stlpips-pytorch"):
        assert any(f"{package} is not installed: pip install" in note for note in figures["notes"])
    assert "memorised" in in_words(figures)


def test_perceptual_distances_to_the_nearest_training_images(place, tmp_path, monkeypatch):
    def distance(one, other):
        return np.abs(one.astype(float) - other).mean(axis=(1, 2, 3))

    monkeypatch.setattr(perceptual, "is_available", lambda: True)
    monkeypatch.setattr(perceptual, "open_perceptual", lambda device: distance)
    copies = shutil.copytree(place / "trained", tmp_path / "copies")
    asked = {"against": place / "real", "trained_on": place / "trained", "perceptual": True}
    figures = taken(place, copies, tmp_path, **asked)
    found = figures[perceptual.NAME]
    assert found["generated to nearest training image"] == 0
    assert found["real to nearest training image"] > 10
    assert f"{perceptual.NAME}, real to nearest training image: " in in_words(figures)
    found = taken(place, copies, tmp_path, **{**asked, "trained_on": None})[perceptual.NAME]
    assert set(found) == {"diversity of generated", "diversity of real"}


def test_perceptual_diversity(place, tmp_path):
    pytest.importorskip("stlpips_pytorch")
    with patch("competition.generative.perceptual.PAIRS", 4):
        figures = taken(place, place / "trained", tmp_path, against=place / "real", perceptual=True)
    found = figures[perceptual.NAME]
    assert found["diversity of generated"] == pytest.approx(found["diversity of real"], rel=0.3)
    assert "diversity of generated" in in_words(figures)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "--against is missing"),
        ({"against": "nowhere"}, "no such file or folder"),
        ({"against": "few"}, r"too few images .* needs 50 on each side: .*few \(6\)"),
        ({"against": "real", "per_class": 20}, "too few images"),
        ({"against": "real", "features": "inceptoin"}, "did you mean 'inception'"),
        ({"against": "real", "trained_on": "nowhere"}, "no such file or folder"),
    ],
)
def test_refused(changes, said, place, tmp_path):
    if not (place / "few").exists():
        write_noise(place / "few", 3)
    changes = {name: place / value if name in ("against", "trained_on") else value for name, value in changes.items()}
    with pytest.raises(UserError, match=said):
        taken(place, place / "trained", tmp_path, **changes)
    assert not (tmp_path / "out").exists()


def test_a_path_that_is_not_there_is_named(place, tmp_path):
    with pytest.raises(UserError, match="nowhere: no such run, folder or zip"):
        taken(place, place / "nowhere", tmp_path)


def test_a_run_that_kept_too_few_out_makes_no_pictures(place, tmp_path):
    run = trained("dcgan", tmp_path, per_class=12, hold_out=0.2)
    with pytest.raises(UserError, match=r"too few images .* needs 50 on each side: images held out of .*\(\d+\)"):
        taken(place, run, tmp_path, out=None)
    assert not (run / "measured").exists()


def test_only_the_worst_classes_are_printed(place, tmp_path):
    figures = taken(place, place / "trained", tmp_path, against=place / "real")
    figures["per_class"] = {
        f"class {n}": {**figures["per_class"]["bird"], figures["features"]["name"]: n} for n in range(12)
    }
    assert "the other 2 classes are nearer" in in_words(figures)


def test_pictures_to_judge_are_labelled(tmp_path):
    run = trained("dcgan", tmp_path, per_class=12, hold_out=0.2)
    pictures, unseen = pictures_to_judge(run, tmp_path / "out", None, 0, "cpu")
    made = sorted(path.parent.name for path in pictures.rglob("*.png"))
    assert set(made) == {"bird", "horse", "ship"}
    assert len(set(map(made.count, made))) == 1
    assert unseen
    assert pictures_to_judge(Path("folder"), tmp_path, None, 0, "cpu") == (Path("folder"), None)


def test_pictures_made_in_another_way_lie_in_another_folder(tmp_path):
    run = trained("dcgan", tmp_path)
    counts = {"bird": 2, "ship": 1}
    first = make_pictures(run, tmp_path / "out", counts, 0, "cpu")
    described = read_json(run / "generator.json")
    write_json(run / "generator.json", {**described, "precision": {**described["precision"], "channels_last": False}})
    assert make_pictures(run, tmp_path / "out", counts, 0, "cpu") != first


def test_pictures_without_labels_cannot_be_judged(tmp_path):
    run = trained("dcgan", tmp_path, unconditional=True)
    with pytest.raises(UserError, match="was not told the classes"):
        pictures_to_judge(run, tmp_path / "out", None, 0, "cpu")


def test_unlabelled_pictures_are_made_on_after_a_stop(tmp_path):
    run = trained("dcgan", tmp_path, unconditional=True)
    counts = {"bird": 30, "horse": 30, "ship": 10}
    out = make_pictures(run, tmp_path / "out", counts, 0, "cpu")
    whole = {path.name: path.read_bytes() for path in out.glob("*.png")}
    assert len(whole) == 70
    (out / "000003.png").unlink()
    (out / "000069.png").unlink()
    assert make_pictures(run, tmp_path / "out", counts, 0, "cpu") == out
    assert {path.name: path.read_bytes() for path in out.glob("*.png")} == whole
