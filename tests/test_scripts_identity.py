"""A run folder knows the command it belongs to: the same one goes on, another one is refused."""

import os
import re
import shutil
from pathlib import Path

import albumentations
import pytest
import torch
from safetensors.torch import save_file

import train
from competition.checkpoint import open_checkpoint, save_checkpoint
from competition.models.factory import create_network
from tests.tiny_run import TINY, answer

pytestmark = pytest.mark.usefixtures("no_probe")


def test_other_settings_on_the_same_folder_are_listed(folders, finished, capsys):
    words = ["--data", folders, "--run", "runs/a", *finished, *TINY, "--epochs", "3", "--dropout", "0.1"]
    code, _, err = answer(train.main, words, capsys)
    assert code == 2
    assert "epochs: 2 then, 3 now" in err
    assert "dropout: None then, 0.1 now" in err


def test_a_run_knows_the_files_it_began_from_by_their_contents(folders, place, capsys):
    def write(policy, seed):
        albumentations.save(albumentations.Compose(policy), "policy.yaml", "yaml")
        torch.manual_seed(seed)
        save_file(create_network("mycnn", 3, image_size=32).state_dict(), "start.safetensors")

    def train_from(folder):
        files = ["--augment", f"{folder}/policy.yaml", "--weights", f"{folder}/start.safetensors"]
        command = ["--data", folders, "--run", "runs/w", *place, *TINY, "--only-folds", "0", "--epochs", "1", *files]
        return answer(train.main, command, capsys)

    write([albumentations.HorizontalFlip(p=0.5)], seed=1)
    assert train_from(".")[0] == 0
    shutil.copytree(".", "elsewhere", ignore=shutil.ignore_patterns("runs", "cache"))
    assert train_from("elsewhere")[0] == 0
    write([albumentations.VerticalFlip(p=0.5)], seed=2)
    code, _, err = train_from(".")
    assert code == 2
    assert "was begun with other settings" in err
    assert re.search(r"augment: 'contents \w{16}' then, 'contents \w{16}' now", err)
    assert re.search(r"weights: 'contents \w{16}, mean .*' then, 'contents \w{16}, mean .*' now", err)


def test_a_run_without_a_name_finds_itself_again(folders, place, capsys):
    words = ["--data", folders, *place, *TINY, "--only-folds", "0", "--epochs", "1"]
    assert answer(train.main, words, capsys)[0] == 0
    (run,) = Path("runs").iterdir()
    stamp = (run / "fold_0" / "model.safetensors").stat().st_mtime_ns
    code, out, _ = answer(train.main, words, capsys)
    assert code == 0
    assert "not finished: fold 1" in out
    assert (run / "fold_0" / "model.safetensors").stat().st_mtime_ns == stamp


def test_settings_can_be_read_back(folders, finished, capsys):
    code, out, _ = answer(train.main, ["--config", "runs/a/settings.yaml", "--run", "runs/a", *finished], capsys)
    assert code == 0
    assert "out-of-fold macro F1" in out


def test_a_run_knows_what_it_is_pruned_from_by_its_weights(folders, finished, capsys):
    def prune_from(source):
        words = ["--data", folders, "--run", "runs/p", *finished, *TINY, "--epochs", "1", "--only-folds", "0"]
        return answer(train.main, [*words, "--prune-from", source, "--max-parameters", "50000"], capsys)

    assert prune_from("runs/a")[0] == 0
    os.rename("runs/a", "runs/moved")
    assert prune_from("runs/moved")[0] == 0
    network, checkpoint = open_checkpoint(Path("runs/moved/fold_1"))
    network.get_classifier().bias.data += 1
    save_checkpoint(Path("runs/moved/fold_1"), network, checkpoint)
    code, _, err = prune_from("runs/moved")
    assert code == 2
    assert re.search(r"prune_from: 'contents \w{16}' then, 'contents \w{16}' now", err)


def test_a_refused_command_can_be_corrected_on_the_same_folder(folders, place, capsys):
    command = ["--data", folders, "--run", "runs/w", *place, *TINY, "--only-folds", "0", "--epochs", "1"]
    assert answer(train.main, [*command, "--optimizer", "adamm"], capsys)[0] == 2
    assert answer(train.main, command, capsys)[0] == 0


def test_a_folder_that_is_no_run_receives_no_file(folders, place, capsys):
    Path("mine/fold_0").mkdir(parents=True)
    Path("notes.txt").write_text("mine")
    for name, said in (("mine", "holds folds but no run.json"), ("notes.txt", "is a file: name a folder")):
        code, _, err = answer(train.main, ["--data", folders, "--run", name, *place, *TINY], capsys)
        assert code == 2
        assert said in err
    assert [path.name for path in Path("mine").rglob("*")] == ["fold_0"]
