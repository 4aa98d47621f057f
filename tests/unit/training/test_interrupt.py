"""Signals while training: the first is noted, the second is obeyed, and afterwards all is as before."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from veneer.events import Event, Notice
from veneer.training.interrupt import watch_signals


class Listener:
    """Keeps what it is told; it is told in a thread of its own."""

    def __init__(self) -> None:
        self.heard: list[Event] = []
        self.told = threading.Event()

    def __call__(self, event: Event) -> None:
        self.heard.append(event)
        self.told.set()


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_told_once(number: int) -> None:
    listener = Listener()
    with watch_signals(listener) as asked:
        assert not asked.is_asked
        send(number)
        assert asked.is_asked
        assert listener.told.wait(60)
    assert [event.code for event in listener.heard if isinstance(event, Notice)] == ["interrupted"]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_second_signal_does_not_wait(second: int) -> None:
    with pytest.raises(KeyboardInterrupt), watch_signals(Listener()):
        send(signal.SIGTERM)
        send(second)


def test_afterwards_signals_do_what_they_did_even_after_an_error() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with pytest.raises(ValueError, match="a bug"), watch_signals(Listener()):
        assert signal.getsignal(signal.SIGINT) is not before[0]
        raise ValueError("a bug")
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_listener_whose_lock_is_held_does_not_block_the_step() -> None:
    """Whoever was printing when the signal came holds the printer's lock until the handler returns."""
    lock = threading.Lock()
    printed = threading.Event()

    def listen(event: Event) -> None:
        with lock:
            printed.set()

    with watch_signals(listen) as asked:
        with lock:
            send(signal.SIGINT)
            assert asked.is_asked
            assert not printed.is_set()
        assert printed.wait(60)


def test_outside_the_main_thread_nothing_is_caught() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with watch_signals(Listener()) as asked:
            seen.append((signal.getsignal(signal.SIGINT), asked.is_asked))

    in_a_thread(work)
    assert seen == [(before, False)]


def in_a_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
