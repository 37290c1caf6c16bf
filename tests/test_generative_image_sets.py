"""Sets of images: labelled, of one class or none, of a run; which of them are looked at is a matter of their names."""

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from competition.errors import UserError
from competition.generative.fit import fit
from competition.generative.image_sets import (
    beside,
    chosen,
    common_side,
    decode_set,
    drawn_of_class,
    halves,
    held_out_ids,
    is_run,
    open_set,
    run_images,
    same_classes,
    size_notes,
)
from competition.generative.measure_settings import MeasureSettings
from tests.generative_data import begin, settings_for, trained, write_pictures


def write_flat(folder, count=4, size=8):
    folder.mkdir(parents=True)
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), np.full((size, size, 3), 10 * number, np.uint8))
    return folder


def decoded(path, tmp_path, **changes):
    return decode_set(open_set(path), 8, MeasureSettings(cache_dir=tmp_path / "cache", **changes))


def test_labelled_folders_come_with_their_classes(tmp_path):
    images = decoded(write_pictures(tmp_path / "data", per_class=3), tmp_path)
    assert len(images) == 9
    assert sorted(set(images.labels)) == ["bird", "horse", "ship"]
    first = images.of_class("horse")[0]
    picture = cv2.imread(str(tmp_path / "data" / images.image_ids[first]))[..., ::-1]
    assert (images.gather([first])[0] == picture).all()


def test_one_class_can_be_measured(tmp_path):
    images = decoded(write_pictures(tmp_path / "data", per_class=3, classes=("bird",)), tmp_path)
    assert list(images.labels) == ["bird"] * 3


def test_images_without_labels_can_be_measured(tmp_path):
    images = decoded(write_flat(tmp_path / "flat"), tmp_path)
    assert list(images.labels) == [""] * 4


def test_test_images_are_left_out_where_others_are_labelled(tmp_path):
    data = write_pictures(tmp_path / "data", per_class=2)
    write_flat(data / "test")
    assert len(open_set(data).rows) == 6


@pytest.mark.parametrize("make", [lambda path: path, lambda path: path.mkdir()])
def test_nothing_to_measure_is_refused(make, tmp_path):
    make(tmp_path / "empty")
    with pytest.raises(UserError, match="no such file or folder|holds no images"):
        open_set(tmp_path / "empty")


def test_a_bad_table_is_not_passed_over(tmp_path):
    data = write_flat(tmp_path / "data")
    (data / "train.csv").write_text("id,label\nnowhere.png,a\n")
    with pytest.raises(UserError):
        open_set(data)


def test_unreadable_images_are_named_or_left_out(tmp_path):
    data = write_flat(tmp_path / "flat")
    (data / "2.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"1 image cannot be read: 2.png .*--on-bad skip"):
        decoded(data, tmp_path)
    assert list(decoded(data, tmp_path, on_bad="skip").image_ids) == ["0.png", "1.png", "3.png"]


def test_a_run_knows_its_images(tmp_path):
    run = trained("vae", tmp_path, per_class=20, hold_out=0.3)
    kept_out = held_out_ids(run)
    assert is_run(run)
    assert not is_run(tmp_path)
    unseen, seen = run_images(run, held_out=True), run_images(run, held_out=False)
    names = unseen.catalog.table["image_id"].to_numpy()
    assert sorted(names[unseen.rows]) == sorted(kept_out)
    assert sorted([*names[unseen.rows], *names[seen.rows]]) == sorted(names)


def test_a_runs_images_that_have_moved_are_found_where_the_flag_says(tmp_path):
    run = trained("vae", tmp_path, per_class=20, hold_out=0.3)
    before = len(run_images(run, held_out=True).rows)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(UserError, match="no longer at .*data. Where they have moved, say so with --data PATH"):
        run_images(run, held_out=True)
    assert len(run_images(run, True, tmp_path / "moved").rows) == before


def test_a_runs_tables_are_found_from_another_working_directory(tmp_path, monkeypatch):
    data = write_pictures(tmp_path / "data")
    names = [path.relative_to(data).as_posix() for path in sorted(data.glob("train/*/*"))]
    (tmp_path / "mine.csv").write_text("image_id,label\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in names))
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    begin(settings_for("vae", data, train_csv=Path("mine.csv"), run=run))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(run_images(run, held_out=False).rows) == len(names)


def test_a_run_of_data_of_one_class_knows_its_images(tmp_path):
    data = write_pictures(tmp_path / "data", per_class=40, classes=("bird",))
    run = begin(settings_for("dcgan", data, hold_out=0.3, steps=2, run=tmp_path / "run"))
    fit(run)
    assert len(run_images(run.folder, held_out=True).rows) + len(run.pictures.labels) == 40


@pytest.mark.parametrize(("with_val", "learned"), [(False, 60), (True, 120)])
def test_a_run_knows_whether_it_learned_from_validation_images(with_val, learned, tmp_path, capsys):
    data = write_pictures(tmp_path / "data", per_class=20)
    shutil.copytree(data / "train", data / "val")
    run = begin(settings_for("dcgan", data, with_val=with_val, hold_out=0.2, steps=2, run=tmp_path / "run"))
    is_told = "not learned from: 60 validation images; --with-val learns from them too\n" in capsys.readouterr().out
    assert is_told != with_val
    fit(run)
    assert len(run_images(run.folder, held_out=False).rows) == len(run.pictures.labels)
    assert len(run.pictures.labels) + len(run.pictures.held_out) == learned
    assert len(open_set(data).rows) == 120
    assert len(open_set(data, ("train",)).rows) == 60


def test_what_a_training_left_out_is_left_out_of_its_images(tmp_path):
    data = write_pictures(tmp_path / "data")
    broken = sorted(data.rglob("*.png"))[0]
    broken.write_bytes(b"no image")
    run = begin(settings_for("vae", data, run=tmp_path / "run", steps=2, on_bad="skip"))
    fit(run)
    images = decode_set(run_images(run.folder, held_out=False), 8, MeasureSettings(cache_dir=tmp_path / "cache"))
    assert len(images) == 23


def test_a_run_that_kept_nothing_out_says_so(tmp_path):
    run = trained("vae", tmp_path)
    with pytest.raises(UserError, match=r"kept no images out .*--against FOLDER"):
        run_images(run, held_out=True)


def test_what_is_chosen_depends_on_names_alone(tmp_path):
    images = decoded(write_pictures(tmp_path / "data", per_class=10), tmp_path)
    backwards = images.take(np.arange(len(images))[::-1])
    for per_class in (None, 4):
        one, other = (chosen(side, 11, per_class, 0) for side in (images, backwards))
        assert sorted(one.image_ids) == sorted(other.image_ids)
    assert sorted(chosen(images, 11, None, 1).image_ids) != sorted(chosen(images, 11, None, 0).image_ids)


def test_classes_and_totals_are_cut(tmp_path):
    images = decoded(write_pictures(tmp_path / "data", per_class=10), tmp_path)
    found = chosen(images, 100, 4, 0)
    assert np.unique(found.labels, return_counts=True)[1].tolist() == [4, 4, 4]
    assert len(chosen(images, 7, None, 0)) == 7
    smaller = set(chosen(images, 5, None, 0).image_ids)
    assert smaller < set(chosen(images, 7, None, 0).image_ids)


def test_a_class_is_cut_by_names_not_in_the_order_of_files(tmp_path):
    images = decoded(write_pictures(tmp_path / "data", per_class=30), tmp_path)
    every = images.of_class("horse")
    some = drawn_of_class(images, "horse", 10, 0)
    assert set(some) < set(every)
    assert some.tolist() != every[:10].tolist()
    fewer = images.take(np.flatnonzero(images.labels == "horse"))
    assert fewer.image_ids[drawn_of_class(fewer, "horse", 10, 0)].tolist() == images.image_ids[some].tolist()
    assert drawn_of_class(images, "horse", 30, 0).tolist() == every.tolist()


def test_halves_share_no_image_and_every_class(tmp_path):
    images = decoded(write_pictures(tmp_path / "data", per_class=10), tmp_path)
    one, other = halves(images, 0)
    assert not set(one.image_ids) & set(other.image_ids)
    for half in (one, other):
        assert np.unique(half.labels, return_counts=True)[1].tolist() == [5, 5, 5]


def test_classes_that_one_side_lacks_are_left_out(tmp_path):
    every = decoded(write_pictures(tmp_path / "all", per_class=3), tmp_path)
    two = decoded(write_pictures(tmp_path / "two", per_class=2, classes=("bird", "ship")), tmp_path)
    one, other, notes = same_classes(two, every)
    assert sorted(set(other.labels)) == ["bird", "ship"]
    assert (len(one), len(other)) == (4, 6)
    assert notes == ["classes that only one side has are left out: horse"]


def test_sets_without_common_classes_stay_whole(tmp_path):
    every = decoded(write_pictures(tmp_path / "all", per_class=3), tmp_path)
    others = decoded(write_pictures(tmp_path / "others", per_class=2, classes=("cat", "dog")), tmp_path)
    flat = decoded(write_flat(tmp_path / "flat"), tmp_path)
    told = ["no class is in common: the whole sets are compared, whatever they show"]
    for other, notes in ((every, []), (others, told), (flat, [])):
        assert same_classes(every, other) == (every, other, notes)


@pytest.mark.parametrize(("name", "expected"), [("data", "data-measured"), ("a.b.zip", "a.b-measured")])
def test_results_lie_beside_the_images(name, expected, tmp_path, monkeypatch):
    assert beside(tmp_path / name, "measured") == tmp_path / expected
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert beside(Path("."), "measured") == tmp_path / "here-measured"


def test_sets_of_two_sizes_are_compared_at_the_smaller(tmp_path):
    small, large = write_flat(tmp_path / "small"), write_flat(tmp_path / "large", size=16)
    sets = [open_set(small), open_set(large)]
    assert common_side(sets, 224) == 8
    assert common_side([sets[1]], 12) == 12  # no larger than the network looks at
    settings = MeasureSettings(cache_dir=tmp_path / "cache")
    assert size_notes(decode_set(sets[0], 8, settings)) == []
    (note,) = size_notes(decode_set(sets[1], 8, settings))
    assert "images of 16x16 (4) px are compared at 8x8" in note
