"""A worker: the C core on a thread of its own, and the event loop that listens to the supervisor on the main thread.

The data thread holds the GIL only when a filter asks for it, so nothing that happens here delays traffic. With host
`inline` there is no thread: the loop watches the core's descriptor and turns the core itself (debugging, embedding).

Must stay small: no module of the configuration, the admin API or the command line may be imported here.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from collections.abc import Callable
from typing import Protocol

import uvloop

from mosnpy.server import log
from mosnpy.server.channel import Arrived, Channel, LoopChannel
from mosnpy.server.log import log as out
from mosnpy.server.messages import Applied, Drain, Drained, Plan, Refused, Released, Reopen, Sockets

ORPHANED = 3  # exit code when the supervisor is gone
_CORE_DIED = 4

_STOP_TIMEOUT = 5.0  # seconds for the data thread to come back from its last batch


class Core(Protocol):
    """What a worker needs of mosnpy.core.Core."""

    def post_plan(self, plan: bytes, listeners: dict[int, int]) -> None: ...
    def post_drain(self, timeout_ms: int) -> None: ...
    def post_stop(self) -> None: ...
    def run(self) -> None: ...
    def poll(self, timeout_ms: int = 0) -> int: ...
    def fileno(self) -> int: ...
    def events_fd(self) -> int: ...
    def take_events(self) -> list[tuple[str, int | str | None]]: ...
    def counts(self) -> dict[str, int]: ...
    def close(self) -> int: ...


MakeCore = Callable[[memoryview, memoryview], Core]


def preload() -> None:
    """Imported once in the supervisor, so that workers share the pages."""
    import mosnpy.core  # noqa: F401


def make_core(row: memoryview, health: memoryview) -> Core:
    from mosnpy.core import Core as NativeCore

    # Clients are told apart over workers and restarts by the pid (22 bits) in front of a count (30 bits): below 2**53.
    seed = random.SystemRandom().getrandbits(64) | 1
    return NativeCore(row, health, seed=seed, first_id=os.getpid() << 30)


def leave_signals_to_the_supervisor() -> None:
    """A terminal sends its signals to the whole group, an init system to every process of a service. What follows from
    them is decided in one place: a worker that drained by itself would take its listening sockets out of service."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def run(channel: Channel, row: memoryview, health: memoryview, host: str, make: MakeCore = make_core) -> int:
    """A worker's whole life; returns its exit code."""
    leave_signals_to_the_supervisor()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Worker(channel, make(row, health), host).live())


class _Worker:
    def __init__(self, channel: Channel, core: Core, host: str) -> None:
        self._raw = channel
        self._core = core
        self._inline = host == "inline"
        self._sockets: dict[int, int] = {}  # listener id: descriptor, ours to close
        self._thread: threading.Thread | None = None

    async def live(self) -> int:
        self._loop = asyncio.get_running_loop()
        self._over: asyncio.Future[int] = self._loop.create_future()
        self._channel = LoopChannel(self._raw, self._loop)
        self._loop.add_reader(self._core.events_fd(), self._core_events)
        if self._inline:
            self._loop.add_reader(self._core.fileno(), self._core.poll)
        else:
            self._thread = threading.Thread(target=self._data_thread, name="data", daemon=True)
            self._thread.start()
        self._channel.start(self._arrived, self._orphaned)
        code = await self._over
        await self._channel.flushed()
        return self._stop(code)

    def _data_thread(self) -> None:
        try:
            self._core.run()
        except BaseException:
            out.exception("the data thread has died")
        finally:  # also when asked to stop; then `over` is set already
            self._loop.call_soon_threadsafe(self._end, _CORE_DIED)

    def _end(self, code: int) -> None:
        if not self._over.done():
            self._over.set_result(code)

    def _stop(self, code: int) -> int:
        self._loop.remove_reader(self._core.events_fd())
        if self._inline:
            self._loop.remove_reader(self._core.fileno())
        elif self._thread is not None:
            self._core.post_stop()
            self._thread.join(_STOP_TIMEOUT)
            if self._thread.is_alive():
                out.error("the data thread does not end")
                return _CORE_DIED
        leaked = self._core.close()
        if leaked:
            out.error("%d objects were left over at the end", leaked)
        return code

    def _arrived(self, arrived: Arrived) -> None:
        match arrived.message:
            case Sockets(ids):
                self._sockets.update(zip(ids, arrived.descriptors, strict=True))
            case Plan(generation, plan, listeners):
                self._take_plan(generation, plan, {id: self._sockets[id] for id in listeners})
            case Drain(timeout_ms):
                self._core.post_drain(timeout_ms)
            case Reopen(log_file):
                if log_file:
                    log.open_file(log_file)

    def _take_plan(self, generation: int, plan: bytes, listeners: dict[int, int]) -> None:
        try:
            self._core.post_plan(plan, listeners)
        except (ValueError, MemoryError, OSError) as error:
            self._channel.send(Refused(generation, str(error) or type(error).__name__))

    def _core_events(self) -> None:
        for event in self._core.take_events():
            match event:
                case "plan", int(generation):
                    self._channel.send(Applied(generation))
                case "listener_removed", int(id):
                    os.close(self._sockets.pop(id))
                    self._channel.send(Released(id))
                case "drained", _:
                    self._channel.send(Drained())
                    self._end(0)
                case "info" | "warning" as level, str(text):
                    log.line(level, text)

    def _orphaned(self) -> None:
        """The supervisor is gone, and with it whoever could restart or drain us."""
        out.error("the supervisor is gone")
        self._end(ORPHANED)
