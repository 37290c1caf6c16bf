"""The single pictures: each by its command, and every wrong request refused in words."""

import shutil
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from competition.__main__ import main
from competition.analysis import extras
from competition.analysis.look import _subject_of_row
from competition.cli import run_command
from competition.predictions import load_predictions
from tests.finished_run import HOSTILE, SIDE, finished_run  # noqa: F401

TILE = 96  # pixels: a picture of 32 px is shown three times as large


def picture_of(path):
    return cv2.imread(str(path))


@pytest.mark.parametrize("what", ["occlusion", "cam", "gradients"])
def test_a_map_lies_beside_the_image(what, finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    out = tmp_path / "look.png"
    assert main(["look", str(run), "--what", what, "--image", "train04.png", "--out", str(out), *cache]) == 0
    assert picture_of(out).shape == (TILE, 2 * TILE + 2, 3)
    said = capsys.readouterr().out
    assert f"{what} of train04.png for blue & green" in said
    folds = load_predictions(run / "oof.npz")
    fold = folds.folds[folds.image_ids.tolist().index("train04.png")]
    assert said.strip().endswith(f"network of fold {fold}")


def test_activations_have_the_input_at_the_top_and_rows_of_eight(finished_run, tmp_path):  # noqa: F811
    run, cache = finished_run
    out = tmp_path / "look.png"
    main(["look", str(run), "--what", "activations", "--image", HOSTILE, "--layer", "stem", "--out", str(out), *cache])
    sheet = picture_of(out)
    assert sheet.shape == (TILE + 6 + 2 * TILE + 2, 8 * (TILE + 2) - 2, 3)
    data = np.fromfile(run.parent.parent / "data" / "images" / HOSTILE, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert (sheet[1:TILE:3, 1:TILE:3] == image).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--target", "red"], "what the network takes for red"),
        (["--layer", "stem"], "16 of 32 filters of stem, evenly spaced, the most excited first"),
        (["--layer", "stem.0"], "16 of 32 filters of stem.0, evenly spaced, the most excited first"),
    ],
)
def test_dreams_of_a_class_and_of_filters(words, said, finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    assert main(["look", str(run), "--what", "dream", *words, "--out", str(tmp_path / "look.png"), *cache]) == 0
    assert said in capsys.readouterr().out


def test_a_test_image_and_a_file_of_ones_own_go_to_fold_zero(finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    cv2.imwrite(str(tmp_path / "own.png"), np.full((50, 40, 3), 90, np.uint8))
    for image in ("test03.png", str(tmp_path / "own.png")):
        flags = ["--what", "cam", "--image", image, "--out", str(tmp_path / "look.png"), *cache]
        assert main(["look", str(run), *flags]) == 0
        said = capsys.readouterr().out
        assert "true" not in said
        assert said.strip().endswith("fold 0")


@pytest.fixture
def always_warning():
    torch.set_warn_always(True)  # else once per process
    yield
    torch.set_warn_always(False)


@pytest.mark.filterwarnings("error:.*not writable")
def test_a_file_of_the_networks_size_is_looked_at_without_a_warning(finished_run, tmp_path, always_warning):  # noqa: F811
    run, cache = finished_run
    cv2.imwrite(str(tmp_path / "own.png"), np.full((SIDE, SIDE, 3), 90, np.uint8))
    flags = ["--what", "cam", "--image", str(tmp_path / "own.png"), "--out", str(tmp_path / "look.png")]
    assert main(["look", str(run), *flags, *cache]) == 0


def test_an_image_kept_out_of_the_folds_has_its_label():
    table = pd.DataFrame({"label": ["red", None, "unknown"], "split": "val"})
    source = SimpleNamespace(
        member=SimpleNamespace(settings=SimpleNamespace(holdout=True)),
        catalog=SimpleNamespace(table=table),
        store=SimpleNamespace(facts=pd.DataFrame({"error": [""] * 3})),
        pictures=lambda rows: np.zeros((1, 4, 4, 3), np.uint8),
        rows=np.array([7]),
        class_names=("green", "red"),
    )
    subjects = [_subject_of_row(source, "x", row) for row in range(3)]
    assert [subject.label for subject in subjects] == ["red", None, None]
    assert not any(subject.is_in_folds for subject in subjects)


def test_a_network_that_did_not_hold_the_image_out_is_told_of(finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    held_out = [load_predictions(run / f"fold_{fold}" / "predictions.npz").image_ids[0] for fold in (0, 1)]

    def said(image, *words):
        look = ["look", str(copy), "--what", "cam", "--image", image, *words, "--out", str(tmp_path / "look.png")]
        assert main([*look, *cache]) == 0
        return capsys.readouterr().out.strip().rpartition("network of ")[2]

    warning = ", which did not hold this image out and may have learned it by heart"
    assert [said(image) for image in held_out] == ["fold 0", "fold 1"]
    assert said(held_out[0], "--fold", "1") == f"fold 1{warning}"
    assert said("test03.png", "--fold", "1") == "fold 1"
    shutil.rmtree(copy / "fold_1")  # not finished
    assert [said(image) for image in held_out] == ["fold 0", f"fold 0{warning}"]


def test_a_training_image_named_by_its_path_is_the_same_as_by_its_id(finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    path = run.parent.parent / "data" / "images" / "train07.png"
    (tmp_path / "linked").symlink_to(path.parent)
    (tmp_path / "worst.png").symlink_to(path)
    spelled = [path, path.parent / ".." / "images" / path.name, tmp_path / "linked" / path.name, tmp_path / "worst.png"]
    for image in ("train07.png", *spelled):
        main(["look", str(run), "--what", "cam", "--image", str(image), "--out", str(tmp_path / "look.png"), *cache])
    assert len(set(capsys.readouterr().out.splitlines())) == 1


REFUSED = [
    (["--what", "cam"], "--image is missing"),
    (["--image", "train04.png"], "--what is missing"),
    (["--what", "can", "--image", "train04.png"], "did you mean 'cam'"),
    (["--what", "cam", "--image", "train4.png"], "'train4.png': neither an id in"),
    (["--what", "cam", "--image", "train4.png"], "did you mean 'train"),
    (
        ["--what", "cam", "--image", "train04.png", "--target", "rad"],
        "'rad' is no class of this run (did you mean 'red'?)",
    ),
    (
        ["--what", "dream", "--target", "cat"],
        "no class of this run; classes: <script>alert(1)</script>, blue & green, red",
    ),
    (["--what", "cam", "--image", "train04.png", "--fold", "7"], "no finished fold 7; finished: 0, 1"),
    (["--what", "cam", "--image", "train04.png", "--layer", "stim"], "no layer 'stim' (did you mean 'stem'?)"),
    (["--what", "dream", "--layer", "stim"], "no layer 'stim' (did you mean 'stem'?)"),
    (["--what", "dream", "--image", "train04.png"], "dream begins from noise"),
    (["--what", "dream", "--layer", "stem", "--target", "red"], "leave one out"),
    (["--what", "occlusion", "--image", "train04.png", "--layer", "stem"], "leave --layer out"),
    (["--what", "activations", "--image", "train04.png", "--target", "red"], "leave --target out"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED)
def test_refusals(words, message, finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    code, said = refusal(["look", str(run), *words, "--out", str(tmp_path / "look.png"), *cache], capsys)
    assert code == 2
    assert message in said
    assert not (tmp_path / "look.png").exists()


def refusal(words, capsys):
    with pytest.raises(SystemExit) as end:
        run_command(main, words)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize("verb", ["look", "report"])
def test_help_says_that_the_data_is_that_of_the_run(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb, "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "without it, the data of the run" in said
    assert "embedded sample" not in said


def test_the_output_must_be_a_png(finished_run, capsys):  # noqa: F811
    run, cache = finished_run
    _, said = refusal(["look", str(run), "--what", "dream", "--out", "look.jpg", *cache], capsys)
    assert "--out: name the picture to write, such as look.png" in said


def test_a_damaged_file_is_named(finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = ["look", str(run), "--what", "cam", "--image", str(tmp_path / "bad.png"), "--out", str(tmp_path / "o.png")]
    _, said = refusal([*words, *cache], capsys)
    assert "bad.png: not an image" in said


def test_a_fold_without_weights_is_named(finished_run, tmp_path, capsys):  # noqa: F811
    run, cache = finished_run
    shutil.copytree(run, tmp_path / "copy")
    for path in (tmp_path / "copy").glob("fold_*/model.safetensors"):
        path.unlink()
    words = ["look", str(tmp_path / "copy"), "--what", "dream", "--out", str(tmp_path / "o.png"), *cache]
    _, said = refusal(words, capsys)
    assert "fold_0 has no weights (model.safetensors): they were deleted, or it is a trial tuned" in said


def test_gradients_without_captum_say_what_to_install(finished_run, tmp_path, capsys, monkeypatch):  # noqa: F811
    run, cache = finished_run
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    words = [
        "look",
        str(run),
        "--what",
        "gradients",
        "--image",
        "train04.png",
        "--out",
        str(tmp_path / "o.png"),
        *cache,
    ]
    code, said = refusal(words, capsys)
    assert code == 2
    assert "captum, which is not installed: pip install -e '.[analysis]'" in said
