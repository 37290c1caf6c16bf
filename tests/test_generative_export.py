"""Exported folders: read by the catalog, resumed after a stop, the same pictures however they were asked for."""

import csv
import dataclasses
import errno
import os
from pathlib import Path

import pytest

from competition.data.catalog import open_catalog
from competition.errors import UserError
from competition.folds import make_folds
from competition.generative import export as module
from competition.generative.export import export
from competition.generative.latents import slerp
from competition.generative.sampling import counted_noise
from competition.generative.settings import ExportSettings
from tests.generative_data import CLASSES, Painter, colour_of, design_for, trained


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}

    def run(model, **changes):
        key = f"{model} {changes}"
        if key not in made:
            made[key] = trained(model, tmp_path_factory.mktemp(model), **changes)
        return made[key]

    return run


def pictures(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.png"))}


def write(run, out, **changes):
    return export(run, ExportSettings(out=out, **{"per_class": 5, **changes}))


def manifest(out):
    with open(out / "manifest.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("model", ["autoencoder", "acai", "vae", "dcgan", "flow"])
def test_the_catalog_reads_what_was_exported(model, runs, tmp_path):
    out, made = write(runs(model), tmp_path / "out")
    assert made == 15
    catalog = open_catalog(out)
    assert catalog.class_names == ["bird", "horse", "ship"]
    assert sorted(catalog.table["image_id"]) == sorted(row["image_id"] for row in manifest(out))
    assert not catalog.problems
    row = manifest(out)[0]
    assert row["label"] == "bird"
    assert row["generator"].startswith(f"{model} ")
    assert row["source"] == "run"
    assert len({row["seed"] for row in manifest(out)}) == 15


@pytest.mark.parametrize("model", ["dcgan", "vae", "flow"])
def test_a_picture_is_the_same_however_many_are_asked_for(model, runs, tmp_path):
    few = pictures(write(runs(model), tmp_path / "few", per_class=3)[0])
    many = pictures(write(runs(model), tmp_path / "many", per_class=70)[0])
    assert len(many) == 210
    assert few == {name: many[name] for name in few}
    assert len(set(many.values())) > 200
    one_class = pictures(write(runs(model), tmp_path / "one", classes="horse", per_class=3)[0])
    assert one_class == {name: data for name, data in few.items() if "horse" in name}


@pytest.fixture
def painter(monkeypatch):
    model = Painter()
    monkeypatch.setattr(module, "read_generator", lambda folder: model.described)
    monkeypatch.setattr(module, "open_generator", lambda folder, device, changes: (model, model.described))
    return model


def made_from(out):
    """What the rows of the manifest say that their pictures were made from: a path, a class, one seed or two."""
    for row in manifest(out):
        seeds = [int(seed) for seed in row["seed"].split("+")]
        yield out / row["image_id"], CLASSES.index(row["label"]), counted_noise(seeds, (2,))


def test_a_picture_is_of_its_class_and_of_the_seed_that_the_manifest_names(painter, tmp_path):
    out, _ = write(Path("run"), tmp_path / "out", device="cpu", per_class=4)
    for path, label, noise in made_from(out):
        assert path.parent.name == CLASSES[label]
        assert colour_of(path) == painter.colour(noise[0], label)


@pytest.mark.parametrize("frames", [1, 2])
def test_another_seed_makes_other_pictures(frames, painter, tmp_path):
    asked = {"device": "cpu", "per_class": 4, "frames": frames}
    made = [pictures(write(Path("run"), tmp_path / f"{seed}", seed=seed, **asked)[0]) for seed in (0, 1)]
    assert len(made[0]) == 12
    assert not set(made[0].values()) & set(made[1].values())


def test_a_walk_goes_from_its_first_sample_to_its_last(painter, tmp_path):
    out, _ = write(Path("run"), tmp_path / "out", device="cpu", per_class=6, frames=3)
    for number, (path, label, ends) in enumerate(made_from(out)):
        frame = [ends[0], slerp(ends[:1], ends[1:], 0.5)[0], ends[1]][number % 3]
        assert colour_of(path) == painter.colour(frame, label)
    assert len(set(pictures(out).values())) == 18


def test_pictures_that_are_missing_in_a_batch_are_made_as_they_were(painter, tmp_path, monkeypatch):
    whole = pictures(write(Path("run"), tmp_path / "whole", device="cpu", per_class=7)[0])
    monkeypatch.setattr(module, "SAMPLE_BATCH", 3)
    out, _ = write(Path("run"), tmp_path / "out", device="cpu", per_class=7)
    assert pictures(out) == whole
    for number in (1, 4, 5):
        (out / "train" / "horse" / f"{number:06}.png").unlink()
    assert write(Path("run"), out, device="cpu", per_class=7)[1] == 3
    assert pictures(out) == whole


def test_walks_share_a_group_that_no_fold_divides(runs, tmp_path):
    out, _ = write(runs("dcgan"), tmp_path / "out", per_class=12, frames=3)
    rows = manifest(out)
    assert [row["group"] for row in rows[:4]] == ["bird/0", "bird/0", "bird/0", "bird/1"]
    assert "+" in rows[0]["seed"]
    table = open_catalog(out).table
    numbers = table["group"].astype("category").cat.codes.to_numpy("int64")
    folds = make_folds(table["image_id"].tolist(), table["label"].tolist(), numbers, folds=2)
    groups = dict(zip(table["image_id"], table["group"], strict=True))
    where = {}
    for image_id, fold in zip(folds["image_id"], folds["fold"], strict=True):
        where.setdefault(groups[image_id], set()).add(fold)
    assert all(len(found) == 1 for found in where.values())


def test_a_full_disk_costs_nothing_and_the_same_call_goes_on(runs, tmp_path, monkeypatch):
    whole = pictures(write(runs("vae"), tmp_path / "whole", per_class=7)[0])
    replace, calls = os.replace, []

    def full(source, target):
        calls.append(target)
        if str(target).endswith(".png") and len(calls) > 10:
            raise OSError(errno.ENOSPC, "No space left on device", str(target))
        return replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        write(runs("vae"), tmp_path / "out", per_class=7)
    monkeypatch.undo()
    before = pictures(tmp_path / "out")
    assert 0 < len(before) < 21
    assert not list((tmp_path / "out").rglob("*.tmp*"))
    stamps = {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before}
    _, made = write(runs("vae"), tmp_path / "out", per_class=7)
    assert made == 21 - len(before)
    assert pictures(tmp_path / "out") == whole
    assert stamps == {name: (tmp_path / "out" / name).stat().st_mtime_ns for name in before}


def stopped_after(count, monkeypatch):
    """Let a call of `write` end like a kill when so many pictures are written."""
    plain, left = module.write_picture, iter(range(count))

    def write_some(path, data):
        if next(left, None) is None:
            raise KeyboardInterrupt
        plain(path, data)

    monkeypatch.setattr(module, "write_picture", write_some)


def test_a_folder_that_is_half_made_has_the_groups_of_all_its_pictures(painter, tmp_path, monkeypatch):
    out = tmp_path / "out"
    stopped_after(7, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write(Path("run"), out, device="cpu", per_class=6, frames=3)
    table = open_catalog(out).table
    assert table["group"].tolist() == ["bird/0"] * 3 + ["bird/1"] * 3 + ["horse/0"]


def test_what_a_smaller_export_finds_stays_and_is_named(painter, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    with monkeypatch.context() as stopped:
        stopped_after(7, stopped)
        with pytest.raises(KeyboardInterrupt):
            write(Path("run"), out, device="cpu", per_class=6, frames=3)
    _, made = write(Path("run"), out, device="cpu", per_class=2, frames=3)
    assert f"{out}: 4 pictures of earlier calls beside these: kept, in manifest.csv too" in capsys.readouterr().out
    assert made == 3
    assert [row["image_id"] for row in manifest(out)] == list(pictures(out))
    assert len(pictures(out)) == 10
    assert open_catalog(out).table["group"].notna().all()


def test_a_folder_grows(runs, tmp_path, capsys):
    write(runs("vae"), tmp_path / "out", classes="horse", per_class=2)
    assert len(manifest(tmp_path / "out")) == 2
    assert f"making {tmp_path / 'out'}: 2/2 pictures in " in capsys.readouterr().err
    write(runs("vae"), tmp_path / "out", per_class=4)
    assert len(manifest(tmp_path / "out")) == 12
    assert f"making {tmp_path / 'out'}: 12/12 pictures in " in capsys.readouterr().err


def test_sampling_can_be_changed(runs, tmp_path):
    run = runs("flow", ema=0.0, learning_rate=0.05, steps=8)
    plain = pictures(write(run, tmp_path / "a", per_class=1)[0])
    other = pictures(write(run, tmp_path / "b", per_class=1, sampling_steps=1, solver="euler")[0])
    assert plain != other


def test_refused(runs, tmp_path):
    out, _ = write(runs("vae"), tmp_path / "out", per_class=1)
    with pytest.raises(UserError, match=r"begun with other settings:\n  seed: 0 then, 1 now\nchoose another --out"):
        write(runs("vae"), out, seed=1)
    with pytest.raises(UserError, match="generator: "):
        write(runs("dcgan"), out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("")
    with pytest.raises(UserError, match="holds other files"):
        write(runs("vae"), tmp_path / "full")
    with pytest.raises(UserError, match=r"'hrose' \(did you mean 'horse'\?\)"):
        write(runs("vae"), tmp_path / "new", classes="hrose")
    with pytest.raises(UserError, match="name the folder of a `generate train` run"):
        write(tmp_path / "nowhere", tmp_path / "new")
    with pytest.raises(UserError, match="no label .* measure makes .* interpolate --from sample --to sample"):
        write(runs("vae", unconditional=True), tmp_path / "new")


def test_sampling_settings_of_another_model_are_refused(runs, tmp_path):
    said = "--sampling-steps is for flow; --model vae has no use for it; --guidance is for flow"
    with pytest.raises(UserError, match=said):
        write(runs("vae"), tmp_path / "out", guidance=9, sampling_steps=7)
    with pytest.raises(UserError, match="--guidance weighs the class, which the model was not told"):
        write(runs("flow", classes="bird", per_class=20), tmp_path / "out", guidance=9)
    assert not (tmp_path / "out").exists()


def test_the_manifest_names_the_run_that_a_dot_stands_for(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs("dcgan"))
    write(Path(), tmp_path / "out", per_class=1)
    assert {row["source"] for row in manifest(tmp_path / "out")} == {"run"}


def test_classes_that_name_none_are_refused(runs, tmp_path):
    with pytest.raises(UserError, match=r"--classes ,: that names no class; it knows bird, horse, ship"):
        write(runs("dcgan"), tmp_path / "out", classes=",")
    with pytest.raises(UserError, match=r"does not know 'bord' \(did you mean 'bird'\?\); it knows bird, horse, ship"):
        write(runs("dcgan"), tmp_path / "out", classes="bord")


def test_the_command_to_export_is_for_models_that_can():
    assert design_for("flow").is_labelled
    assert design_for("flow", classes=("bird",)).is_labelled
    assert not dataclasses.replace(design_for("flow"), is_conditional=False).is_labelled


def test_classes_that_no_folder_can_be_named_after_keep_their_names(tmp_path):
    names = {"bird": "N/A", "horse": "..", "ship": ".a\\b"}
    rows = [f"train/{folder}/{number}.png,{name}" for folder, name in names.items() for number in range(8)]
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("\n".join(["id,label", *rows]))
    out, made = write(trained("vae", tmp_path), tmp_path / "out", per_class=2, frames=2)
    table = open_catalog(out).table
    assert made == 6
    assert sorted(table["image_id"]) == sorted(pictures(out))
    assert set(zip(table["label"], table["group"], strict=True)) == {(name, f"{name}/0") for name in names.values()}


def test_one_class_needs_no_condition(runs, tmp_path):
    out, made = write(runs("dcgan", classes="bird", batch_size=4, hold_out=0.0, per_class=20), tmp_path / "out")
    assert made == 5
    assert {row["label"] for row in manifest(out)} == {"bird"}
