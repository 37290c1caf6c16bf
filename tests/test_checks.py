"""Each kind of problem is found, told once, and weighed: an error or a warning."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from competition.config import CheckSettings
from competition.data.cache import open_images
from competition.data.catalog import Catalog, open_catalog
from competition.data.checks import check, duplicate_groups, format_report
from competition.data.draft import Problem
from competition.data.prepare import report_problems
from competition.verbs.check import main as check_verb

RNG = np.random.default_rng(0)


def noise(size: int = 16, seed: int | None = None) -> Image.Image:
    """Structured, so that hashes mean something: 4 x 4 random colours, enlarged."""
    rng = RNG if seed is None else np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
    return small.resize((size, size), Image.Resampling.BICUBIC)


def make(root: Path, images: dict[str, Image.Image]) -> Path:
    for name, image in images.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(root / name)
    return root


def plain(per_class: int = 6) -> dict[str, Image.Image]:
    return {f"train/{label}/{index}.png": noise() for label in ("a", "b") for index in range(per_class)}


def facts_of(catalog: Catalog, root: Path) -> pd.DataFrame:
    cache_dir = root.parent / "cache"
    return open_images(catalog.table, image_size=16, resize="squash", cache_dir=cache_dir, limit_bytes=1 << 30).facts


def found(root: Path, folds: int = 3) -> dict[str, Problem]:
    catalog = open_catalog(root)
    problems = check(catalog, facts_of(catalog, root), folds=folds)
    assert len({problem.kind for problem in problems}) == len(problems)
    return {problem.kind: problem for problem in problems}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_a_class_without_one_readable_image_is_named(root: Path) -> None:
    make(root, plain())
    for path in (root / "train" / "b").iterdir():
        path.write_bytes(b"")
    assert found(root)["class too small for the folds"].rows == ["b (0)"]
    for path in (root / "train" / "a").iterdir():
        path.write_bytes(b"")
    assert found(root)["class too small for the folds"].rows == ["a (0)", "b (0)"]


def test_a_good_set_has_no_problems(root: Path) -> None:
    make(root, {**plain(), **{f"test/{index}.png": noise() for index in range(6)}})
    assert found(root) == {}
    assert format_report([], open_catalog(root)).endswith("No problems found.")


def test_damaged_training_images_are_errors_and_test_images_warnings(root: Path) -> None:
    make(root, {**plain(), "test/1.png": noise(), "test/2.png": noise()})
    (root / "train/a/0.png").write_bytes(b"")
    (root / "train/a/1.png").write_bytes((root / "train/a/1.png").read_bytes()[:200])
    (root / "train/b/0.png").write_text("<html>")
    (root / "test/1.png").write_bytes(b"")
    catalog = open_catalog(root)
    problems = check(catalog, facts_of(catalog, root), folds=3)
    assert [(p.kind, p.severity, p.image_ids) for p in problems] == [
        ("empty file", "error", ("train/a/0.png",)),
        ("truncated image", "error", ("train/a/1.png",)),
        ("not an image", "error", ("train/b/0.png",)),
        ("empty file", "warning", ()),
    ]
    report = format_report(problems, catalog)
    assert "train/a/0.png (empty: 0 bytes)" in report
    assert report.endswith("3 errors, 1 warning. Mend the files, or leave out 3 images with --on-bad skip.")
    lenient = format_report(problems, catalog, is_strict=False)
    assert lenient.endswith("3 errors, 1 warning; left out of the training: 3 images")


def test_classes_too_small_count_readable_images(root: Path) -> None:
    make(root, {**plain(3), "train/c/1.png": noise(), "train/c/2.png": noise(), "train/c/3.png": noise()})
    assert "class too small for the folds" not in found(root)
    (root / "train/c/3.png").write_bytes(b"")
    problem = found(root)["class too small for the folds"]
    assert (problem.rows, problem.severity, problem.image_ids) == (["c (2)"], "error", ())


FEWER, MORE = "Use fewer folds, or drop them.", "Add images of them, or drop them."


@pytest.mark.parametrize(
    ("sizes", "folds", "told"),
    [
        ({"c": 2}, 3, f"1 label with fewer than 3 readable images. {FEWER}"),
        ({"c": 2, "d": 2}, 3, f"2 labels with fewer than 3 readable images. {FEWER}"),
        ({"c": 2, "d": 1}, 3, f"2 labels with fewer than 3 readable images. {MORE}"),
        ({"c": 1}, 2, f"1 label with fewer than 2 readable images. {MORE}"),
    ],
)
def test_fewer_folds_are_advised_where_they_help(root: Path, sizes: dict[str, int], folds: int, told: str) -> None:
    make(root, {**plain(), **{f"train/{name}/{n}.png": noise() for name, size in sizes.items() for n in range(size)}})
    assert found(root, folds)["class too small for the folds"].message == told


@pytest.mark.parametrize(("other", "folds", "advice"), [(1, 3, FEWER), (0, 3, MORE), (0, 2, MORE)])
def test_copies_that_fill_no_folds_are_told_likewise(root: Path, other: int, folds: int, advice: str) -> None:
    copies = dict.fromkeys(["train/c/1.png", "train/c/2.png", "train/c/3.png"], noise())
    make(root, {**plain(), **copies, **{f"train/c/other{n}.png": noise() for n in range(other)}})
    message = found(root, folds)["class too much alike for the folds"].message
    told = f"1 label with fewer than {folds} separate images, duplicates counted once."
    assert message == f"{told} {advice}"


def test_groups_that_fill_no_folds_are_told_with_their_column(root: Path, capsys) -> None:
    make(root, plain(30))
    lines = [f"train/{label}/{n}.png,{label},vehicle\n" for label in "ab" for n in range(30)]
    (root / "train.csv").write_text("image,label,group\n" + "".join(lines))
    words = [str(root), "--folds", "2", "--cache-dir", str(root.parent / "cache")]
    assert check_verb(words) == 2
    said = (
        "2 labels with fewer than 2 separate images, duplicates and groups (column 'group' of train.csv) counted once"
    )
    assert f"{said}. {MORE} --group-column none takes no groups." in (out := capsys.readouterr().out)
    assert "groups: column 'group' of train.csv (--group-column names another, or none)" in out
    report_problems(CheckSettings(), open_catalog(root), [])  # as a training on good images does
    assert capsys.readouterr().out == "groups: column 'group' of train.csv (--group-column names another, or none)\n"
    assert check_verb([*words, "--group-column", "none"]) == 0
    assert "column" not in capsys.readouterr().out


def test_classes_of_few_separate_images_are_told(root: Path) -> None:
    copy = noise(seed=5)
    make(root, {**plain(3), "train/c/1.png": noise(), "train/c/2.png": copy, "train/c/3.png": copy})
    problem = found(root)["class too much alike for the folds"]
    assert (problem.rows, problem.severity) == (["c (2)"], "error")
    catalog = open_catalog(root)
    problems = check(catalog, facts_of(catalog, root), folds=3, are_dealt=True)
    assert problem.kind not in {problem.kind for problem in problems}


def test_no_training_images(root: Path) -> None:
    make(root, {"test/1.png": noise(), "test/2.png": noise()})
    assert list(found(root)) == ["no training images"]


def test_exact_duplicates(root: Path) -> None:
    twin, torn, across = noise(), noise(), noise()
    images = {
        **plain(),
        "train/a/twin1.png": twin,
        "train/a/twin2.bmp": twin,
        "train/a/torn.png": torn,
        "train/b/torn.png": torn,
        "train/b/across.png": across,
        "test/across.png": across,
    }
    problems = found(make(root, images))
    assert {kind: problem.rows for kind, problem in problems.items()} == {
        "exact duplicates under several labels": ["train/a/torn.png [a] = train/b/torn.png [b]"],
        "exact duplicates in train": ["train/a/twin1.png [a] = train/a/twin2.bmp [a]"],
        "exact duplicates in train and test": ["train/b/across.png [b] = across.png [test]"],
    }
    assert {problem.severity for problem in problems.values()} == {"warning"}


def test_duplicates_across_training_and_validation_flatter_a_holdout_score(root: Path) -> None:
    twin = noise()
    names = ["train/a/x.png", "train/a/y.png", "val/a/z.png"]
    problems = found(make(root, {**plain(), "val/b/new.png": noise(), **dict.fromkeys(names, twin)}))
    (problem,) = problems.values()
    assert problem.kind == "exact duplicates in train and validation"
    assert problem.rows == [" = ".join(f"{name} [a]" for name in names)]
    assert "They flatter a --holdout score" in problem.message


def test_two_training_images_with_a_copy_in_test_are_told_of_as_both(root: Path) -> None:
    names = ["train/a/x.png", "train/a/y.png", "test/z.png"]
    problems = found(make(root, {**plain(), **dict.fromkeys(names, noise())}))
    assert set(problems) == {"exact duplicates in train", "exact duplicates in train and test"}
    assert problems["exact duplicates in train and test"].rows == [
        "train/a/x.png [a] = train/a/y.png [a] = z.png [test]"
    ]


def test_groups_across_training_and_validation_flatter_a_holdout_score(root: Path) -> None:
    make(root, {**plain(), "val/a/1.png": noise(), "val/a/2.png": noise(), "val/b/1.png": noise()})
    groups = ["train/a/0.png,p", "train/a/1.png,p", "val/a/1.png,p", "val/a/2.png,p", "val/b/1.png,q"]
    (root / "manifest.csv").write_text("\n".join(["image_id,group", *groups]))
    (problem,) = found(root).values()
    assert (problem.kind, problem.rows, problem.severity) == ("groups in train and validation", ["p"], "warning")
    assert "2 validation images in 1 group that training has too. They flatter a --holdout score" in problem.message


def test_all_black_images_are_one_group_and_only_a_warning(root: Path) -> None:
    black = {f"train/{label}/black{index}.png": Image.new("RGB", (16, 16)) for label in "ab" for index in range(3)}
    make(root, {**plain(), **black})
    problems = found(root)
    assert list(problems) == ["exact duplicates under several labels"]
    catalog = open_catalog(root)
    groups = duplicate_groups(facts_of(catalog, root), catalog.table)
    is_black = catalog.table["image_id"].str.contains("black").to_numpy()
    assert len(set(groups[is_black])) == 1
    assert len(set(groups)) == 13


def test_near_duplicates_recompressed_and_resized(root: Path, tmp_path: Path) -> None:
    original = noise(64, seed=5)
    original.save(tmp_path / "worse.jpg", quality=60)
    images = {
        **plain(),
        "train/a/original.png": original,
        "train/a/recompressed.png": Image.open(tmp_path / "worse.jpg"),
        "train/b/resized.png": original.resize((48, 48), Image.Resampling.LANCZOS),
    }
    catalog = open_catalog(make(root, images))
    facts = facts_of(catalog, root)
    kinds = [problem.kind for problem in check(catalog, facts, folds=3)]
    assert kinds == ["near duplicates under several labels"]
    groups = dict(zip(catalog.table["image_id"], duplicate_groups(facts, catalog.table), strict=True))
    names = ("train/a/original.png", "train/a/recompressed.png", "train/b/resized.png")
    assert len({groups[name] for name in names}) == 1
    assert len(set(groups.values())) == len(groups) - 2


def test_groups_join_duplicates_and_given_groups(root: Path) -> None:
    images = plain(3)
    images["train/b/0.png"] = images["train/a/0.png"]
    catalog = open_catalog(make(root, images))
    table = catalog.table.copy()
    table["group"] = [None, "g", None, None, "g", None]
    assert duplicate_groups(facts_of(catalog, root), table).tolist() == [0, 1, 2, 0, 1, 3]


def test_damaged_images_are_nobodys_duplicates(root: Path) -> None:
    make(root, plain(3))
    for name in ("a/0", "a/1"):
        (root / f"train/{name}.png").write_bytes(b"same damage")
    catalog = open_catalog(root)
    assert len(set(duplicate_groups(facts_of(catalog, root), catalog.table))) == 6


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("extension", lambda name, image: (name.replace(".png", ".bmp"), image)),
        ("colour mode", lambda name, image: (name, image.convert("L"))),
        ("size", lambda name, image: (name, image.resize((20, 20)))),
    ],
)
def test_label_readable_without_looking(root: Path, kind: str, change) -> None:
    images = [change(name, image) if "/a/" in name else (name, image) for name, image in plain().items()]
    problem = found(make(root, dict(images)))[f"label readable from {kind}"]
    assert problem.severity == "error"
    assert problem.image_ids == ()
    assert len(problem.rows) == 2


def test_one_leaking_class_of_three_is_a_warning(root: Path) -> None:
    images = {**plain(), **{f"train/c/{index}.png": noise(20) for index in range(6)}}
    problem = found(make(root, images))["label readable from size"]
    assert (problem.severity, problem.rows) == ("warning", ["c: 20x20"])


@pytest.mark.parametrize("sizes", [[20, 20, 20, 20, 16, 16], [20, 24, 28]])
def test_a_size_that_tells_of_some_images_or_of_each_by_itself_raises_no_alarm(root: Path, sizes: list[int]) -> None:
    images = {**plain(12), **{f"train/c/{index}.png": noise(size) for index, size in enumerate(sizes)}}
    assert "label readable from size" not in found(make(root, images))


def test_file_names(root: Path) -> None:
    table = ["id,label", *(f"{label}_{index:03d},{label}" for label in ("cat", "dog") for index in range(6))]
    make(root, {f"images/{row.partition(',')[0]}.png": noise() for row in table[1:]})
    (root / "train.csv").write_text("\n".join(table))
    problem = found(root)["label readable from file name"]
    assert (problem.severity, problem.rows) == ("warning", ["cat: cat_", "dog: dog_"])


@pytest.mark.parametrize("pattern", ["{index:04d}", "img_{index}", "{code:08x}-4a"])
def test_harmless_names_raise_no_alarm(root: Path, pattern: str) -> None:
    rng = np.random.default_rng(3)
    names = [pattern.format(index=index, code=rng.integers(1 << 32)) for index in range(24)]
    rows = [f"{name},{'ab'[index // 12]}" for index, name in enumerate(names)]
    make(root, {f"images/{name}.png": noise() for name in names})
    (root / "train.csv").write_text("\n".join(["id,label", *rows]))
    assert found(root) == {}


def test_many_different_sizes_raise_no_alarm(root: Path) -> None:
    images = {
        f"train/{label}/{index}.png": noise(16 + 2 * index + (label == "b")) for label in "ab" for index in range(12)
    }
    assert "label readable from size" not in found(make(root, images))


def test_labels_that_differ_only_in_spelling_are_told(root: Path) -> None:
    labels = ("Sea lion", "sea_lion", "seal", "--", "__", "-1", "1")
    make(root, {f"train/{label}/{index}.png": noise() for label in labels for index in range(3)})
    problem = found(root)["labels that look alike"]
    assert problem.rows == ["'Sea lion' = 'sea_lion'"]
    assert problem.severity == "warning"
