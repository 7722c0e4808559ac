"""The supervisor's children as it deals with them: forked, spoken to, reaped."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Sequence

from mosnpy.server import children
from mosnpy.server.channel import Channel
from mosnpy.server.children import Backoff, Child
from mosnpy.server.log import log as out
from mosnpy.server.messages import Message
from mosnpy.server.reactor import Reactor

_END = 2.0  # seconds a child has got to end when asked to


class Family:
    """`hear` is called for every message of a child, `died` once after its last message, with its wait status."""

    def __init__(
        self, reactor: Reactor, signals: Sequence[signal.Signals], log_level: str,
        hear: Callable[[Child, Message], None], died: Callable[[Child, int], None], leave: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._reactor = reactor
        self._signals = signals
        self._log_level = log_level
        self._hear = hear
        self._died = died
        self._leave_sockets = leave
        self._members: dict[int, Child] = {}  # by pid
        self._backoff: dict[str, Backoff] = {}
        self.restarts: dict[str, int] = {}  # by title

    def start(self, role: str, index: int, run: Callable[[Channel], int]) -> Child:
        def leave() -> None:
            self._leave(role)

        child = children.start(role, index, run, leave, self._signals, self._log_level)
        self._members[child.pid] = child
        self._reactor.on_readable(child.channel.fileno(), lambda: self._read(child))
        return child

    def _leave(self, role: str) -> None:
        """In a child. A copy of another child's channel would hide the supervisor's death from that one."""
        self._reactor.leave()
        for child in self._members.values():
            child.channel.close()
        self._leave_sockets(role)

    def send(self, child: Child, message: Message, descriptors: Sequence[int] = ()) -> None:
        child.channel.send(message, descriptors)
        self._watch_writable(child)

    def send_all(self, message: Message) -> None:
        for child in self._members.values():
            self.send(child, message)

    def _watch_writable(self, child: Child) -> None:
        def writable() -> None:
            child.channel.flush()
            self._watch_writable(child)

        if not child.channel.closed:
            self._reactor.on_writable(child.channel.fileno(), writable if child.channel.pending else None)

    def _read(self, child: Child) -> None:
        try:
            for message, _ in child.channel.receive():
                self._hear(child, message)
        except ValueError as error:  # no message of ours: it has gone mad
            out.error("%s (pid %d) says nonsense and is killed: %s", child.title, child.pid, error)
            child.channel.closed = True
            child.kill(signal.SIGKILL)
        if child.channel.closed:
            self._unwatch(child)  # its death follows, by SIGCHLD

    def _unwatch(self, child: Child) -> None:
        self._reactor.on_readable(child.channel.fileno(), None)
        self._reactor.on_writable(child.channel.fileno(), None)

    def reap(self) -> None:
        """After SIGCHLD: whoever has ended, has ended."""
        for child in list(self._members.values()):
            found, status = os.waitpid(child.pid, os.WNOHANG)
            if found:
                del self._members[child.pid]
                self._read(child)  # what it said before it died
                if not child.channel.closed:  # somebody it started may still hold the other end
                    self._unwatch(child)
                child.channel.close()
                self._died(child, status)

    def restart_delay(self, child: Child) -> float:
        """Seconds to wait before this one's successor starts."""
        self.restarts[child.title] = self.restarts.get(child.title, 0) + 1
        return self._backoff.setdefault(child.title, Backoff()).delay(child.lived)

    def end(self, *, kill: bool) -> None:
        """All that are left, and waits for them. The controller ends when its channel is closed, unless it hangs."""
        for child in self._members.values():
            if kill or child.role != "controller":
                child.kill(signal.SIGKILL)
            child.channel.close()
        end = time.monotonic() + _END
        for child in self._members.values():
            while os.waitpid(child.pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > end:
                    child.kill(signal.SIGKILL)
                time.sleep(0.002)
        self._members.clear()
