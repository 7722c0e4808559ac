"""The proxy inside another program: one core, in that program's own event loop.

    async with mosnpy.Proxy({"version": 1, "listeners": …, "upstreams": …}) as proxy:
        host, port = proxy.address("cache")

No processes, no signals, no admin API; one worker, whatever `workers:` says. The core's descriptor is watched by the running
loop (uvloop or asyncio), and each turn of the core runs inside a callback of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from mosnpy.observe.layout import Layout
from mosnpy.observe.slots import SlotRegistry
from mosnpy.observe.snapshot import as_json, take
from mosnpy.server import log, sockets
from mosnpy.server.files import POLL, FileWatch
from mosnpy.server.load import compile_loaded
from mosnpy.server.messages import Faulty, Loaded
from mosnpy.server.shared import SharedMemory
from mosnpy.server.worker import Core, make_core
from mosnpy.upstream.health import Check, Finding, HealthChecks

if TYPE_CHECKING:
    from mosnpy.config import Config

Source = str | Path | Mapping[str, Any]

_TURN = 10.0  # seconds for the core to take a plan; it is in our own loop, so only a bug takes longer


class Proxy:
    """An embedded proxy. `config`: a file or folder, YAML text (anything with a line break), or plain data."""

    def __init__(self, config: Source) -> None:
        self._source = config
        self._core: Core | None = None
        self._listening: dict[int, sockets.Listening] = {}
        self._applied: dict[int, asyncio.Future[None]] = {}
        self._drained: asyncio.Future[None] | None = None
        self._reloading = asyncio.Lock()
        self._watch = FileWatch({})
        self._watching: asyncio.Task[None] | None = None
        self.leaks = 0  # after the end: objects the core had not given back; always 0, or it is a bug

    # -- life --

    async def __aenter__(self) -> Proxy:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def start(self) -> None:
        """Raises mosnpy.errors.ConfigErrors with all faults, OSError when an address can't be listened on."""
        from mosnpy.core import block_sizes, latency_bounds_us, stat_names

        if self._core is not None:
            raise RuntimeError("the proxy runs already")
        self._layout = Layout.of(stat_names(), latency_bounds_us(), block_sizes())
        self._registry = SlotRegistry(self._layout.sizes)
        loaded = await self._load(self._source)
        self._listening = sockets.listen_all(loaded.specs, 1)
        memory = SharedMemory(1)
        self._row, self._health = memory.row(0), memory.health
        self._core = make_core(self._row, self._health)
        self._checks = HealthChecks(self._health, _ignore)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._core.fileno(), self._core.poll)
        self._loop.add_reader(self._core.events_fd(), self._events)
        try:
            await self._apply(loaded)
        except BaseException:
            await self.close(0)
            raise
        self._watching = asyncio.create_task(self._watch_files())

    async def close(self, timeout: float = 5.0) -> None:
        """Stops accepting, lets requests in flight finish for at most `timeout` seconds, closes everything."""
        core = self._core
        if core is None or self._drained is not None:
            return
        self._drained = self._loop.create_future()
        if self._watching is not None:
            self._watching.cancel()
        await self._checks.stop()
        core.post_drain(round(timeout * 1000))
        try:
            async with asyncio.timeout(timeout + 1):
                await self._drained
        except TimeoutError:
            pass  # close() ends what is left
        self._loop.remove_reader(core.fileno())
        self._loop.remove_reader(core.events_fd())
        self.leaks = core.close()
        self._core = self._drained = None
        for each in self._listening.values():
            each.close()
        self._listening.clear()

    # -- use --

    def address(self, listener: str) -> tuple[str, int] | str:
        """Where the listener listens: (host, port), or the path of a Unix socket. Of several addresses the first."""
        for each in self._listening.values():
            if each.spec.name == listener:
                if each.spec.family == "unix":
                    return each.spec.host
                bound: tuple[str, int] = each.sockets[0].getsockname()[:2]
                return bound
        raise KeyError(f"no listener {listener!r}")

    def stats(self) -> dict[str, Any]:
        """The counters, as /stats has them (docs/guide/operations.md)."""
        self._running()
        return as_json(take(self._layout, self._registry, [self._row]))

    def counts(self) -> dict[str, int]:
        """Objects alive in the core: connections, streams, buffers."""
        return self._running().counts()

    async def reload(self, config: Source | None = None) -> None:
        """Another configuration, or the same one read anew. All or nothing; connections of listeners that stay go on."""
        async with self._reloading:
            self._running()
            source = self._source if config is None else config
            loaded = await self._load(source)
            new = [spec for spec in loaded.specs if spec.id not in self._listening]
            self._listening |= sockets.listen_all(new, 1)
            self._source = source
            await self._apply(loaded)

    # -- within --

    def _running(self) -> Core:
        if self._core is None:
            raise RuntimeError("the proxy does not run")
        return self._core

    async def _load(self, source: Source) -> Loaded:
        """On a thread: host names are resolved, and a big file takes a while to parse."""
        from mosnpy.config import Fault
        from mosnpy.errors import ConfigErrors

        registry = SlotRegistry.unpack(self._registry.pack())
        generation = registry.generation + 1
        loaded = await asyncio.to_thread(lambda: compile_loaded(_read(source), generation, registry))
        if isinstance(loaded, Faulty):
            raise ConfigErrors([Fault(text) for text in loaded.faults])
        return loaded

    async def _watch_files(self) -> None:
        """A certificate that changes is taken in as by reload(); one that is faulty is not, and the old one stays."""
        from mosnpy.errors import ConfigErrors

        while True:
            await asyncio.sleep(POLL)
            if self._watch.changed():
                with contextlib.suppress(ConfigErrors, OSError, TimeoutError):
                    await self.reload()

    async def _apply(self, loaded: Loaded) -> None:
        core = self._running()
        self._watch = FileWatch(loaded.files)
        done = self._applied[loaded.generation] = self._loop.create_future()
        core.post_plan(loaded.plan, {spec.id: self._listening[spec.id].fileno(0) for spec in loaded.specs})
        self._registry = SlotRegistry.unpack(loaded.registry)
        self._checks.update(Check.several(loaded.checks))
        async with asyncio.timeout(_TURN):
            await done

    def _events(self) -> None:
        for event in self._running().take_events():
            match event:
                case "plan", int(generation):
                    done = self._applied.pop(generation, None)
                    if done is not None and not done.done():
                        done.set_result(None)
                case "listener_removed", int(id):
                    self._listening.pop(id).close()
                case "drained", _ if self._drained is not None and not self._drained.done():
                    self._drained.set_result(None)
                case "info" | "warning" as level, str(text):
                    log.line(level, text)


def _ignore(check: Check, finding: Finding) -> None:
    """Who embeds a proxy sees the health of endpoints in stats(), not in a log."""


def _read(source: Source) -> Config:
    from mosnpy import config as configuration

    if isinstance(source, Mapping):
        return configuration.load_mapping(source)
    if isinstance(source, str) and "\n" in source:
        return configuration.load_text(source)
    return configuration.load(source)
