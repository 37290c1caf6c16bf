"""Bars and tables on a terminal, plain lines without one; names of folders are never taken for markup."""

import io
from types import SimpleNamespace

import pytest

from competition import progress
from competition.progress import Bar, LiveTable

HOSTILE = "runs/[red]a[/b]{0}{task}"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Seconds that only the test lets pass."""
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def sit_at_a_terminal(monkeypatch):
    """Let both outputs be one; not a fixture, because pytest puts its own outputs back before the test."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setattr("sys.stderr", terminal)
    return terminal


def test_plain_lines_come_now_and_then_and_at_the_end(clock, capsys):
    with Bar(f"views of {HOSTILE}", 4000) as bar:
        for now in (101, 119, 121, 130, 140.5, 142):
            clock.now = now
            bar.advance(500)
        bar.advance(1000, "loss 0.5")
        bar.advance(0, "loss 0.4")
    assert capsys.readouterr().err.splitlines() == [
        f"views of {HOSTILE}: 1,500/4,000 images, 71/s, 0:35 left",
        f"views of {HOSTILE}: 3,000/4,000 images, 71/s, 0:14 left",
        f"views of {HOSTILE}: 4,000/4,000 images in 42.0 s, loss 0.5",
    ]


def test_what_was_done_before_says_nothing_about_the_speed(clock, capsys):
    bar = Bar("making out", 100, "pictures")
    bar.skip(60)
    clock.now += 20
    bar.advance(20, "loss 0.5")
    assert capsys.readouterr().err == "making out: 80/100 pictures, loss 0.5, 0:20 left\n"


def test_a_bar_shows_names_as_they_are(clock, monkeypatch):
    terminal = sit_at_a_terminal(monkeypatch)
    with Bar(f"views of {HOSTILE}", 40) as bar:
        clock.now += 4
        bar.advance(10)
        bar.advance(10, HOSTILE)
    shown = terminal.getvalue()
    assert f"views of {HOSTILE} " in shown
    assert f"20/40 images, {HOSTILE}, 0:04 left" in shown
    assert "\x1b[?25h" in shown.split("40 images")[-1]  # the cursor is back


def test_a_table_is_drawn_on_a_terminal_and_lines_take_its_place_elsewhere(clock, capsys, monkeypatch):
    terminal = sit_at_a_terminal(monkeypatch)
    with LiveTable(lambda: "all of it") as table:
        table.line(lambda: "news")
        print(HOSTILE)
    assert "all of it" in terminal.getvalue()
    assert "news" not in terminal.getvalue()
    assert HOSTILE in terminal.getvalue()
    monkeypatch.undo()
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    with LiveTable(lambda: "all of it") as table:
        for second, is_news in ((0, False), (19, False), (1, False), (19, True), (19, False), (1, False)):
            clock.now += second
            table.line(lambda: f"{clock.now:g}", is_news)
    assert capsys.readouterr().out == "100\n120\n139\n159\n"


def test_a_coloured_file_is_no_terminal(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert not progress.is_terminal(io.StringIO())
    assert not progress.is_terminal(None)  # python train.py >&-
