"""How a run is run: asked once, then read."""

from competition.config import TrainSettings
from competition.runs import write_json
from competition.training.machine import choose_machine


def test_the_probes_choice_is_used_by_every_later_start(tmp_path):
    write_json(tmp_path / "precision.json", {"number_format": "bf16", "channels_last": False})
    probed = choose_machine(tmp_path, TrainSettings(workers=3), data=None, preprocessing=None)
    assert str(probed.machine.precision) == "bf16 contiguous"
    assert probed.machine.workers == 3
    (tmp_path / "precision.json").unlink()
    probed.answer.save(tmp_path)  # nothing was asked, so there is nothing to write
    assert not list(tmp_path.iterdir())
