"""The run folder of a generative model: what it was begun with, and the steps of ``generate train``.

runs/NAME/settings.yaml            effective settings (``--config`` reads them back)
runs/NAME/run.json                 identity: settings, classes, fingerprint of the images
runs/NAME/environment.json         machine, versions, command
runs/NAME/held_out.csv             images kept out of the training
runs/NAME/history.jsonl            losses and diversity by step; losses.csv and losses.png show the same
runs/NAME/sheets/step_N.png        the same latents again and again
runs/NAME/generator.safetensors    the last good model, with generator.json
runs/NAME/state.pt                 where to go on after a kill; gone when finished
runs/NAME/result.json              written last, so a run that has it is finished
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from competition.cli import read_run_settings
from competition.config import DATA_FLAGS
from competition.data.prepare import run_name
from competition.errors import UserError, counted
from competition.generative.design import Design
from competition.generative.distances import FEWEST_IMAGES
from competition.generative.factory import choose_design, create_model, parameter_count
from competition.generative.model import GenerativeModel
from competition.generative.pictures import Pictures, load_pictures
from competition.generative.probe import probe_precision
from competition.generative.settings import GenerateSettings
from competition.precision import Answer, Precision, ask_once, pick_device
from competition.runs import (
    counted_seed,
    environment,
    read_run,
    refuse_other_identity,
    where_found,
    write_atomically,
    write_json,
)

HELD_OUT = "held_out.csv"
BEGUN_WITH = ("settings.yaml", "environment.json", HELD_OUT)  # what a kill may leave before run.json is written


@dataclass(frozen=True)
class Run:
    """A run folder whose settings, data and model are settled.

    Attributes:
        folder: ``runs/NAME``.
        settings: the effective settings.
        pictures: what is learned from.
        design: the model.
        device, precision: how it runs.
    """

    folder: Path
    settings: GenerateSettings
    pictures: Pictures
    design: Design
    device: torch.device
    precision: Precision


def open_run(settings: GenerateSettings) -> Run:
    """Open the data and the run folder; refuse what does not fit before anything is trained."""
    device = pick_device(settings.device)  # asked before the folder is begun
    pictures = load_pictures(settings)
    design = choose_design(settings, pictures.image_size, pictures.class_names)
    identity = {
        **settings.plain(identity_only=True),
        "image_size": pictures.image_size,
        "width": design.width,
        "class_names": list(pictures.class_names),
        "images": len(pictures.labels),
        "images_hash": pictures.fingerprint,
    }
    folder = settings.run or Path("runs") / run_name(settings, settings.model, identity)
    refuse_other_run(folder, identity)
    answer = choose_precision(folder, settings, design, pictures, device)
    claim_folder(folder, settings, identity, pictures)
    count = parameter_count(design)
    to_prune = f" to be pruned to {settings.max_parameters:,}" if count > settings.max_parameters else ""
    print(
        f"{folder}: {settings.model}, {count:,} parameters{to_prune}, {len(pictures.labels):,} images of "
        f"{len(pictures.class_names)} classes at {pictures.image_size}x{pictures.image_size}",
        flush=True,
    )
    _say_unlearned(settings, pictures)
    answer.save(folder)
    return Run(folder, settings, pictures, design, device, answer.precision)


def _say_unlearned(settings: GenerateSettings, pictures: Pictures) -> None:
    """Say how many images are not learned from, and whether those held out will do."""
    if settings.hold_out:
        count = len(pictures.held_out)
        few = f", and measure and judge need {FEWEST_IMAGES}: begin another --run with a larger --hold-out"
        print(f"held out: {counted(count, 'image')}{few if count < FEWEST_IMAGES else ''}", flush=True)
    if pictures.unlearned:
        print(
            f"not learned from: {counted(pictures.unlearned, 'validation image')}; --with-val learns from them too",
            flush=True,
        )


def refuse_other_run(folder: Path, identity: dict[str, Any]) -> None:
    """Compare the run with what its folder was begun with; writes nothing.

    Raises:
        UserError: the folder belongs to other settings or images, or to something else; the differences are listed.
    """
    if (folder / "run.json").exists():
        refuse_other_identity(folder, read_run(folder)["identity"], identity, "--run")
    elif folder.is_file():
        raise UserError(f"--run {folder} is a file: name a folder")
    elif any(path.name not in BEGUN_WITH for path in folder.glob("[!.]*")):
        raise UserError(f"{folder} holds other files and no run.json: choose another --run")


def claim_folder(folder: Path, settings: GenerateSettings, identity: dict[str, Any], pictures: Pictures) -> None:
    """Write what the run is begun with, unless that is done."""
    if (folder / "run.json").exists():
        return
    write_atomically(folder / "settings.yaml", yaml.safe_dump({**settings.plain(), "run": None}, sort_keys=False))
    write_json(folder / "environment.json", environment())
    write_atomically(folder / HELD_OUT, "\n".join(["image_id", *pictures.held_out]) + "\n")
    write_json(folder / "run.json", {"kind": "generative", **pictures.places, "identity": identity})


def starting_model(settings: GenerateSettings, design: Design) -> GenerativeModel:
    """Return the model with its random weights, the same for the same seed."""
    torch.manual_seed(counted_seed(settings.seed, "weights"))
    return create_model(design)


def choose_precision(
    folder: Path, settings: GenerateSettings, design: Design, pictures: Pictures, device: torch.device
) -> Answer:
    """Return number format and layout: those that ``folder`` stores, or the probe's; writes nothing.

    Raises:
        UserError: a precision in which the model's first loss is not finite.
    """

    def probe() -> tuple[Precision, dict[str, float]]:
        batch = torch.from_numpy(pictures.gather(pictures.some(settings.images_per_step)))
        return probe_precision(starting_model(settings, design), settings, batch, device)

    return ask_once(folder, probe, settings.precision, device)


def reopen_settings(folder: Path) -> GenerateSettings:
    """Return the settings a run was trained with, its data where it lay then."""
    if not (folder / "settings.yaml").exists():
        raise UserError(f"{folder} holds no settings.yaml: name the folder of a `generate train` run")
    run = read_run(folder)
    if run.get("kind") != "generative":
        raise UserError(f"{folder} is a run of train.py, which classifies: name one of `generate train`")
    settings = read_run_settings(GenerateSettings, folder)
    return settings.replace(**{name: where_found(run, name, getattr(settings, name)) for name in DATA_FLAGS})


def find_settings(folder: Path, data: Path | None) -> GenerateSettings:
    """Return the settings a run was trained with, its data where ``--data`` says or where it lay then.

    Raises:
        UserError: the run's data is no longer there.
    """
    settings = reopen_settings(folder)
    if data is None and settings.data is not None and not settings.data.exists():
        raise UserError(
            f"{folder}: the images it was trained on are no longer at {settings.data}. Where they have moved, say so "
            "with --data PATH"
        )
    return settings.replace(data=data or settings.data)
