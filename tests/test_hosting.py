"""Hosting: what is shared tells no label, nothing straddles train and test, the round trip ends in two scores."""

import hashlib
import json
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import f1_score

from competition.__main__ import main
from competition.config import HostSettings
from competition.data.catalog import open_catalog
from competition.errors import UserError
from competition.hosting import deal, describe, host, take_share

CLASSES = ("blue", "green", "007")


def picture(rng, channel, size=(24, 24)):
    """Smooth noise, brighter in one channel: no two are near duplicates. BGR."""
    coarse = rng.integers(0, 180, (6, 6, 3), dtype=np.uint8)
    image = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    image[..., channel] //= 2
    image[..., channel] += 110
    return image


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """20 images of each class, among them a pair of duplicates and formats that differ from class to class."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("labelled") / "folders"
    for channel, (name, suffix) in enumerate(zip(CLASSES, (".png", ".bmp", ".tif"), strict=True)):
        (root / name).mkdir(parents=True)
        for number in range(20):
            image = picture(rng, channel)
            cv2.imwrite(str(root / name / f"{name}_{number:03d}{suffix}"), image)
            if number == 7:
                cv2.imwrite(str(root / name / f"{name}_copy{suffix}"), image)
    return root


def hosted(folders, tmp_path, out="made", **more):
    return host(HostSettings(data=folders, out=tmp_path / out, cache_dir=tmp_path / "cache", **{"seed": 0, **more}))


@pytest.fixture(scope="module")
def made(folders, tmp_path_factory):
    return hosted(folders, tmp_path_factory.mktemp("hosted"))


def tree(folder):
    """{name: hash, time} of every file."""
    return {
        path.relative_to(folder).as_posix(): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_parts_have_their_shares_in_every_class(made):
    counts = made.table.groupby(["label", "part"]).size().unstack()
    assert counts.sum(axis=1).tolist() == [21, 21, 21]
    assert counts["train"].between(14, 16).all()  # 21 - round(0.3 * 21), a pair more or less
    assert counts["Public"].between(1, 3).all()
    assert made.out.stat().st_mode & 0o777 == 0o755


def test_what_is_shared_is_a_competition_like_any_other(made):
    catalog = open_catalog(made.out / "public")
    solution = pd.read_csv(made.out / "private" / "solution.csv", dtype=str)
    assert (catalog.layout, catalog.id_column, catalog.label_column) == ("csv", "Image", "Class")
    assert catalog.problems == []
    assert catalog.submission_ids == solution["Image"].tolist()
    assert set(solution["Class"]) == set(CLASSES)  # 007 keeps its zeros
    assert set(solution["Usage"]) == {"Public", "Private"}
    sample = pd.read_csv(made.out / "public" / "sample_submission.csv", dtype=str)
    assert sample["Image"].tolist() == solution["Image"].tolist()
    assert set(sample["Class"]) == {"007"}


def test_nothing_that_is_shared_tells_a_label(made):
    shared = [path for path in (made.out / "public").rglob("*") if path.is_file()]
    for path in shared:
        assert path.stat().st_mtime == 946684800
        if path.suffix == ".png":
            with Image.open(path) as image:
                assert (image.format, image.mode, image.size, image.info) == ("PNG", "RGB", (24, 24), {})
            assert len(path.stem) == 16
    train = (made.out / "public" / "train.csv").read_text()
    assert "_0" not in train
    assert "copy" not in train
    assert not [path for path in shared if "solution" in path.name or "origin" in path.name]
    assert main(["check", str(made.out / "public"), "--cache-dir", str(made.out.parent / "again")]) == 0


def test_the_names_tell_neither_label_nor_part(made):
    """Sorted by name, the images of each label and part lie anywhere: mean rank within 4 standard errors."""
    for column in ("label", "part"):
        ranks = made.table["image_id"].rank(pct=True).groupby(made.table[column])
        assert (abs(ranks.mean() - 0.5) < 4 * np.sqrt(1 / 12 / ranks.count())).all()


def test_public_and_private_rows_cannot_be_told_apart_by_name():
    table = pd.DataFrame({"image_id": [f"{k}" for k in range(4000)], "label": ["a", "b"] * 2000, "group": range(4000)})
    part = deal(table, 0.5, 0.5, 0)
    from competition.hosting import _keys

    names = _keys(table, "host names", 0).argsort().argsort()
    for first, second in (("Public", "Private"), ("Public", "train")):
        difference = names[part == first].mean() - names[part == second].mean()
        assert abs(difference) < 4 * 4000 * np.sqrt(1 / 12 * (1 / 1000 + 1 / 1000))


def test_the_pixels_are_those_of_the_source(made):
    for row in made.table.iloc[::9].itertuples():
        folder = "train_images" if row.part == "train" else "test_images"
        shared = cv2.imread(str(made.out / "public" / folder / row.image_id))
        assert (shared == cv2.imread(row.path)).all()


def test_duplicates_share_a_side(made):
    sizes = made.table.groupby("group")["part"].agg(["size", "nunique"])
    assert (sizes["size"] == 2).sum() == 3
    assert (sizes["nunique"] == 1).all()


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(folders, tmp_path, made):
    again = hosted(folders, tmp_path)
    assert tree(again.out / "public") == tree(made.out / "public")
    assert tree(again.out / "private")["solution.csv"] == tree(made.out / "private")["solution.csv"]
    other = hosted(folders, tmp_path, out="other", seed=1)
    assert not tree(other.out / "public" / "train_images").keys() & tree(made.out / "public" / "train_images").keys()


def test_without_a_seed_nobody_can_work_out_the_names_and_its_keeper_can(folders, tmp_path):
    drawn = hosted(folders, tmp_path, seed=None)
    seed = int((drawn.out / "private" / "seed.txt").read_text())
    assert seed > 2**32
    again = hosted(folders, tmp_path, out="again", seed=seed)
    assert tree(again.out) == {**tree(drawn.out), "private/seed.txt": tree(again.out)["private/seed.txt"]}


def test_the_round_trip_ends_in_the_scores_of_both_parts(made, tmp_path, capsys):
    solution = pd.read_csv(made.out / "private" / "solution.csv", dtype=str)
    answer = solution[["Image", "Class"]].copy()
    answer.loc[::4, "Class"] = "blue"
    answer.to_csv(tmp_path / "s.csv", index=False)
    words = ["score", str(tmp_path / "s.csv"), "--truth", str(made.out / "private" / "solution.csv")]
    main([*words, "--json"])
    score = json.loads(capsys.readouterr().out)
    for part in ("Public", "Private"):
        rows = solution["Usage"] == part
        expected = f1_score(solution["Class"][rows], answer["Class"][rows], average="macro")
        assert score[part.lower()]["macro_f1"] == expected
    main(words)
    assert capsys.readouterr().out.count("macro F1 ") == 3


def test_a_zip_of_a_csv_layout_can_be_hosted_with_its_groups(tmp_path):
    rng = np.random.default_rng(1)
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    rows = []
    for number in range(40):
        cv2.imwrite(str(source / "images" / f"{number}.png"), picture(rng, number % 2))
        rows.append((f"{number}.png", "ab"[number % 2], f"scene{number // 4}"))
    pd.DataFrame(rows, columns=["file", "label", "group"]).to_csv(source / "train.csv", index=False)
    made = hosted(source, tmp_path, test=0.5)
    scene = {name: group for name, _, group in rows}
    sides = made.table.assign(scene=[scene[path.rpartition("/")[2]] for path in made.table["path"]])
    assert (sides.groupby("scene")["part"].nunique() == 1).all()
    train = pd.read_csv(made.out / "public" / "train.csv")
    assert train.columns.tolist() == ["Image", "Class", "group"]
    assert train["group"].value_counts().tolist() == [4] * (len(train) // 4)
    assert "scene" not in (made.out / "public" / "train.csv").read_text()


def sized(tmp_path):
    """Two classes that differ in the size of their images."""
    rng = np.random.default_rng(2)
    for channel, (name, size) in enumerate((("small", (16, 16)), ("large", (32, 32)))):
        (tmp_path / "sized" / name).mkdir(parents=True)
        for number in range(12):
            cv2.imwrite(str(tmp_path / "sized" / name / f"{number}.png"), picture(rng, channel, size))
    return tmp_path / "sized"


def test_a_size_that_tells_the_label_is_refused_and_can_be_levelled(tmp_path):
    folders = sized(tmp_path)
    with pytest.raises(UserError) as refusal:
        hosted(folders, tmp_path)
    assert "label readable from size: " in str(refusal.value)
    assert "--image-size N" in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir() if "made" in path.name] == []  # nothing half made
    made = hosted(folders, tmp_path, image_size=24)
    with Image.open(next((made.out / "public" / "test_images").iterdir())) as image:
        assert image.size == (24, 24)


def test_bad_images_are_named_or_left_out(folders, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(folders, source)
    (source / "blue" / "blue_000.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match="1 image cannot be used: blue/blue_000.png.*--on-bad skip"):
        hosted(source, tmp_path)
    made = hosted(source, tmp_path, out="made here", on_bad="skip")
    assert f"train: python train.py --data '{tmp_path}/made here/public'" in describe(made)
    assert made.left_out == ["blue/blue_000.png"]
    assert "left out, cannot be read: 1 image: blue/blue_000.png" in describe(made)
    assert len(made.table) == 62


def test_rows_that_name_no_image_or_no_label_are_told_too(folders, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(folders, source / "images")
    names = [f"{path.parent.name}/{path.name}" for path in sorted(folders.glob("*/*"))]
    rows = [f"{name},{name.partition('/')[0]}" for name in names]
    (source / "train.csv").write_text("\n".join(["id,label", *rows[:-1], f"{names[-1]},", "gone.png,blue", ""]))
    with pytest.raises(UserError, match="2 images cannot be used: gone.png, line 64: "):
        hosted(source, tmp_path)
    assert hosted(source, tmp_path, on_bad="skip").left_out == ["gone.png", "line 64"]


def test_without_a_folder_the_sample_is_hosted_although_one_file_is_damaged(small_sample, tmp_path, capsys):
    assert main(["host", "--out", str(tmp_path / "made"), "--cache-dir", str(tmp_path / "cache")]) == 0
    assert "left out, cannot be read: 1 image: train_0000.png" in capsys.readouterr().out


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_filled(folders, tmp_path):
    (tmp_path / "made").mkdir()
    hosted(folders, tmp_path)
    with pytest.raises(UserError, match="is there already and not empty"):
        hosted(folders, tmp_path)


def test_a_folder_among_the_images_is_refused(folders, tmp_path):
    with pytest.raises(UserError, match="lies in .*images, whose images would change with it"):
        host(HostSettings(data=folders, images=tmp_path / "images", out=tmp_path / "images" / "made"))
    before = sorted(folders.rglob("*"))
    with pytest.raises(UserError, match="lies in .*folders, whose images would change with it"):
        host(HostSettings(data=folders, out=folders / "deep" / "made", cache_dir=tmp_path / "cache"))
    assert sorted(folders.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--out DIR"),
        (["--out", "x", "--public", "1.5"], "--public"),
        (["--out", "x", "--test", "0"], "--test"),
        (["--out", "x", "--pubic", "0.5"], "did you mean '--public'?"),
    ],
)
def test_refused_words(folders, words, said):
    with pytest.raises(UserError) as refusal:
        main(["host", str(folders), *words])
    assert said in str(refusal.value)


# ---- dealing ----


def table_of(sizes, labels):
    """One group per entry: its size and the label of its images."""
    rows = [
        (f"{g}-{k}", label, g) for g, (size, label) in enumerate(zip(sizes, labels, strict=True)) for k in range(size)
    ]
    return pd.DataFrame(rows, columns=["image_id", "label", "group"])


def test_single_images_are_dealt_exactly():
    table = table_of([1] * 100, ["a"] * 70 + ["b"] * 30)
    counts = pd.crosstab(table["label"], deal(table, 0.3, 0.5, 0))
    assert counts.loc["a"].to_dict() == {"Private": 11, "Public": 10, "train": 49}  # half of 21: to the even
    assert counts.loc["b"].to_dict() == {"Private": 5, "Public": 4, "train": 21}


def test_the_order_of_the_rows_does_not_matter():
    table = table_of([1, 2, 3] * 20, ["a", "b", "c"] * 20)
    shuffled = table.sample(frac=1, random_state=0)
    expected = dict(zip(table["image_id"], deal(table, 0.3, 0.3, 5), strict=True))
    assert dict(zip(shuffled["image_id"], deal(shuffled, 0.3, 0.3, 5), strict=True)) == expected


@pytest.mark.parametrize("sizes", [[10, 10], [2, 1], [9, 1], [5, 5, 5], [50, 1, 1, 1]])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
def test_a_class_of_few_groups_lies_on_both_sides(sizes, share):
    table = table_of([*sizes, *[1] * 20], ["a"] * len(sizes) + ["b"] * 20)
    part = deal(table, share, 0.5, 3)
    sides = pd.crosstab(table["label"], part == "train")
    assert (sides > 0).all().all()
    assert (table.assign(side=part == "train").groupby("group")["side"].nunique() == 1).all()


def test_large_groups_are_taken_as_often_as_single_images():
    table = table_of([1] * 600 + [4] * 100, ["a"] * 700)
    shares = []
    for seed in range(20):
        taken = deal(table, 0.3, 0.5, seed) != "train"
        shares.append((taken[600:].mean(), taken.mean()))
    of_groups, of_all = np.mean(shares, axis=0)
    assert of_all == pytest.approx(0.3, abs=0.003)
    assert of_groups == pytest.approx(0.3, abs=0.04)


def test_a_class_whose_images_belong_together_is_refused():
    with pytest.raises(UserError, match="fewer than 2 separate images cannot lie in train and test: b"):
        deal(table_of([1, 1, 1, 5], ["a", "a", "a", "b"]), 0.3, 0.3, 0)


def test_groups_with_several_labels_stay_whole():
    codes = np.array([0, 1] * 30)
    groups = np.repeat(np.arange(30), 2)
    taken = take_share(codes, groups, np.arange(60)[::-1].astype(np.uint64), 0.3)
    assert taken.sum() == 18
    assert (taken[::2] == taken[1::2]).all()
