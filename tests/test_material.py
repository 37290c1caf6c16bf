"""What is trained on: where the fold table is, whether it keeps groups whole, and a holdout that cannot be scored."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from competition.config import TrainSettings
from competition.data.prepare import find_data
from competition.errors import UserError
from competition.folds import save_folds
from competition.training.material import fold_path, open_folds, open_material, refuse_unusable_holdout, unlike_folds
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({}, "folds/sample-5-seed0.csv"),
        ({"data": "x/cats.zip", "folds": 3, "seed": 2}, "folds/cats-3-seed2.csv"),
        ({"data": "x/cats", "repeats": 2, "holdout": True}, "folds/cats-5-holdout-x2-seed0.csv"),
        ({"fold_file": "mine"}, "folds/mine.csv"),
        ({"fold_file": "mine.v1"}, "folds/mine.v1.csv"),
        ({"fold_file": "tests"}, "folds/tests.csv"),
        ({"fold_file": "there/mine"}, "there/mine"),
        ({"fold_file": "LICENSE"}, "LICENSE"),
        ({"fold_file": "mine.CSV"}, "mine.CSV"),
        ({"fold_file": "there/mine.csv"}, "there/mine.csv"),
    ],
)
def test_where_the_fold_table_is(settings, name, monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert str(fold_path(TrainSettings(**settings))) == name


def test_two_versions_of_the_data_have_fold_tables_of_their_own(tmp_path):
    (tmp_path / "cats.v1").mkdir()
    (tmp_path / "cats.v2.zip").touch()
    names = [fold_path(TrainSettings(data=tmp_path / name)).name for name in ("cats.v1", "cats.v2.zip")]
    assert names == ["cats.v1-5-seed0.csv", "cats.v2-5-seed0.csv"]


@pytest.mark.parametrize(
    ("held_out", "said"), [(set(), "no validation split"), ({"cat", "fox"}, "only the validation split has .*: fox")]
)
def test_a_holdout_that_cannot_be_scored_is_refused(held_out, said):
    with pytest.raises(UserError, match=said):
        refuse_unusable_holdout(held_out, {"cat", "dog"})


def dealt(tmp_path, fold_of, groups, contents, labels=("cat", "cat", "dog", "dog")):
    """Open a fold table made by hand: images a, b, c, d in the given folds; equal contents are duplicates."""
    ids = list("abcd")
    path = tmp_path / "mine.csv"
    folds = {"fold" if n == 0 else f"fold_{n}": numbers for n, numbers in enumerate(fold_of)}
    save_folds(path, pd.DataFrame({"image_id": ids, "label": labels, **folds}))
    table = pd.DataFrame({"image_id": ids, "label": labels, "group": groups, "row": [3, 2, 1, 0]})
    catalog = SimpleNamespace(grouped_by="column 'patient' of train.csv")
    images = SimpleNamespace(groups=lambda table: np.array(contents)[table["image_id"].map(ids.index)], catalog=catalog)
    settings = TrainSettings(fold_file=str(path), folds=2, repeats=len(fold_of))
    return open_folds(settings, images, table)


@pytest.mark.parametrize("fold_of", [[[0, 1, 0, 1]], [[0, 0, 1, 1], [0, 1, 1, 0]]])
def test_a_fold_table_that_parts_a_group_is_refused(tmp_path, fold_of):
    said = r"mine.csv .*1 group of column 'patient' of train.csv: p1\n.*delete it.*--fold-file.*--group-column none"
    with pytest.raises(UserError, match=said):
        dealt(tmp_path, fold_of, ["p1", "p1", None, None], [1, 2, 3, 4])


def test_a_fold_table_that_parts_equal_images_is_warned_of(tmp_path, capsys):
    dealt(tmp_path, [[0, 1, 0, 1]], [None] * 4, [1, 2, 7, 7])
    assert "warning: " in (out := capsys.readouterr().out)
    assert "mine.csv puts duplicates or near duplicates into different folds" in out
    assert "c, d" in out


def test_a_fold_table_that_keeps_groups_whole_is_taken(tmp_path, capsys):
    _, folds = dealt(tmp_path, [[0, 0, 1, 1]], ["p1", "p1", "p2", None], [1, 2, 7, 7], ["cat", "dog", "cat", "dog"])
    assert folds["fold"].tolist() == [0, 0, 1, 1]
    dealt(tmp_path, [[0, 1, 0, 1]], [None] * 4, [1, 2, 3, 4])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("fold_of", "outcome"), [([[0, 1, 1, 1]], "be 0"), ([[0, 1, 0, 1], [0, 1, 1, 1]], "suffer")])
def test_a_fold_table_that_holds_out_the_whole_of_a_class_is_warned_of(tmp_path, capsys, fold_of, outcome):
    dealt(tmp_path, fold_of, [None] * 4, [1, 2, 3, 4])
    out = capsys.readouterr().out
    assert "warning: " in out
    assert out.endswith(
        "puts all images of a class into one fold, whose network learns from none of them, "
        f"so its F1 will {outcome}: dog\n"
    )


@pytest.mark.parametrize(
    ("folds", "images", "is_like"), [("f", "i", True), ("other", "i", False), ("f", "other", False)]
)
def test_an_earlier_run_on_other_folds_or_images_is_told(tmp_path, folds, images, is_like):
    identity = {"class_names": ["cat"], "fold_hash": folds, "images_hash": images}
    (tmp_path / "run.json").write_text(json.dumps({"identity": identity}))
    now = SimpleNamespace(fold_hash="f", images_hash="i", fold_file="mine.csv")
    problems = unlike_folds(tmp_path, now)
    assert problems == [] if is_like else "other folds or images" in problems[0]


def reopened(settings, capsys):
    """What opening the data and its fold table once more prints."""
    open_material(settings, find_data(settings), 16)
    return capsys.readouterr().out


def test_a_new_fold_table_keeps_equal_and_similar_images_and_groups_whole(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        picture = cv2.resize(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
        rows.append((f"{number:02}.png", "ab"[number % 2], f"own{number}"))
        cv2.imwrite(f"{number:02}.png", picture)
    shutil.copy("00.png", "02.png")
    cv2.imwrite("06.png", cv2.resize(cv2.imread("04.png"), (48, 48)))
    table = pd.DataFrame(rows, columns=["image", "label", "patient"])
    table.loc[[8, 9, 11], "patient"] = "same"
    table.to_csv("train.csv", index=False)
    here = str(tmp_path)
    settings = TrainSettings(
        data=Path(), images=Path(), cache_dir=tmp_path / "cache", folds=5, group_column="patient", on_bad="skip"
    )
    material = open_material(settings, find_data(settings), 16)
    assert material.places == {"data": here, "images": here, "fold_file": str(material.fold_file)}
    fold_of = material.folds["fold"].to_numpy()
    for together in ([0, 2], [4, 6], [8, 9, 11]):
        assert len(set(fold_of[together])) == 1
    assert np.bincount(fold_of, minlength=5).min() >= 4
    capsys.readouterr()
    assert "warning: folds" not in reopened(settings, capsys)

    # By hand, the smaller copy of an image lies in another fold.
    material.folds.loc[6, "fold"] = (fold_of[4] + 1) % 5
    save_folds(material.fold_file, material.folds)
    assert "near duplicates into different folds, so the score is flattered: 2 images: 04.png, 06.png" in reopened(
        settings, capsys
    )
