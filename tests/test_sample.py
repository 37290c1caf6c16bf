"""The embedded competition: complete, repeatable, with something for the checks to find."""

import hashlib
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

from competition.data import sample
from competition.data.cache import open_images
from competition.data.catalog import open_catalog
from competition.data.checks import check
from competition.data.csvfile import read_csv
from competition.data.sample import SHAPES, draw, render_sample, sample_truth
from competition.errors import UserError
from tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_sample(tmp_path_factory.mktemp("sample") / "sample")


def digest(folder: Path) -> str:
    names = sorted(path for path in folder.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(bytes(p.relative_to(folder)) + p.read_bytes() for p in names)).hexdigest()


def test_is_a_whole_competition(folder: Path) -> None:
    catalog = open_catalog(folder)
    assert catalog.problems == []  # the truth is hidden, every file is named
    assert len(catalog.class_names) == 12
    assert len(catalog.of("train")) == 2407
    assert len(catalog.of("test")) == 601
    truth = read_csv(str(sample_truth(folder)))
    assert truth.column("image_id", "") == catalog.submission_ids
    assert set(truth.column("label", "")) == set(catalog.class_names)


def test_checks_have_something_to_say(folder: Path, tmp_path: Path) -> None:
    catalog = open_catalog(folder)
    store = open_images(catalog.table, image_size=32, resize="squash", cache_dir=tmp_path, limit_bytes=1 << 30)
    problems = check(catalog, store.facts, folds=5)
    assert [(problem.kind, len(problem.rows), problem.severity) for problem in problems] == [
        ("truncated image", 1, "error"),
        ("exact duplicates under several labels", 1, "warning"),
        ("exact duplicates in train", 3, "warning"),
        ("exact duplicates in train and test", 1, "warning"),
        ("near duplicates in train", 3, "warning"),
    ]
    assert problems[0].image_ids == ("train_0000.png",)


def test_another_process_draws_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    code = f"from competition.data.sample import *; render_sample(Path({str(tmp_path / 's')!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=True)
    assert digest(tmp_path / "s") == digest(folder)


def test_is_drawn_once_and_renewed_when_older(folder: Path) -> None:
    before = folder.stat().st_ino
    assert render_sample(folder).stat().st_ino == before
    (folder / ".truth" / "version").write_text("0\n")
    assert render_sample(folder).stat().st_ino != before


def test_many_at_once_draw_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []

    def render(folder: Path) -> None:
        drawn.append(folder)
        time.sleep(0.05)
        (folder / ".truth").mkdir()
        (folder / ".truth" / "version").write_text(str(sample.VERSION))

    monkeypatch.setattr(sample, "_render", render)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(render_sample, [tmp_path / "s"] * 4))
    assert len(drawn) == 1


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="holds other files"):
        render_sample(tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep"


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        render_sample(tmp_path / "file" / "sample")


@pytest.mark.parametrize("label", sorted(SHAPES))
def test_shapes(label: str) -> None:
    image = draw(label, [1, 2])
    assert (image.shape, image.dtype) == ((32, 32, 3), np.uint8)
    assert (draw(label, [1, 2]) == image).all()
    assert (draw(label, [1, 3]) != image).any()


def test_a_linear_model_on_pixels_stays_under_one_half() -> None:
    """Logistic regression on grey pixels, the strongest linear model tried, with as many images as the sample."""
    names = sorted(SHAPES)
    images = np.array([[draw(name, [7, index]).mean(axis=2) for index in range(240)] for name in names])
    images = images.reshape(12, 240, -1) / 255 - 0.5
    model = LogisticRegression(C=0.01, max_iter=200)
    model.fit(images[:, :200].reshape(2400, -1), np.repeat(np.arange(12), 200))
    predicted = model.predict(images[:, 200:].reshape(480, -1))
    score = f1_score(np.repeat(np.arange(12), 40), predicted, average="macro")
    assert 0.1 < score < 0.5  # above chance: the labels do belong to the pictures
