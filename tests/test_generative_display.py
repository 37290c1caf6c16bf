"""The progress line where there is no terminal."""

import pytest

from competition.errors import clock
from competition.generative import display
from competition.generative.display import ProgressLine


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (75.9, "1:15"), (3661, "1:01:01")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_lines_come_now_and_then(capsys, monkeypatch):
    now = iter([100.0, 101.0, 130.0])
    monkeypatch.setattr(display.time, "perf_counter", lambda: next(now))
    line = ProgressLine(2000)
    for step in (1, 2, 3):
        line.update(step, {"loss": 0.5}, 1234.5, 61)
    assert capsys.readouterr().out == (
        "step 1/2,000, loss 0.5, 1,234 images/s, 1:01 left\nstep 3/2,000, loss 0.5, 1,234 images/s, 1:01 left\n"
    )
    line.note("something")
    assert capsys.readouterr().out == "something\n"
