"""When to save and stop."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from competition.stop import NEVER, ONCE_MORE, Stop


def test_the_time_limit():
    start = time.perf_counter()
    assert not Stop.after(None, start)()
    assert not Stop.after(60, start)()
    assert Stop.after(60, start - 61)()
    assert not NEVER()


def test_another_parent():
    assert Stop(parent=1 << 30)()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_a_wish_and_the_second_acts_at_once(number, capfd):
    acted = []
    before = signal.signal(number, lambda *_: acted.append(number))
    try:
        stop = Stop()
        stop.raise_if_signalled()
        with stop.listening():
            signal.raise_signal(number)
            assert stop()
            assert not acted
            assert capfd.readouterr().err == ONCE_MORE.decode()
            with pytest.raises(KeyboardInterrupt):
                stop.raise_if_signalled()
            signal.raise_signal(number)
            assert acted == [number]
    finally:
        signal.signal(number, before)


def test_a_signal_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        stop = Stop()
        with stop.listening():
            signal.raise_signal(signal.SIGINT)
            assert not stop()
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_signals_are_left_alone():
    def listen():
        with Stop().listening():
            return signal.getsignal(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with ThreadPoolExecutor(1) as threads:
        assert threads.submit(listen).result() == before
