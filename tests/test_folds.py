"""Fold tables: stratified, groups whole, independent of row order, and checked when read."""

import numpy as np
import pandas as pd
import pytest

from competition.errors import UserError
from competition.folds import held_out, load_folds, make_folds, save_folds, straddling


def images(count=200, classes=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = [f"class{number}" for number in rng.integers(0, classes, count)]
    return [f"image{number:04}" for number in range(count)], labels, np.arange(count)


def test_every_class_is_spread_evenly():
    ids, labels, groups = images()
    table = make_folds(ids, labels, groups, 5)
    counts = pd.crosstab(table["label"], table["fold"])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1
    assert table["fold"].value_counts().max() - table["fold"].value_counts().min() <= 1


@pytest.mark.parametrize("of_several", [False, True])
def test_row_order_does_not_matter_and_the_seed_does(of_several):
    ids, labels, groups = images()
    if of_several:
        groups = np.random.default_rng(2).integers(0, 80, len(ids))
    table = make_folds(ids, labels, groups, 5)
    shuffle = np.random.default_rng(1).permutation(len(ids))
    again = make_folds([ids[i] for i in shuffle], [labels[i] for i in shuffle], groups[shuffle], 5)
    pd.testing.assert_frame_equal(table, again)
    assert (make_folds(ids, labels, groups, 5, seed=1)["fold"] != table["fold"]).mean() > 0.5


def test_groups_never_straddle_folds():
    ids, labels, _ = images(300)
    groups = np.random.default_rng(2).integers(0, 120, 300)
    table = make_folds(ids, labels, groups, 4, repeats=2).set_index("image_id").loc[ids]
    for column in ("fold", "fold_1"):
        assert (table.groupby(groups)[column].nunique() == 1).all()
        assert table[column].value_counts().max() < 1.3 * 300 / 4


def test_groups_are_spread_evenly_over_each_class():
    """Sequences of five frames: no fold has more than one of a class ahead of another."""
    ids, labels, _ = images(60)
    frames = [f"{name}-{frame}" for name in ids for frame in range(5)]
    table = make_folds(frames, list(np.repeat(labels, 5)), np.repeat(np.arange(60), 5), 4)
    counts = pd.crosstab(table["label"], table["fold"])
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 5


def test_repeats_deal_anew():
    ids, labels, groups = images()
    table = make_folds(ids, labels, groups, 5, repeats=2)
    assert (table["fold"] != table["fold_1"]).mean() > 0.5
    assert held_out(table, 7, 5).tolist() == (table["fold_1"] == 2).tolist()


def test_a_class_smaller_than_the_folds_is_named():
    with pytest.raises(UserError, match=r"'rare' \(2\): lower --folds, or give"):
        make_folds([f"{n}" for n in range(12)], ["rare"] * 2 + ["common"] * 10, np.arange(12), 3)


def test_duplicates_count_once_for_the_smallest_class():
    with pytest.raises(UserError, match=r"'rare' \(1\): give .*duplicates and images of one group count once"):
        make_folds([f"{n}" for n in range(13)], ["rare"] * 3 + ["common"] * 10, np.array([0, 0, 0, *range(1, 11)]), 3)


@pytest.fixture
def saved(tmp_path):
    ids, labels, groups = images(40, 2)
    path = tmp_path / "folds.csv"
    save_folds(path, make_folds(ids, labels, groups, 4))
    return path, ids, labels


def test_a_saved_table_comes_back_in_the_order_of_the_images(saved):
    path, ids, labels = saved
    table = load_folds(path, ids[::-1], labels[::-1], 4, 1)
    assert table["image_id"].tolist() == ids[::-1]


def rewritten(path, change):
    table = pd.read_csv(path, dtype=str)
    change(table).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.iloc[1:], "in no fold: 1 training image: image0000"),
        (lambda t: pd.concat([t, t.iloc[:1].assign(fold="3")]), "named twice, .*: 1 id: image0000"),
        (lambda t: pd.concat([t, t.iloc[:1].assign(image_id="ghost")]), "not among the training images: 1 id: ghost"),
        (lambda t: t.assign(fold=t["fold"].replace("3", "2")), "fold 3 is missing"),
        (lambda t: t.assign(fold=t["fold"].replace("3", "9")), "fold is '9'"),
        (lambda t: t.assign(fold=t["fold"].replace("3", "x")), "fold is 'x'"),
        (lambda t: t.drop(columns="fold"), "no column fold"),
        (lambda t: t.assign(label="class0"), "labels differ"),
    ],
)
def test_a_users_table_is_checked(saved, change, said):
    path, ids, labels = saved
    rewritten(path, change)
    with pytest.raises(UserError, match=said):
        load_folds(path, ids, labels, 4, 1)


def test_blank_lines_count(saved):
    path, ids, labels = saved
    header, first, *rest = path.read_text().splitlines()
    path.write_text("\n".join([header, "", first, "", "", rest[0][:-1] + "x", *rest[1:]]))
    with pytest.raises(UserError, match="line 6: fold is 'x'"):
        load_folds(path, ids, labels, 4, 1)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none.csv does not exist: leave the flag out, or name a table under folds/"):
        load_folds(tmp_path / "none.csv", [], [], 2, 1)


@pytest.mark.parametrize("seed", range(5))
def test_a_large_group_leaves_the_other_classes_spread_evenly(seed):
    labels, groups = ["a"] * 8 + ["b"] * 12, np.array([0] * 6 + list(range(1, 15)))
    ids = [f"{number}" for number in range(20)]
    table = make_folds(ids, labels, groups, 3, seed=seed)
    assert sorted(pd.crosstab(table["label"], table["fold"]).loc["a"]) == [1, 1, 6]
    assert pd.crosstab(table["label"], table["fold"]).loc["b"].tolist() == [4, 4, 4]


@pytest.mark.parametrize("seed", range(12))
def test_groups_of_many_sizes_fill_the_folds_evenly(seed):
    groups = np.repeat(np.arange(5), [8, 2, 2, 2, 2])
    table = make_folds([f"{number}" for number in range(16)], ["a"] * 16, groups, 2, seed=seed)
    assert np.bincount(table["fold"]).tolist() == [8, 8]


def test_repeats_that_are_not_used_part_no_group():
    table = pd.DataFrame({"image_id": ["x", "y", "z"], "fold": [0, 0, 1], "fold_1": [0, 1, 1]})
    keys = pd.Series(["same", "same", None])
    assert straddling(table, keys, repeats=1).tolist() == [False, False, False]
    assert straddling(table, keys, repeats=2).tolist() == [True, True, False]
