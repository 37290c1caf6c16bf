"""The judge: three trainings on the same folds, real images alone are predicted, and what the verdict says of them."""

import json
import re
import time

import cv2
import numpy as np
import pytest
from sklearn.metrics import f1_score

from competition.comparison import Contender, compare
from competition.errors import UserError
from competition.folds import held_out
from competition.judging.arms import ARMS, JoinedImages
from competition.judging.judge import in_words, judge, open_contest, verdict
from competition.judging.settings import JudgeSettings
from competition.predictions import Predictions, load_predictions
from competition.stop import Stop, Stopped
from tests.conftest import ArrayImages
from tests.tiny_data import CLASSES, write_tiny_data

pytestmark = pytest.mark.usefixtures("no_probe")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("judge")
    write_tiny_data(root / "real", per_class=20, size=16, test=0)
    write_generated(root / "generated")
    return root


def write_generated(folder, classes=CLASSES, per_class=5, size=16):
    rng = np.random.default_rng(7)
    for place, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            picture = rng.integers(0, 180, (size, size, 3), dtype=np.uint8)
            picture[..., place % 3] += 70
            cv2.imwrite(str(folder / name / f"{number}.png"), picture)
    return folder


def settings_of(place, monkeypatch, tmp_path, **changes):
    monkeypatch.chdir(tmp_path)  # the fold table is made below it
    values = {"data": place / "real", "cache_dir": place / "cache", "model": "plain_cnn", "precision": "fp32"}
    return JudgeSettings(**{**values, "epochs": 1, "folds": 2, **changes})


def test_two_stores_read_as_one(pictures):
    joined = JoinedImages(ArrayImages(pictures[:10]), ArrayImages(pictures[10:]), 10)
    for rows in ([1, 2], [11, 39], [12, 0, 39, 9, 10]):
        assert (joined.gather(np.array(rows)) == pictures[rows]).all()


def test_all_trainings_have_the_same_folds_steps_and_real_images_to_predict(place, monkeypatch, tmp_path):
    settings = settings_of(place, monkeypatch, tmp_path)
    contest, material, generated = open_contest(place / "generated", settings, tmp_path / "out")
    for fold in range(2):
        jobs = {arm: contest.job(arm, fold) for arm in ARMS}
        expected = material.data.image_ids[held_out(material.folds, fold, 2)].tolist()
        for arm, job in jobs.items():
            assert job.data.image_ids[job.valid_rows].tolist() == expected
            assert job.batch_size == 32
            assert job.settings.steps == contest.settings.steps == 1  # 30 images to train on
            assert job.folder == tmp_path / "out" / arm / f"fold_{fold}"
        counts = {arm: len(job.targets()) for arm, job in jobs.items()}
        assert counts == {"real": 30, "generated": 15, "both": 45}
    assert generated.copies == 0


def test_a_generated_picture_named_like_a_real_one_is_another_picture(place, monkeypatch, tmp_path):
    settings = settings_of(place, monkeypatch, tmp_path)
    contest, material, _ = open_contest(place / "real", settings, tmp_path / "out")
    assert len(contest.generated.keys) == len(material.data.keys)
    assert not {*contest.generated.keys.tolist()} & {*material.data.keys.tolist()}


def test_generated_pictures_keep_their_labels(place, monkeypatch, tmp_path):
    """The classes are told apart by their brightest channel: blue, green, red are OpenCV's 0, 1, 2."""
    contest, _, _ = open_contest(place / "generated", settings_of(place, monkeypatch, tmp_path), tmp_path / "out")
    job = contest.job("generated", 0)
    for pictures, positions in job.training_loader().epoch():
        brightest = pictures.float().mean(dim=(1, 2)).argmax(dim=1).numpy()  # of RGB
        assert (job.targets()[positions.numpy()].argmax(axis=1) == 2 - brightest).all()


def test_judging_end_to_end(place, monkeypatch, tmp_path):
    settings = settings_of(place, monkeypatch, tmp_path)
    out = tmp_path / "out"
    findings = judge(place / "generated", None, settings, out)
    assert findings["images"] == {"real": 60, "generated": 15, "scored": 60}
    assert json.loads((out / "judge.json").read_text())["verdict"] == findings["verdict"]
    assert any("is not known" in note for note in findings["notes"])
    assert any("alone they train in steps of 15 images each" in note for note in findings["notes"])
    said = in_words(findings)
    assert re.search(r"steps? of up to \d+ images each", said)
    for arm in ARMS:
        assert len(load_predictions(out / arm / "oof.npz").image_ids) == 60
        assert f"\n{arm}" in said
    weights = {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")}
    assert len(weights) == 6
    assert judge(place / "generated", None, settings, out)["verdict"] == findings["verdict"]
    assert {path: path.stat().st_mtime_ns for path in out.rglob("model.safetensors")} == weights  # nothing anew
    with pytest.raises(UserError, match=r"epochs: 1 then, 2 now"):
        judge(place / "generated", None, settings.replace(epochs=2), out)
    with pytest.raises(UserError, match="generated_hash"):
        judge(place / "generated", None, settings.replace(per_class=2), out)


def test_a_deadline_saves_and_the_same_call_goes_on(place, monkeypatch, tmp_path):
    settings = settings_of(place, monkeypatch, tmp_path)
    with pytest.raises(Stopped):
        judge(place / "generated", None, settings, tmp_path / "out", stop=Stop(time.perf_counter() - 1))
    assert not (tmp_path / "out" / "judge.json").exists()
    assert judge(place / "generated", None, settings, tmp_path / "out")["images"]["scored"] == 60


@pytest.mark.parametrize(
    ("count", "scored", "said"),
    [
        (50, 50, "the 50 images that the generator was not trained on"),
        (10, 60, "it left 10 images out, too few to score on (50 are needed): train it with a larger --hold-out"),
        (0, 60, "may give them away: train it with --hold-out"),
    ],
)
def test_images_the_generator_never_saw_are_scored_where_there_are_enough(
    count, scored, said, place, monkeypatch, tmp_path
):
    settings = settings_of(place, monkeypatch, tmp_path)
    _, material, _ = open_contest(place / "generated", settings, tmp_path / "out")
    unseen = material.data.image_ids[:count].tolist()
    findings = judge(place / "generated", unseen, settings, tmp_path / "out")
    assert findings["images"]["scored"] == scored
    assert any(said in note for note in findings["notes"])
    for arm in ARMS:
        pooled = load_predictions(tmp_path / "out" / arm / "oof.npz")
        rows = np.isin(pooled.image_ids, unseen) | (scored == 60)
        expected = f1_score(pooled.labels[rows], pooled.probabilities[rows].argmax(axis=1), average="macro")
        assert findings[arm]["macro_f1"] == pytest.approx(expected)


def test_a_folder_that_is_not_there_is_told_before_any_work(place, monkeypatch, tmp_path):
    settings = settings_of(place, monkeypatch, tmp_path, cache_dir=tmp_path / "cache")
    with pytest.raises(UserError, match="nowhere"):
        open_contest(tmp_path / "nowhere", settings, tmp_path / "out")
    assert not any(tmp_path.iterdir())  # nothing decoded, no fold table


@pytest.mark.parametrize("resize", [None, "crop"])
def test_real_and_generated_pictures_become_square_alike(resize, place, monkeypatch, tmp_path):
    settings = settings_of(place, monkeypatch, tmp_path, resize=resize)
    contest, _, _ = open_contest(place / "generated", settings, tmp_path / "out")
    assert contest.preprocessing.resize == contest.settings.resize == (resize or "squash")
    with pytest.raises(UserError, match=r"choose another --out"):
        open_contest(place / "generated", settings.replace(epochs=3), tmp_path / "out")


def test_copies_and_missing_classes_are_noted(place, monkeypatch, tmp_path):
    generated = write_generated(tmp_path / "generated", classes=CLASSES[:2])
    picture = next((place / "real" / "train" / "blue").glob("*.png"))
    (generated / "blue" / "copy.png").write_bytes(picture.read_bytes())
    findings = judge(generated, None, settings_of(place, monkeypatch, tmp_path), tmp_path / "out")
    assert any(note.endswith("1 of the generated ones") for note in findings["notes"])
    assert "classes without generated images: red" in findings["notes"]


def test_generated_images_are_cut_to_so_many_of_a_class(place, monkeypatch, tmp_path):
    settings = settings_of(place, monkeypatch, tmp_path, per_class=2)
    _, _, generated = open_contest(place / "generated", settings, tmp_path / "out")
    assert np.bincount(generated.labels).tolist() == [2, 2, 2]


def test_classes_that_the_real_data_does_not_have_are_refused(place, monkeypatch, tmp_path):
    generated = write_generated(tmp_path / "generated", classes=("blue", "gren"))
    with pytest.raises(UserError, match=r"classes that the real images do not have: 'gren' \(did you mean 'green'\?\)"):
        judge(generated, None, settings_of(place, monkeypatch, tmp_path), tmp_path / "out")


def test_images_that_cannot_be_read_are_refused_or_left_out(place, monkeypatch, tmp_path):
    generated = write_generated(tmp_path / "generated")
    (generated / "blue" / "0.png").write_bytes(b"no image")
    settings = settings_of(place, monkeypatch, tmp_path)
    with pytest.raises(UserError, match=r"1 image cannot be read: blue/0.png"):
        open_contest(generated, settings, tmp_path / "out")
    _, _, kept = open_contest(generated, settings.replace(on_bad="skip"), tmp_path / "out")
    assert len(kept.labels) == 14


@pytest.mark.parametrize(
    ("values", "said"),
    [({"folds": 1}, "--folds 1"), ({"model": "resnet_fasd"}, "did you mean 'resnet_fast'"), ({"epochs": 0}, "epochs")],
)
def test_refused(values, said, place, monkeypatch, tmp_path):
    with pytest.raises(UserError, match=said):
        judge(place / "generated", None, settings_of(place, monkeypatch, tmp_path, **values), tmp_path / "out")


def decided(right):
    """Predictions of 400 images of two classes; ``right`` says of each class which share of it is right."""
    labels = np.arange(400) % 2
    rank = np.arange(400) // 2
    guess = np.where(rank < 200 * np.take(right, labels), labels, 1 - labels)
    ids = np.array([f"{number:03}" for number in range(400)])
    return Predictions(ids, ("cat", "dog"), np.eye(2, dtype=np.float32)[guess], labels, rank % 2)


@pytest.mark.parametrize(
    ("real", "both", "said"),
    [
        ((0.7, 0.7), (0.9, 0.9), "generated images help: macro F1 0.700 on real images, 0.900 on both (+0.200"),
        ((0.9, 0.9), (0.7, 0.7), "generated images hurt"),
        ((0.7, 0.7), (0.7, 0.7), "make no difference that these images could show"),
        ((0.9, 0.5), (0.5, 0.5), "they hurt cat (-0.250), dog (-0.125) and help no class"),
    ],
)
def test_the_verdict(real, both, said):
    contenders = [Contender(arm, decided(right)) for arm, right in zip(ARMS, (real, (0.5, 0.5), both), strict=True)]
    assert said in verdict(compare(contenders))


def test_the_verdict_says_what_generated_images_are_worth_alone():
    shares = [(0.8, 0.8), (0.6, 0.6), (0.8, 0.8)]
    contenders = [Contender(arm, decided(right)) for arm, right in zip(ARMS, shares, strict=True)]
    said = verdict(compare(contenders))
    assert "alone they give 0.600, 75% of what real images give" in said
    assert "they hurt no class for certain and help no class for certain (0.1 of 2 classes" in said
