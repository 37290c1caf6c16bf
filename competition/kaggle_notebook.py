"""A notebook that trains a run on Kaggle's GPU: two folders, as the official client pushes them.

DIR/dataset/    dataset-metadata.json, the toolkit, the run's settings and fold table, requirements, optional wheels
DIR/notebook/   kernel-metadata.json, train.ipynb
"""

import io
import re
import shutil
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import yaml

from competition.cli import read_yaml
from competition.errors import UserError, first_few
from competition.kaggle import ask, without_secrets
from competition.runs import read_json, shortened, version_of, write_atomically, write_json

# What Kaggle's image lacks or has in other versions; installed without dependencies, so its torch stays.
PACKAGES = ("albumentations", "albucore", "simsimd", "stringzilla", "timm", "torch-pruning")
OLDEST = {"numpy": "2.0", "torch": "2.6"}  # of what is left as it is, as setup.cfg has them
SCRIPTS = ("train.py", "predict.py")
ARCHIVE = "toolkit.archive"  # a zip; Kaggle unpacks what is called .zip
DATA_SETTINGS = ("data", "train_csv", "val_csv", "test_csv", "images")
READY_WITHIN = 900.0  # seconds for Kaggle to take in the dataset


@dataclass(frozen=True)
class Plan:
    """The two folders, and what their owner should know."""

    folder: Path
    dataset: str  # USER/SLUG
    notebook: str
    notes: list[str]


def make_folders(run: Path, competition: str, user: str, out: Path | None, with_wheels: bool) -> Plan:
    """Write both folders anew.

    Args:
        run: a folder with settings.yaml.
        competition: its short name on Kaggle.
        user: the owner's name on Kaggle.
        out: the folder to make; None: runs/kaggle/ and the run's name.
        with_wheels: download wheels, so that the notebook needs no internet.

    Raises:
        UserError: not a run, no checkout of the toolkit around, or wheels that cannot be had.
    """
    if not (run / "settings.yaml").exists():
        raise UserError(f"{run} is not a run (it has no settings.yaml): name a folder that train.py made")
    name = slug_of(run.resolve().name)
    folder = out or Path("runs") / "kaggle" / name
    settings = read_yaml(run / "settings.yaml")
    dataset, notebook = f"{user}/{_title('toolkit', name)}", f"{user}/{_title('train', name)}"
    plan = Plan(folder, dataset, notebook, _missing_files(settings))
    _write_dataset(folder / "dataset", run, settings, dataset)
    shutil.rmtree(folder / "dataset" / "wheels", ignore_errors=True)
    if with_wheels:
        _download_wheels(folder / "dataset")
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        plan.notes.append(f"the wheels are for Python {version}: where Kaggle's is another, push without --wheels")
    _write_notebook(folder / "notebook", competition, plan, needs_internet=not with_wheels)
    return plan


def slug_of(text: str) -> str:
    """Return a name as Kaggle's addresses spell it: lower case, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "run"


def _title(word: str, name: str) -> str:
    """A title that Kaggle turns into the very same address: at most 50 characters, and another for another name."""
    return shortened(f"{word}-{name}", 50)


def _write_dataset(folder: Path, run: Path, settings: dict[str, Any], dataset: str) -> None:
    fold_file = _fold_file(run)
    kept = {key: value for key, value in settings.items() if value is not None and key not in DATA_SETTINGS}
    for key in ("run", "cache_dir", "time_limit", "workers", "device", "only_folds"):
        kept.pop(key, None)  # this machine's, not Kaggle's
    if fold_file:
        kept["fold_file"] = f"folds/{fold_file.name}"
    write_atomically(folder / ARCHIVE, pack_toolkit([fold_file] if fold_file else []))
    write_atomically(folder / "settings.yaml", yaml.safe_dump(kept, sort_keys=False))
    write_atomically(folder / "requirements.txt", "".join(f"{name}=={version_of(name)}\n" for name in PACKAGES))
    title = dataset.partition("/")[2]
    write_json(
        folder / "dataset-metadata.json",
        {"id": dataset, "title": title, "licenses": [{"name": "MIT"}], "isPrivate": True},
    )


def _fold_file(run: Path) -> Path | None:
    """The fold table of the run, so that Kaggle trains the very same folds."""
    if not (run / "run.json").exists():
        return None
    path = Path(str(read_json(run / "run.json").get("fold_file", "")))
    return path if path.is_file() else None


def _missing_files(settings: dict[str, Any]) -> list[str]:
    notes = []
    for key in ("weights", "prune_from", "pseudo_labels", "augment"):
        value = str(settings.get(key) or "")
        if key == "weights" and value == "pretrained":
            notes.append("pretrained weights are fetched by the notebook: leave its internet on (no --wheels)")
        elif (key != "augment" and value) or value.endswith((".yaml", ".yml")):
            flag = "--" + key.replace("_", "-")
            notes.append(
                f"{flag} {value} is not packed: put it into the dataset folder and its new path into settings.yaml"
            )
    return notes


def pack_toolkit(extra: list[Path]) -> bytes:
    """Return a zip of the scripts, the library and the fold tables; the same files give the same bytes.

    Raises:
        UserError: the scripts are not beside the library (an installed package instead of a checkout).
    """
    package = Path(__file__).parent
    root = package.parent
    absent = [name for name in SCRIPTS if not (root / name).is_file()]
    if absent:
        raise UserError(
            f"{root} has no {first_few(absent)}: push from a checkout of the toolkit, not from an installed one"
        )
    files = {name: root / name for name in SCRIPTS}
    for path in sorted(package.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and "__pycache__" not in name and not any(part.startswith(".") for part in name.split("/")):
            files[name] = path
    files |= {f"folds/{path.name}": path for path in extra}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _download_wheels(folder: Path) -> None:
    """Fetch the wheels of ``requirements.txt`` for this Python on 64-bit Linux, through pip."""
    wheels = folder / "wheels"
    words = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]
    words += ["--only-binary", ":all:", "--dest", str(wheels), "--requirement", str(folder / "requirements.txt")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise UserError(f"the wheels cannot be downloaded: {without_secrets(last[0])} (or leave --wheels out)")


_CELLS = (  # templates: their braces are Python's
    """# Unpack the toolkit and find the data; nothing outside /kaggle/working is kept.
import subprocess, sys, zipfile
from pathlib import Path

inputs = Path("/kaggle/input")
packed = next(inputs.rglob("toolkit.archive"))
home = Path("/kaggle/working/toolkit")
zipfile.ZipFile(packed).extractall(home)
data = next(path for path in inputs.rglob("$competition") if path.is_dir())
print(data, sorted(path.name for path in data.iterdir())[:10])""",
    """# Kaggle's own torch stays: only what the toolkit needs in its own version is installed.
from importlib.metadata import version

def numbers(text):
    return [int(part) for part in text.split(".")[:2]]

for name, least in $oldest.items():
    if numbers(version(name)) < numbers(least):
        raise RuntimeError(f"{name} {version(name)} is too old, the toolkit needs {least}: take the latest environment")
wheels = [path.parent for path in inputs.rglob("albumentations-*.whl")]
words = ["--no-index", "--find-links", str(wheels[0])] if wheels else []
requirements = str(packed.with_name("requirements.txt"))
subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *words, "-r", requirements], check=True)""",
    """# The same command goes on from where a session ended, given its output.
run = "/kaggle/working/runs/$run"
where = ["--data", str(data), "--cache-dir", "/kaggle/temp/cache"]
words = ["--config", str(packed.with_name("settings.yaml")), *where, "--run", run]
subprocess.run([sys.executable, "train.py", *words], cwd=home, check=True)""",
    """words = [*where, "--out", "/kaggle/working/submission.csv"]
subprocess.run([sys.executable, "predict.py", run, *words], cwd=home, check=True)
print(open(run + "/score.json").read()[:600])""",
)


def _write_notebook(folder: Path, competition: str, plan: Plan, needs_internet: bool) -> None:
    title = plan.notebook.partition("/")[2]
    values = {"competition": competition, "run": title.removeprefix("train-"), "oldest": str(OLDEST)}
    cells: list[dict[str, Any]] = [
        {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": Template(cell).substitute(values).splitlines(keepends=True),
        }
        for cell in _CELLS
    ]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 4}
    write_json(folder / "train.ipynb", notebook)
    write_json(
        folder / "kernel-metadata.json",
        {
            "id": plan.notebook,
            "title": title,
            "code_file": "train.ipynb",
            "language": "python",
            "kernel_type": "notebook",
            "is_private": True,
            "enable_gpu": True,
            "enable_internet": needs_internet,
            "dataset_sources": [plan.dataset],
            "competition_sources": [competition],
            "kernel_sources": [],
            "model_sources": [],
        },
    )


def push(client: Any, plan: Plan) -> str:
    """Push the dataset, wait until Kaggle has taken it in, push the notebook; return where to look.

    Raises:
        UserError: Kaggle's refusal.
    """
    folder = str(plan.folder / "dataset")
    if _is_known(client, plan.dataset):
        made = ask(
            client, plan.dataset, lambda: client.dataset_create_version(folder, "pushed again", True, dir_mode="zip")
        )
    else:
        made = ask(client, plan.dataset, lambda: client.dataset_create_new(folder, quiet=True, dir_mode="zip"))
    _refuse_error(made, f"the dataset {plan.dataset}", client)
    _wait_until_ready(client, plan.dataset)
    answer = ask(client, plan.notebook, lambda: client.kernels_push(str(plan.folder / "notebook")))
    _refuse_error(answer, f"the notebook {plan.notebook}", client)
    for kind in ("dataset", "competition"):
        refused = getattr(answer, f"invalid_{kind}_sources", None)
        if refused:
            raise UserError(
                f"the notebook was pushed, but not its {kind} {first_few(refused)}: check the name and your access"
            )
    return f"version {answer.version_number} is training: {answer.url}"


def _is_known(client: Any, dataset: str) -> bool:
    try:
        ask(client, dataset, lambda: client.dataset_status(dataset))
    except UserError as error:
        if "refuses access" in str(error) or "knows no" in str(error):  # Kaggle says 403 for a name nobody has
            return False
        raise
    return True


def _refuse_error(answer: Any, what: str, client: Any) -> None:
    if getattr(answer, "error", None):
        raise UserError(f"{what} was not taken: {without_secrets(str(answer.error), client)}")


def _wait_until_ready(client: Any, dataset: str) -> None:
    until, pause = time.monotonic() + READY_WITHIN, 1.0
    while (status := str(ask(client, dataset, lambda: client.dataset_status(dataset))).lower()) != "ready":
        if status in ("failed", "deleted") or time.monotonic() > until:
            raise UserError(
                f"Kaggle has not taken in the dataset {dataset} ({status}): look at kaggle.com/datasets/{dataset}"
            )
        time.sleep(pause)
        pause = min(10.0, 1.5 * pause)
