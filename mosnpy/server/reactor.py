"""The supervisor's loop: descriptors, timers, signals, one thread.

Not asyncio: a forked child must be able to leave all this behind without touching kernel state it shares with the
supervisor, so this is poll(2), which has none (an epoll set would be shared).
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable

Call = Callable[[], None]


class Timer:
    """One call in the future; `cancel` may come at any time."""

    __slots__ = ("call", "due")

    def __init__(self, due: float, call: Call) -> None:
        self.due = due
        self.call: Call | None = call

    def cancel(self) -> None:
        self.call = None


class Reactor:
    """`on_bug` is told of an exception in a call; the loop goes on, because the supervisor must outlive its bugs too."""

    def __init__(
        self,
        signals: Iterable[signal.Signals],
        on_signal: Callable[[signal.Signals], None],
        on_bug: Callable[[], None],
    ) -> None:
        self._readers: dict[int, Call] = {}
        self._writers: dict[int, Call] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._on_signal = on_signal
        self._on_bug = on_bug
        self._signals = tuple(signals)
        self._stopped = False
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._before = signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        self._actions = {number: signal.signal(number, _noted) for number in self._signals}
        self.on_readable(self._wake_read.fileno(), self._take_signals)

    def on_readable(self, descriptor: int, call: Call | None) -> None:
        """None: no longer."""
        _set(self._readers, descriptor, call)

    def on_writable(self, descriptor: int, call: Call | None) -> None:
        _set(self._writers, descriptor, call)

    def later(self, seconds: float, call: Call) -> Timer:
        timer = Timer(time.monotonic() + seconds, call)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def stop(self) -> None:
        self._stopped = True

    def run(self) -> None:
        while not self._stopped:
            self._turn()

    def _turn(self) -> None:
        while self._timers and self._timers[0][2].call is None:
            heapq.heappop(self._timers)
        timeout = max(0.0, (self._timers[0][0] - time.monotonic()) * 1000) if self._timers else None
        poll = select.poll()
        for descriptor in {*self._readers, *self._writers}:
            events = (select.POLLIN if descriptor in self._readers else 0) | (
                select.POLLOUT if descriptor in self._writers else 0
            )
            poll.register(descriptor, events)
        for descriptor, _ in poll.poll(timeout):
            for calls in (self._writers, self._readers):  # looked up anew: the call before may have removed it
                if call := calls.get(descriptor):
                    self._make(call)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now and not self._stopped:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                self._make(timer.call)

    def _make(self, call: Call) -> None:
        try:
            call()
        except Exception:
            self._on_bug()

    def _take_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._wake_read.recv(4096):
                self._on_signal(signal.Signals(number))

    def leave(self) -> None:
        """In a forked child, or at the end: give back the signals and close what is ours."""
        signal.set_wakeup_fd(self._before)
        for number, action in self._actions.items():
            signal.signal(number, action)
        self._wake_read.close()
        self._wake_write.close()


def _set(calls: dict[int, Call], descriptor: int, call: Call | None) -> None:
    if call is None:
        calls.pop(descriptor, None)
    else:
        calls[descriptor] = call


def _noted(number: int, frame: object) -> None:
    """The wake-up descriptor carries the signal; without a Python-level action the default one would end us."""
