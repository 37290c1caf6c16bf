"""The notebook that trains a run on Kaggle: complete folders, cells that run, a push through the real client."""

import configparser
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from competition import kaggle_notebook
from competition.__main__ import main
from competition.cli import read_settings
from competition.config import TrainSettings
from competition.errors import UserError
from competition.kaggle_notebook import OLDEST, PACKAGES, make_folders, pack_toolkit, slug_of
from tests.conftest import REPOSITORY
from tests.fake_kaggle import TOKEN
from tests.test_kaggle import _no_home, fake, refusal  # noqa: F401 (fixtures)

pytest.importorskip("kagglesdk")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run folder as train.py leaves it, as far as the notebook looks."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "My Run_1"
    folder.mkdir(parents=True)
    settings = TrainSettings(data=tmp_path / "cats.zip", epochs=3, learning_rate=1e-5, workers=2, time_limit="1h")
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings.plain()))
    table = tmp_path / "folds" / "cats-5-seed0.csv"
    table.parent.mkdir()
    table.write_text("image_id,fold\na.png,0\n")
    (folder / "run.json").write_text(json.dumps({"fold_file": str(table)}))
    return folder


def test_the_folders_hold_everything_the_client_asks_for(run):
    plan = make_folders(run, "cats", "somebody", None, with_wheels=False)
    dataset = json.loads((plan.folder / "dataset" / "dataset-metadata.json").read_text())
    kernel = json.loads((plan.folder / "notebook" / "kernel-metadata.json").read_text())
    assert plan.folder == Path("runs/kaggle/my-run-1")
    assert dataset["id"] == plan.dataset == "somebody/toolkit-my-run-1"
    assert slug_of(dataset["title"]) == "toolkit-my-run-1"
    assert kernel["dataset_sources"] == [dataset["id"]]
    assert kernel["competition_sources"] == ["cats"]
    assert kernel["enable_gpu"] is True
    assert kernel["enable_internet"] is True
    assert kernel["is_private"] is True
    assert (plan.folder / "notebook" / kernel["code_file"]).exists()
    requirements = (plan.folder / "dataset" / "requirements.txt").read_text().split()
    assert [line.partition("==")[0] for line in requirements] == list(PACKAGES)
    assert "albumentations==2.0.8" in requirements
    assert all(line.partition("==")[2] != "None" for line in requirements)


def test_runs_of_long_names_have_their_own_addresses(run):
    longer = [run.rename(run.with_name("dog-breed-identification-tf_efficientnet_lite0-1a2b3c4d"))]
    longer.append(shutil.copytree(longer[0], run.with_name("dog-breed-identification-tf_efficientnet_lite0-99999999")))
    plans = [make_folders(folder, "dogs", "somebody", None, with_wheels=False) for folder in longer]
    addresses = {address for plan in plans for address in (plan.dataset, plan.notebook)}
    assert len(addresses) == 4
    titles = [address.removeprefix("somebody/") for address in addresses]
    assert all(len(title) <= 50 and slug_of(title) == title for title in titles)


def test_the_settings_are_the_runs_without_this_machine(run, tmp_path):
    plan = make_folders(run, "cats", "somebody", tmp_path / "out", with_wheels=False)
    path = plan.folder / "dataset" / "settings.yaml"
    assert str(tmp_path) not in path.read_text()
    packed = read_settings(TrainSettings, {"config": str(path), "data": "/kaggle/input/cats"})
    assert (packed.epochs, packed.learning_rate, packed.workers, packed.time_limit) == (3, 1e-5, None, None)
    assert packed.fold_file == "folds/cats-5-seed0.csv"


def test_the_toolkit_is_whole_and_the_same_each_time(run, tmp_path):
    table = tmp_path / "folds" / "cats-5-seed0.csv"
    assert pack_toolkit([table]) == pack_toolkit([table])
    (tmp_path / "t.zip").write_bytes(pack_toolkit([table]))
    archive = zipfile.ZipFile(tmp_path / "t.zip")
    names = archive.namelist()
    assert {"train.py", "predict.py", "competition/__init__.py", "folds/cats-5-seed0.csv"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or "/." in name]
    archive.extractall(tmp_path / "toolkit")
    words = [sys.executable, "train.py", "--help"]
    shown = subprocess.run(words, cwd=tmp_path / "toolkit", capture_output=True, text=True, check=True)
    assert "--epochs" in shown.stdout


def run_cells(run, tmp_path, monkeypatch):
    """With Kaggle's folders moved: unpack for real, and return the commands and the place."""
    plan = make_folders(run, "cats", "somebody", tmp_path / "out", with_wheels=False)
    place = tmp_path / "kaggle"
    (place / "input" / "deeper" / "cats").mkdir(parents=True)
    (plan.folder / "dataset").rename(place / "input" / "toolkit-my-run-1")
    (place / "working" / "runs" / "my-run-1").mkdir(parents=True)
    (place / "working" / "runs" / "my-run-1" / "score.json").write_text("{}")
    commands = []
    monkeypatch.setattr(subprocess, "run", lambda words, **_: commands.append(words))
    names = {}
    for cell in json.loads((plan.folder / "notebook" / "train.ipynb").read_text())["cells"]:
        exec("".join(cell["source"]).replace("/kaggle", str(place)), names)
    return commands, place


def test_an_image_with_too_old_a_package_is_told(run, tmp_path, monkeypatch):
    found = {"numpy": "1.26.4", "torch": "2.6.0+cu124"}
    monkeypatch.setattr("importlib.metadata.version", lambda name: found.get(name, "1.0"))
    with pytest.raises(RuntimeError, match="numpy 1.26.4 is too old, the toolkit needs 2.0"):
        run_cells(run, tmp_path, monkeypatch)


def test_what_is_too_old_is_what_the_setup_says():
    setup = configparser.ConfigParser()
    setup.read(REPOSITORY / "setup.cfg")
    lines = [line.partition(" >= ") for line in setup["options"]["install_requires"].split("\n")]
    assert {name: least for name, _, least in lines if least and name not in PACKAGES} == OLDEST


def test_the_cells_run(run, tmp_path, monkeypatch):
    commands, place = run_cells(run, tmp_path, monkeypatch)
    assert (place / "working" / "toolkit" / "train.py").exists()
    pip, train, predict = commands
    assert "--no-deps" in pip
    assert "--no-index" not in pip
    assert Path(pip[-1]).read_text().startswith("albumentations==")
    assert train[1:3] == ["train.py", "--config"]
    assert Path(train[3]).name == "settings.yaml"
    assert train[5] == str(place / "input" / "deeper" / "cats")
    assert predict[1:3] == ["predict.py", str(place / "working" / "runs" / "my-run-1")]


def wheel(folder, name, version):
    """The smallest wheel that pip takes."""
    folder.mkdir(exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")


def test_wheels_make_the_notebook_independent_of_the_internet(run, tmp_path, monkeypatch):
    """pip itself, with an index on disk."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setattr(kaggle_notebook, "PACKAGES", ("timm",))
    wheel(tmp_path / "index", "timm", kaggle_notebook.version_of("timm"))
    plan = make_folders(run, "cats", "somebody", tmp_path / "out", with_wheels=True)
    assert [path.suffix for path in (plan.folder / "dataset" / "wheels").iterdir()] == [".whl"]
    assert json.loads((plan.folder / "notebook" / "kernel-metadata.json").read_text())["enable_internet"] is False
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in plan.notes[0]
    os.remove(next((tmp_path / "index").iterdir()))
    with pytest.raises(UserError, match="wheels cannot be downloaded.*timm"):
        make_folders(run, "cats", "somebody", tmp_path / "out", with_wheels=True)


@pytest.mark.parametrize(
    ("setting", "note"),
    [
        ({"weights": "pretrained"}, "leave its internet on"),
        ({"weights": "/home/me/w.safetensors"}, "--weights /home/me/w.safetensors is not packed"),
        ({"pseudo_labels": "runs/teacher"}, "--pseudo-labels runs/teacher is not packed"),
        ({"augment": "mine.yaml"}, "--augment mine.yaml is not packed"),
        ({"augment": "light"}, None),
    ],
)
def test_what_is_not_packed_is_told(run, tmp_path, setting, note):
    settings = yaml.safe_load((run / "settings.yaml").read_text()) | setting
    (run / "settings.yaml").write_text(yaml.safe_dump(settings))
    plan = make_folders(run, "cats", "somebody", tmp_path / "out", with_wheels=False)
    assert len(plan.notes) == (note is not None)
    assert all(note in said for said in plan.notes)


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no settings.yaml"):
        make_folders(tmp_path, "cats", "somebody", tmp_path / "out", with_wheels=False)


def push(run, *more):
    return main(["kaggle", "push", str(run), "--competition", "cats", *more])


def test_a_dry_run_asks_nobody(run, fake, capsys):  # noqa: F811
    assert push(run, "--dry-run", "--user", "somebody") == 0
    assert "made, not pushed" in capsys.readouterr().out
    assert fake.calls == []


def test_a_first_push_makes_the_dataset_and_the_notebook(run, fake, capsys, tmp_path, monkeypatch):  # noqa: F811
    fake.failures["GetDatasetStatus"] = (403, "Permission 'datasets.get' was denied")  # what Kaggle says of no dataset
    real = fake.answer

    def answer(method, body):
        if method == "CreateDataset":
            fake.failures.pop("GetDatasetStatus")
        return real(method, body)

    monkeypatch.setattr(fake, "answer", answer)
    monkeypatch.chdir(tmp_path)
    assert push(run) == 0
    assert "version 1 is training: https://kaggle.example/code/train" in capsys.readouterr().out
    (dataset,) = fake.named("CreateDataset")
    assert dataset["isPrivate"] is True
    names = {body["name"] for body in fake.named("StartBlobUpload")}
    assert names == {"toolkit.archive", "settings.yaml", "requirements.txt"}
    (kernel,) = fake.named("SaveKernel")
    assert kernel["enableGpu"] is True
    assert kernel["competitionDataSources"] == ["cats"]
    assert "train.py" in json.loads(kernel["text"])["cells"][2]["source"]
    sent = b"".join(fake.uploads.values()) + json.dumps(fake.calls[1:]).encode()
    assert TOKEN.encode() not in sent.replace(json.dumps({"token": TOKEN}).encode(), b"")


def test_a_second_push_makes_a_new_version(run, fake, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    assert push(run) == 0
    assert [len(fake.named(name)) for name in ("CreateDataset", "CreateDatasetVersion", "SaveKernel")] == [0, 1, 1]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({"SaveKernel": {"error": "Maximum batch GPU session count reached"}}, "was not taken: Maximum batch GPU"),
        (
            {"CreateDatasetVersion": {"status": "error", "error": "no space"}},
            "toolkit-my-run-1 was not taken: no space",
        ),
        ({"SaveKernel": {"url": "u", "invalidCompetitionSources": ["cats"]}}, "not its competition cats"),
        ({"GetDatasetStatus": {"status": "FAILED"}}, "has not taken in the dataset"),
    ],
)
def test_kaggles_refusals_are_told(run, fake, tmp_path, monkeypatch, answers, said):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    for method, answer in answers.items():
        monkeypatch.setattr(fake, method, lambda body, answer=answer: answer)
    assert said in refusal(["kaggle", "push", str(run), "--competition", "cats"])
