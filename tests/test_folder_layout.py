"""Class folders and what lies beside them: manifests, test folders, sample submissions."""

from pathlib import Path

import pytest

from competition.data.catalog import open_catalog
from competition.errors import UserError
from tests.test_catalog import CLASS_FOLDERS, kinds, make, rows


def test_manifest_gives_groups(tmp_path: Path) -> None:
    manifest = "image_id,label,generator,seed,source,group\ncat/1.png,cat,vae,1,,g1\ndog/1.png,cat,vae,1,,g1\n"
    catalog = open_catalog(make(tmp_path, ["cat/1.png", "dog/1.png", "dog/2.png"], {"manifest.csv": manifest}))
    assert catalog.table["group"].tolist() == ["g1", "g1", None]
    assert kinds(catalog) == {"manifest disagrees": ["dog/1.png"]}


def test_test_folders_named_like_classes_keep_their_label(tmp_path: Path) -> None:
    catalog = open_catalog(make(tmp_path, ["train/a/1.png", "train/b/1.png", "test/a/1.png", "test/x/2.png"]))
    assert rows(catalog)[2:] == [("a/1.png", "a", "test"), ("x/2.png", None, "test")]


def test_class_folders_follow_a_sample_submission(tmp_path: Path) -> None:
    tables = {"sample_submission.csv": "Id,Guess\n10,cat\n2,cat\n"}
    catalog = open_catalog(make(tmp_path, CLASS_FOLDERS, tables))
    assert catalog.submission_ids == ["10", "2"]
    assert sorted(catalog.of("test")["image_id"]) == ["10", "2"]
    assert (catalog.id_column, catalog.label_column) == ("Id", "Guess")


def test_train_and_test_without_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="without labels"):
        open_catalog(make(tmp_path, ["train/1.png", "test/2.png"]))
