"""The controller: admin API, active health checks, sums of the statistics. One uvloop, no traffic.

Whatever a third-party library brings with it (memory, threads) stays in this process. It may die: the supervisor starts it
again, its listening socket and all counters live on elsewhere.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from typing import TYPE_CHECKING

import uvloop

from mosnpy.observe import snapshot
from mosnpy.observe.layout import Layout
from mosnpy.observe.slots import SlotRegistry
from mosnpy.server import log
from mosnpy.server.channel import Arrived, Channel, LoopChannel
from mosnpy.server.log import log as out
from mosnpy.server.messages import Loaded, Reload, Reloaded, Reopen, Shutdown, Status
from mosnpy.server.shared import SharedMemory
from mosnpy.server.worker import leave_signals_to_the_supervisor
from mosnpy.upstream.health import Check, Finding, HealthChecks

if TYPE_CHECKING:
    from aiohttp import web


def run(channel: Channel, memory: SharedMemory, layout: Layout, loaded: Loaded, status: Status, admin: int) -> int:
    """`admin`: descriptor of the listening socket, -1 for none; the supervisor keeps its own."""
    leave_signals_to_the_supervisor()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_Controller(channel, memory, layout, loaded, status).live(admin))


class _Controller:
    def __init__(self, channel: Channel, memory: SharedMemory, layout: Layout, loaded: Loaded, status: Status) -> None:
        from mosnpy.admin.state import AdminState

        self._raw = channel
        self._memory = memory
        self._layout = layout
        self._registry = SlotRegistry.unpack(loaded.registry)
        self._tickets = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Reloaded]] = {}
        self._checks = HealthChecks(memory.health, _turned)
        self._state = AdminState(
            loaded, status, memory.health, self._checks.findings, self._snapshot, self._reload, self._shutdown
        )

    async def live(self, admin: int) -> int:
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()  # the supervisor has closed the channel, or is gone
        self._channel = LoopChannel(self._raw, loop)
        self._channel.start(self._arrived, lambda: over.set_result(None))
        self._checks.update(Check.several(self._state.loaded.checks))
        close = await self._serve(admin) if admin >= 0 else None
        await over
        await self._checks.stop()
        if close is not None:
            await close.cleanup()
        return 0

    async def _serve(self, admin: int) -> web.AppRunner:
        from aiohttp import web

        from mosnpy.admin.api import build

        host = (self._state.loaded.admin or {}).get("host", "")
        runner = web.AppRunner(build(self._state, host), access_log=None, handle_signals=False, shutdown_timeout=1.0)
        await runner.setup()
        sock = socket.socket(fileno=socket.dup(admin))
        await web.SockSite(runner, sock, backlog=128).start()
        return runner

    def _snapshot(self) -> snapshot.Snapshot:
        return snapshot.take(self._layout, self._registry, self._memory.rows())

    async def _reload(self) -> Reloaded:
        ticket = next(self._tickets)
        self._waiting[ticket] = asyncio.get_running_loop().create_future()
        self._channel.send(Reload(ticket))
        return await self._waiting[ticket]

    def _shutdown(self) -> None:
        self._channel.send(Shutdown())

    def _arrived(self, arrived: Arrived) -> None:
        match arrived.message:
            case Loaded() as loaded:
                self._state.loaded = loaded
                self._registry = SlotRegistry.unpack(loaded.registry)
                self._checks.update(Check.several(loaded.checks))
            case Status() as status:
                self._state.status = status
            case Reloaded() as done:
                waiting = self._waiting.pop(done.ticket, None)
                if waiting is not None and not waiting.done():
                    waiting.set_result(done)
            case Reopen(log_file):
                if log_file:
                    log.open_file(log_file)


def _turned(check: Check, finding: Finding) -> None:
    if finding.healthy:
        out.info("upstream %s: endpoint %s is healthy again", check.upstream, check.endpoint)
    else:
        out.warning("upstream %s: endpoint %s is unhealthy: %s", check.upstream, check.endpoint, finding.reason)
