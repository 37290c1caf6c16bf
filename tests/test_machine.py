"""How a run is run: asked once, then read."""

import os

import pytest
import torch

from competition.config import TrainSettings
from competition.runs import write_json
from competition.training.machine import choose_machine


@pytest.mark.parametrize(
    ("has_bf16", "asked", "used"),
    [
        (True, "auto", "bf16 contiguous"),
        (False, "auto", "fp32 contiguous"),  # another machine, which would only imitate it
        (False, "bf16", "bf16 contiguous"),
    ],
)
def test_the_probes_choice_is_used_by_every_later_start(has_bf16, asked, used, tmp_path, monkeypatch):
    monkeypatch.setattr("competition.precision.has_bf16", lambda device: has_bf16)
    write_json(tmp_path / "precision.json", {"number_format": "bf16", "channels_last": False})
    machine, answer = choose_machine(tmp_path, TrainSettings(workers=3, precision=asked), data=None, preprocessing=None)
    assert str(machine.precision) == used
    assert machine.workers == 3
    (tmp_path / "precision.json").unlink()
    answer.save(tmp_path)  # nothing was asked, so there is nothing to write
    assert not list(tmp_path.iterdir())


def test_as_many_workers_load_as_cores_may_be_used(tmp_path, monkeypatch):
    monkeypatch.setattr("competition.training.machine.pick_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr("competition.precision.has_bf16", lambda device: True)
    write_json(tmp_path / "precision.json", {"number_format": "bf16", "channels_last": False})
    for cores, workers in ((2, 2), (64, 8)):  # of a machine that has more, perhaps
        monkeypatch.setattr(os, "sched_getaffinity", lambda process, cores=cores: set(range(cores)), raising=False)
        machine, _ = choose_machine(tmp_path, TrainSettings(), data=None, preprocessing=None)
        assert machine.workers == workers
