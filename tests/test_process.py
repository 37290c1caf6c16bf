"""Process settings: the user's environment wins, and memory is kept where the C library can."""

import os
import subprocess
import sys

import pytest

from competition import process


@pytest.fixture
def clean(monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)


def test_what_the_user_has_set_stays(clean, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    process.settle()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    assert not process.keep_freed_memory()


def test_threads_sleep_while_they_wait(clean):
    process.settle()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"


def test_another_c_library_is_left_alone(clean, monkeypatch):
    monkeypatch.setattr(process.ctypes, "CDLL", lambda _: object())
    assert not process.keep_freed_memory()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_a_large_block_is_reused_without_page_faults():
    code = (
        "import resource, sys, numpy\n"
        "from competition.process import keep_freed_memory\n"
        "if sys.argv[1] == 'keep': assert keep_freed_memory()\n"
        "for _ in range(3): numpy.ones(4 << 20)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(10): numpy.ones(4 << 20)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    keep, leave = (
        int(subprocess.check_output([sys.executable, "-c", code, mode], env=environment)) for mode in ("keep", "leave")
    )
    assert keep < 0.1 * leave
