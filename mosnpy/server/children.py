"""Forked children of the supervisor: how one starts, what is known of it, when it is started again."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mosnpy.server import log
from mosnpy.server.channel import Channel

_FIRST_DELAY = 0.1  # seconds
_LONGEST_DELAY = 10.0
_STABLE = 10.0  # a child that lived this long failed for a new reason


@dataclass(slots=True)
class Backoff:
    """How long to wait before the next start: nothing the first time, then doubling, until a child has proven stable."""

    failures: int = 0

    def delay(self, lived: float) -> float:
        if lived >= _STABLE:
            self.failures = 0
        self.failures += 1
        if self.failures == 1:
            return 0.0
        return min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(self.failures - 2, 20))


@dataclass(slots=True)
class Child:
    role: str  # worker, controller, loader
    index: int
    pid: int
    channel: Channel
    born: float = field(default_factory=time.monotonic)
    generation: int = 0  # of the plan a worker has in force
    sockets: set[int] = field(default_factory=set)  # ids of the listeners whose sockets a worker has got

    @property
    def title(self) -> str:
        return f"{self.role} {self.index}" if self.role == "worker" else self.role

    @property
    def lived(self) -> float:
        return time.monotonic() - self.born

    def kill(self, number: signal.Signals) -> None:
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass


def start(
    role: str,
    index: int,
    run: Callable[[Channel], int],
    in_child: Callable[[], None],
    signals: Iterable[signal.Signals],
    level: str,
) -> Child:
    """Forks. The child first calls `in_child` (to leave the supervisor's descriptors behind), then `run`, whose result is
    its exit code; it never comes back. Signals are held back meanwhile: one that reached the child before it left the
    reactor would otherwise be counted by the supervisor a second time."""
    ours, theirs = Channel.pair()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, set(signals))
    try:
        pid = os.fork()
        if pid == 0:
            _live(role, index, run, in_child, ours, theirs, held, level)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    theirs.close()
    return Child(role, index, pid, ours)


def _live(
    role: str, index: int, run: Callable[[Channel], int], in_child: Callable[[], None],
    ours: Channel, theirs: Channel, held: Iterable[int], level: str,
) -> None:  # fmt: skip
    code = 70  # EX_SOFTWARE: an exception of our own
    try:
        ours.close()
        in_child()
        _name(
            f"mosnpy-{role}-{index}"
            if role == "worker"
            else "mosnpy-control"
            if role == "controller"
            else f"mosnpy-{role}"
        )
        log.start(f"{role}-{index}" if role == "worker" else role, level)
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        code = run(theirs)
    except SystemExit as leave:
        code = leave.code if isinstance(leave.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _name(name: str) -> None:
    """What ps and top show in the column of the command; the kernel keeps 15 bytes."""
    try:
        with open("/proc/self/comm", "w") as comm:
            comm.write(name[:15])
    except OSError:
        pass


def how_it_ended(status: int) -> str:
    """A wait status in words."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            return f"was killed by {signal.Signals(number).name}"
        except ValueError:
            return f"was killed by signal {number}"
    return f"exited with code {os.WEXITSTATUS(status)}"
