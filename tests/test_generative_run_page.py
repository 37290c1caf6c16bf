"""The page of generative runs: what is there is shown, pictures are described, several runs stand side by side."""

import json
import re
import shutil
from pathlib import Path

import pytest

from competition.errors import UserError
from competition.generative.interpolate import interpolate
from competition.generative.run_page import write_report
from competition.generative.settings import InterpolateSettings
from competition.runs import read_json, write_json
from tests.generative_data import trained

STANDING = {"macro_f1": 0.5, "interval": {"low": 0.4, "high": 0.6}, "difference": None}
CHANGE = {"name": "bird", "before": 0.5, "after": 0.75, "interval": {"low": 0.1, "high": 0.3}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = {}
    for name, weight in (("one", 0.01), ("two", 0.5)):
        folder = trained("vae", tmp_path_factory.mktemp(name), kl_weight=weight)
        made[name] = folder.rename(folder.with_name(name))
    return made


def measured_and_judged(folder):
    sheet = next((folder / "sheets").glob("*.png"))
    (folder / "measured").mkdir()
    (folder / "measured" / "neighbours.png").write_bytes(sheet.read_bytes())
    measured = {
        "against": "real birds",
        "FD[net]": 12.5,
        "images": 60,
        "per_class": {"<b>bird</b>": {"images": 50, "KD[net]": 0.25}},
        "nearest training images": {"verdict": "new: far enough"},
        "notes": ["mostly bias"],
    }
    write_json(folder / "measured" / "measure.json", measured)
    both = {**STANDING, "difference": {"macro_f1": 0.125, "classes": [CHANGE]}}
    judged = {"real": STANDING, "generated": STANDING, "both": both, "verdict": "they help", "notes": ["and so on"]}
    write_json(folder / "judged" / "judge.json", judged)


def test_a_run_that_was_only_trained(runs):
    page = write_report([runs["one"]], None)
    assert page == runs["one"] / "report.html"
    text = page.read_text()
    assert f">{read_json(runs['one'] / 'result.json')['diversity']:.4f}</td>" in text
    assert "Samples" in text
    assert "Losses" in text
    assert "Memorised" not in text
    assert "classifier" not in text


def test_everything_that_is_there_is_shown(runs, tmp_path):
    measured_and_judged(runs["two"])
    text = write_report([runs["two"], runs["one"]], tmp_path / "page.html").read_text()
    for words in ("12.5", "real birds", "they help", "new: far enough", "mostly bias", "and so on", "0.125"):
        assert words in text
    assert "<b>bird</b>" not in text  # a class may be named like a tag
    assert "&lt;b&gt;bird&lt;/b&gt;" in text
    assert "kl_weight" in text  # the setting that differs
    assert ">latent<" not in text
    pictures = re.findall(r"<img src=[^>]*>", text)
    assert len(pictures) == 7  # two sheets and the losses of each, and the neighbours of one
    assert all(re.search(r'alt="[^"]+"', picture) for picture in pictures)
    assert "http://" not in re.sub(r"http://www\.w3\.org\S*", "", text)


def test_figures_of_an_earlier_model_are_left_out(runs, tmp_path):
    folder = shutil.copytree(runs["one"], tmp_path / "again")
    measured_and_judged(folder)
    for name in ("measured/measure.json", "judged/judge.json"):
        for generator, is_shown in ((read_json(folder / "generator.json")["sha256"], True), ("another", False)):
            write_json(folder / name, {**read_json(folder / name), "generator": generator})
            text = write_report([folder], tmp_path / "page.html").read_text()
            assert (f"{name} is of an earlier model and left out: {Path(name).stem} again" in text) != is_shown
    assert "12.5" not in text
    assert "they help" not in text


def between(folder, source, target, **changes):
    return interpolate(folder, source, target, InterpolateSettings(frames=2, device="cpu", **changes))


def test_of_an_interpolation_the_page_shows_what_belongs_together(runs, tmp_path):
    folder = shutil.copytree(runs["one"], tmp_path / "again")
    between(folder, "bird", "horse", alpha=0.25, seed=1)
    between(folder, "bird", "horse", alpha=0.5, search=3)
    between(folder, "train/ship/0.png", "bird")
    assert (folder / "interpolation_bird_horse_0.25.png").exists()
    text = write_report([folder], tmp_path / "page.html").read_text()
    captions = re.findall("<figcaption>again: (.*?)</figcaption>", text)
    assert captions == [
        "bird to horse, the best of 3 pairs first",
        "0.5 bird + 0.5 horse",
        "train/ship/0.png to bird",
        "0.4 train/ship/0.png + 0.6 bird",
    ]


def test_an_interpolation_of_an_earlier_model_is_left_out(runs, tmp_path):
    folder = shutil.copytree(runs["one"], tmp_path / "again")
    record = folder / f"{between(folder, 'bird', 'horse').sheet.name}.json"
    write_json(record, {**read_json(record), "generator": "another"})
    text = write_report([folder], tmp_path / "page.html").read_text()
    assert "interpolation_bird_horse.png.json is of an earlier model and left out: interpolate again" in text
    assert "0.4 bird + 0.6 horse" not in text


def test_an_unfinished_run_and_a_collapsed_one_are_told(runs, tmp_path):
    folder = runs["one"]
    before = (folder / "result.json").read_text()
    try:
        collapsed = json.loads(before) | {"is_collapsed": True}
        for kept_step, words in (
            (collapsed["steps"], "are still all alike"),
            (1, "became alike; the model of step 1 "),
        ):
            (folder / "result.json").write_text(json.dumps(collapsed | {"kept_step": kept_step}))
            assert f"its pictures {words}" in write_report([folder], tmp_path / "a.html").read_text()
        (folder / "result.json").write_text(before.replace('"alike_classes": []', '"alike_classes": ["frog"]'))
        assert "one: mode collapse within frog" in write_report([folder], tmp_path / "a.html").read_text()
        (folder / "result.json").unlink()
        assert "one is not finished" in write_report([folder], tmp_path / "b.html").read_text()
    finally:
        (folder / "result.json").write_text(before)


def test_runs_named_alike_are_told_apart_by_their_paths(runs, tmp_path):
    folders = [shutil.copytree(runs["one"], tmp_path / place / "flow") for place in ("a", "b")]
    text = write_report([*folders, runs["two"]], tmp_path / "page.html").read_text()
    heads = re.findall(r"<th[^>]*><button[^>]*>(.*?)</button></th>", text)  # of the settings that differ
    assert [str(folder) in heads for folder in folders] == [True, True]
    assert "two" in heads
    assert "flow" not in heads


def test_a_run_named_by_a_dot_has_the_name_of_its_folder(runs, tmp_path, monkeypatch):
    monkeypatch.chdir(runs["one"])
    assert "<title>one</title>" in write_report([Path()], tmp_path / "page.html").read_text()


def test_refused(runs, tmp_path):
    with pytest.raises(UserError, match=r"ends in .html"):
        write_report([runs["one"]], tmp_path / "page.pdf")
    with pytest.raises(UserError, match="name the folder of a `generate train` run"):
        write_report([tmp_path], None)
    (tmp_path / "settings.yaml").write_text("folds: 5\n")
    write_json(tmp_path / "run.json", {"identity": {"class_names": ["bird", "horse"]}})
    with pytest.raises(UserError, match="is a run of train.py, which classifies"):
        write_report([tmp_path], None)
    with pytest.raises(UserError, match="named twice"):
        write_report([runs["one"], runs["one"]], None)
