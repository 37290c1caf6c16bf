"""Paths between classes, images and files."""

import re

import cv2
import numpy as np
import pytest
import torch

from competition.errors import UserError
from competition.generative import interpolate as module
from competition.generative.interpolate import choose_method, interpolate
from competition.generative.latents import lerp, slerp
from competition.generative.sampling import counted_noise
from competition.generative.settings import InterpolateSettings
from competition.runs import read_json
from tests.generative_data import SIZE, Painter, colour_of, trained


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return {name: trained(name, tmp_path_factory.mktemp(name)) for name in ("acai", "vae", "dcgan", "flow")}


@pytest.mark.parametrize("model", ["acai", "vae", "dcgan", "flow"])
def test_the_best_of_many_pairs_comes_first(model, runs, tmp_path):
    settings = InterpolateSettings(search=70, frames=3, out=tmp_path / "paths.png")
    done = interpolate(runs[model], "bird", "horse", settings)
    scores = [score for _, _, score in done.pairs]
    assert len(scores) == 70
    assert scores == sorted(scores, reverse=True)
    sheet, picture = cv2.imread(str(done.sheet)), cv2.imread(str(done.picture))
    columns = 3 + 2 * (model in ("acai", "vae"))
    zoom = 4
    assert sheet.shape[:2] == (zoom * (4 * (SIZE + 2) + 2), zoom * (columns * (SIZE + 2) + 2))
    assert picture.shape == (SIZE * 8, SIZE * 8, 3)
    assert done.picture.name == "paths_0.4.png"
    again = interpolate(runs[model], "bird", "horse", settings)
    assert again.pairs == done.pairs


@pytest.fixture
def painter(monkeypatch):
    model = Painter()
    monkeypatch.setattr(module, "open_generator", lambda folder, device, changes: (model, model.described))
    return model


def drawn(pairs):
    """The latents of both ends, whose seeds their names tell."""
    ends = zip(*[pair[:2] for pair in pairs], strict=True)
    return [counted_noise([int(re.search(r"seed (\d+)", name)[1]) for name in names], (2,)) for names in ends]


def test_pairs_are_scored_and_the_best_is_drawn_at_the_share_that_is_asked_for(painter, tmp_path):
    settings = InterpolateSettings(search=5, alpha=0.3, device="cpu", out=tmp_path / "paths.png")
    done = interpolate(tmp_path, "horse", "ship", settings)
    mixed = slerp(*drawn(done.pairs), 0.3)
    assert [pair[2] for pair in done.pairs] == pytest.approx(painter.realism(mixed, None).tolist())
    assert colour_of(done.picture) == painter.colour(mixed[0], 0.3 * 1 + 0.7 * 2)


def test_the_rows_are_paths_from_the_first_end_to_the_second_the_best_pair_on_top(painter, tmp_path):
    settings = InterpolateSettings(search=6, frames=3, device="cpu", out=tmp_path / "paths.png")
    done = interpolate(tmp_path, "horse", "ship", settings)
    first, second = drawn(done.pairs[:4])
    columns = [(first, 1), (slerp(first, second, 0.5), 1.5), (second, 2)]
    sheet = cv2.imread(str(done.sheet))[..., ::-1]
    cell = 4 * (SIZE + 2)  # the sheet is enlarged by 4
    found = [[sheet[cell * row + 24, cell * column + 24].tolist() for column in range(3)] for row in range(4)]
    assert found == [[painter.colour(latents[row], label) for latents, label in columns] for row in range(4)]


def test_both_ends_have_noise_of_their_own(painter, tmp_path):
    settings = InterpolateSettings(search=5, device="cpu", out=tmp_path / "paths.png")
    first, second = drawn(interpolate(tmp_path, "horse", "horse", settings).pairs)
    assert len({*first[:, 0].tolist(), *second[:, 0].tolist()}) == 10


def test_noise_takes_the_arc_and_encoded_pictures_the_straight_line():
    model = Painter()
    assert choose_method("auto", model) is slerp
    assert choose_method("lerp", model) is lerp
    model.has_encoder = True
    assert choose_method("auto", model) is lerp
    assert choose_method("slerp", model) is slerp


def test_alpha_is_the_share_of_the_first_end(runs, tmp_path):
    made = {}
    for alpha in (0.0, 0.4, 1.0):
        settings = InterpolateSettings(alpha=alpha, out=tmp_path / "x.png")
        done = interpolate(runs["vae"], "train/bird/0.png", "train/horse/0.png", settings)
        made[alpha] = cv2.imread(str(done.picture)).astype(int)
    same = interpolate(
        runs["vae"], "train/horse/0.png", "train/horse/0.png", InterpolateSettings(out=tmp_path / "y.png")
    )
    np.testing.assert_allclose(made[0.0], cv2.imread(str(same.picture)).astype(int), atol=1)
    assert np.abs(made[1.0] - made[0.0]).max() > 0


def test_an_image_file_of_another_size_is_an_end(runs, tmp_path):
    cv2.imwrite(str(tmp_path / "mine.png"), np.full((20, 30, 3), 200, np.uint8))
    settings = InterpolateSettings(search=2, out=tmp_path / "paths.png")
    done = interpolate(runs["acai"], str(tmp_path / "mine.png"), "ship", settings)
    assert [pair[0] for pair in done.pairs] == [str(tmp_path / "mine.png")] * 2


def test_a_file_that_is_no_image_is_refused(runs, tmp_path):
    (tmp_path / "mine.png").write_text("words")
    with pytest.raises(UserError, match=r"--from .*mine\.png: not an image: begins with b'words'"):
        interpolate(runs["acai"], str(tmp_path / "mine.png"), "ship", InterpolateSettings())


def test_an_image_file_of_the_same_size_brings_no_warning(runs, tmp_path, recwarn):
    cv2.imwrite(str(tmp_path / "mine.png"), np.full((SIZE, SIZE, 3), 200, np.uint8))
    torch.set_warn_always(True)  # else once in a process, which may have been before
    try:
        interpolate(runs["acai"], str(tmp_path / "mine.png"), "ship", InterpolateSettings(out=tmp_path / "paths.png"))
    finally:
        torch.set_warn_always(False)
    assert not [str(warning.message) for warning in recwarn if "not writable" in str(warning.message)]


@pytest.mark.parametrize(
    ("model", "source", "said"),
    [
        ("acai", "brid", r"--from brid: no class, image or file of that name \(did you mean 'bird'\?\)"),
        ("dcgan", "brid", r"--from brid: dcgan: it knows no such class \(did you mean 'bird'\?\); .*, or sample: "),
        ("flow", __file__, "it has no encoder for images"),
    ],
)
def test_ends_that_do_not_exist(runs, model, source, said):
    with pytest.raises(UserError, match=said):
        interpolate(runs[model], source, "horse", InterpolateSettings())


@pytest.mark.parametrize("model", ["dcgan", "vae"])
def test_two_drawn_latents_are_ends_of_a_model_that_was_told_no_classes(model, tmp_path):
    run = trained(model, tmp_path, unconditional=True)
    done = interpolate(run, "sample", "sample", InterpolateSettings(search=3, frames=3))
    assert done.sheet.name == "interpolation_sample_sample.png"
    ends = [name for pair in done.pairs for name in pair[:2]]
    assert len(set(ends)) == 6
    assert all(name.startswith("sample (seed ") for name in ends)
    assert cv2.imread(str(done.picture)).shape == (SIZE * 8, SIZE * 8, 3)


def test_a_drawn_latent_of_a_model_that_was_told_the_classes_names_its_own(runs, tmp_path):
    settings = InterpolateSettings(search=20, out=tmp_path / "paths.png")
    done = interpolate(runs["dcgan"], "sample", "horse", settings)
    assert {first.split()[0] for first, _, _ in done.pairs} == {"bird", "horse", "ship"}
    assert {second.split()[0] for _, second, _ in done.pairs} == {"horse"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bird", "--from bird: the model was not told the classes: name sample: a picture of any class"),
        ("simple", r"it knows no such class \(did you mean 'sample'\?\); name sample: a picture of any class"),
    ],
)
def test_a_model_without_classes_has_no_class_to_begin_from(text, said, tmp_path):
    run = trained("flow", tmp_path, unconditional=True)
    with pytest.raises(UserError, match=said):
        interpolate(run, text, "horse", InterpolateSettings())


def test_a_picture_that_was_kept_out_of_the_training_may_be_named(tmp_path):
    run = trained("acai", tmp_path, per_class=12, hold_out=0.3)
    kept_out = (run / "held_out.csv").read_text().split()[1]
    done = interpolate(run, kept_out, "ship", InterpolateSettings(search=2))
    assert done.pairs[0][0] == kept_out


def test_sampling_steps_of_another_model_are_refused(runs):
    with pytest.raises(UserError, match="--sampling-steps is for flow; --model vae has no use for it"):
        interpolate(runs["vae"], "bird", "ship", InterpolateSettings(sampling_steps=9))


def test_ends_that_look_alike_in_a_file_name_have_sheets_of_their_own(runs):
    pairs = [("train/bird/0.png", "train/bird/1.png"), ("train/ship/0.png", "train/ship/1.png"), ("bird", "ship")]
    sheets = [interpolate(runs["vae"], *pair, InterpolateSettings(frames=2)).sheet.name for pair in pairs]
    assert re.fullmatch("interpolation_train-bird-0-png-[0-9a-f]{6}_train-bird-1-png-[0-9a-f]{6}.png", sheets[0])
    assert sheets[0] != sheets[1]
    assert sheets[2] == "interpolation_bird_ship.png"
    assert len({module._safe(text) for text in ("a/b", "a-b", "a_b", "a.b", "a b")}) == 5
    assert len({module._safe(letter + "/long" * 20) for letter in "ab"}) == 2


def test_what_both_pictures_were_made_with_lies_beside_them(painter, tmp_path):
    settings = InterpolateSettings(search=5, alpha=0.3, seed=7, device="cpu", out=tmp_path / "paths.png")
    done = interpolate(tmp_path, "horse", "ship", settings)
    made = read_json(tmp_path / "paths.png.json")
    assert [made[name] for name in ("generator", "from", "to", "method")] == ["painted", "horse", "ship", "slerp"]
    assert [made[name] for name in ("sheet", "picture")] == [done.sheet.name, done.picture.name]
    assert [made["settings"][name] for name in ("alpha", "seed", "search")] == [0.3, 7, 5]
    assert [tuple(pair) for pair in made["pairs"]] == done.pairs[:4]


def test_pictures_that_are_exchanged_belong_together_only_when_both_are_there(painter, tmp_path, monkeypatch):
    settings = InterpolateSettings(device="cpu", out=tmp_path / "paths.png")
    interpolate(tmp_path, "horse", "ship", settings)

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "enlarge", stop)
    with pytest.raises(KeyboardInterrupt):
        interpolate(tmp_path, "horse", "ship", settings.replace(seed=1))
    assert not (tmp_path / "paths.png.json").exists()


def test_a_run_of_something_else_is_refused(tmp_path):
    (tmp_path / "fold_0").mkdir()
    with pytest.raises(UserError, match=r"it holds a classifier's run\); name the folder of a `generate train` run"):
        interpolate(tmp_path, "bird", "horse", InterpolateSettings())
