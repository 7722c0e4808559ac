"""The supervisor's loop."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from mosnpy.server.reactor import Reactor


@pytest.fixture
def heard() -> list[signal.Signals]:
    return []


@pytest.fixture
def reactor(heard: list[signal.Signals]) -> Iterator[Reactor]:
    reactor = Reactor([signal.SIGUSR1, signal.SIGUSR2], heard.append, lambda: None)
    yield reactor
    reactor.leave()


def test_timers_in_order_and_cancelled(reactor: Reactor) -> None:
    seen: list[str] = []
    reactor.later(0.02, lambda: (seen.append("second"), reactor.stop()))  # type: ignore[arg-type, func-returns-value]
    reactor.later(0.01, lambda: seen.append("first"))
    reactor.later(0.005, lambda: seen.append("never")).cancel()
    reactor.run()
    assert seen == ["first", "second"]


def test_signals_are_delivered_in_the_loop(reactor: Reactor, heard: list[signal.Signals]) -> None:
    reactor.later(0, lambda: (os.kill(os.getpid(), signal.SIGUSR1), os.kill(os.getpid(), signal.SIGUSR2)))  # type: ignore[arg-type, func-returns-value]
    reactor._on_signal = lambda number: (heard.append(number), number == signal.SIGUSR2 and reactor.stop())  # type: ignore[assignment, func-returns-value]
    reactor.run()
    assert heard == [signal.SIGUSR1, signal.SIGUSR2]


def test_readable_and_writable(reactor: Reactor) -> None:
    reading, writing = os.pipe()
    seen: list[bytes] = []

    def write() -> None:
        os.write(writing, b"x")
        reactor.on_writable(writing, None)

    def read() -> None:
        seen.append(os.read(reading, 10))
        reactor.on_readable(reading, None)
        reactor.stop()

    reactor.on_writable(writing, write)
    reactor.on_readable(reading, read)
    reactor.run()
    assert seen == [b"x"]
    os.close(reading)
    os.close(writing)


def test_leaving_gives_the_signals_back() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    reactor = Reactor([signal.SIGUSR1], lambda number: None, lambda: None)
    assert signal.getsignal(signal.SIGUSR1) is not before
    reactor.leave()
    assert signal.getsignal(signal.SIGUSR1) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_it_outlives_an_exception() -> None:
    bugs: list[BaseException | None] = []
    reactor = Reactor([], lambda number: None, lambda: bugs.append(sys.exc_info()[1]))
    reactor.later(0, lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    reactor.later(0.001, reactor.stop)
    reactor.run()
    reactor.leave()
    assert [type(bug) for bug in bugs] == [ZeroDivisionError]
