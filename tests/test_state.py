"""The saved state of a fold under way."""

import pickle

import pytest
import torch

from competition.errors import UserError
from competition.state import load_state, save_state
from competition.training.fit import Counters


def test_round_trip(tmp_path):
    assert load_state(tmp_path, "fold") is None
    progress = Counters(epoch=2, batch=1, step=9, loss_sum=0.1 + 0.2, images=5)
    save_state(tmp_path, {"progress": vars(progress), "weights": {"a": torch.arange(3)}})
    state = load_state(tmp_path, "fold")
    assert Counters(**state["progress"]) == progress
    assert torch.equal(state["weights"]["a"], torch.arange(3))


@pytest.mark.parametrize("content", [b"", b"junk", pickle.dumps(print)])
def test_a_damaged_state_says_what_to_do(tmp_path, content):
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(UserError, match="delete it to begin the fold anew"):
        load_state(tmp_path, "fold")
