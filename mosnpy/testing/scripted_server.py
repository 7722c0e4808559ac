"""What the scripted servers share: a listening socket on the shared loop, one task per connection, and an end of all of it.

A subclass says what becomes of a connection in `serve`. `stop()` leaves nothing behind: neither a connection that was
accepted a moment before it nor one whose script waits for what will never come. A script's exception is kept in
`errors` and fails the test at `stop()`, except those which mean that a connection ended.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from mosnpy.testing.loop_thread import shared_loop
from mosnpy.testing.resp import Address
from mosnpy.testing.waiting import free_port, until

Self = TypeVar("Self", bound="ScriptedServer")
_LINGER_RST = b"\x01\0\0\0\0\0\0\0"
_ENDED = (OSError, EOFError, asyncio.CancelledError)


def reset(writer: asyncio.StreamWriter) -> None:
    """RST: what the other side has not read yet may be lost. Nothing happens where the connection is closed already."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
    writer.transport.abort()


class ScriptedServer:
    """Listens on a TCP port or a Unix socket, with `tls` for TLS. `accepted` counts connections."""

    def __init__(
        self, *, host: str = "127.0.0.1", port: int = 0, path: str = "", tls: ssl.SSLContext | None = None,
        limit: int = 1 << 20,
    ) -> None:  # fmt: skip
        self.host, self.path = host, path
        self.port = 0 if path else port or free_port(host)
        self.accepted = 0
        self.errors: list[BaseException] = []
        self._tls, self._limit = tls, limit
        self._server: asyncio.Server | None = None
        self._running = False
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}  # the only strong references to the tasks

    @property
    def address(self) -> Address:
        return self.path or (self.host, self.port)

    @property
    def endpoint(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its first byte to its last; it is closed when this returns."""
        raise NotImplementedError

    # -- from the test's thread --

    def start(self: Self) -> Self:
        shared_loop().call(self._start())
        return self

    def stop(self) -> None:
        """Stops listening (new connections are refused) and resets what is open."""
        shared_loop().call(self._stop())
        assert not self.errors, self.errors

    def refuse(self) -> None:
        """Stops listening; open connections stay."""
        shared_loop().call(self._refuse())

    def until_quiet(self) -> None:
        """No connection is open any more."""
        until(lambda: not self._open, "connections to end")

    def release(self, gate: asyncio.Event) -> None:
        """Lets the scripts that wait for it go on, also those that come to it later."""
        self.on_loop(gate.set)

    def on_loop(self, act: Callable[[], object]) -> None:
        """Where the scripts run; returns when it is done."""

        async def run() -> None:
            act()

        shared_loop().call(run())

    # -- on the loop --

    async def _start(self) -> None:
        self._running = True
        if self.path:
            self._server = await asyncio.start_unix_server(self._accept, self.path, limit=self._limit)
        else:
            self._server = await asyncio.start_server(
                self._accept, self.host, self.port, reuse_address=True, backlog=1024, limit=self._limit, ssl=self._tls
            )

    async def _refuse(self) -> None:
        """What was accepted becomes a connection first: asyncio drops it where its server was closed in between."""
        if self._server is not None:
            server, self._server = self._server, None
            for listening in server.sockets:
                asyncio.get_running_loop().remove_reader(listening)
            await asyncio.sleep(0)
            server.close()

    async def _stop(self) -> None:
        self._running = False
        await self._refuse()
        for task, writer in self._open.items():
            writer.transport.abort()
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._running:  # it was on its way when stop() was called
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        self.accepted += 1
        try:
            await self.serve(reader, writer)
        except _ENDED:
            pass  # the other side, the script or stop() ended it
        except Exception as error:
            self.errors.append(error)
        writer.close()
        with suppress(*_ENDED):
            await (
                writer.wait_closed()
            )  # asyncio's TLS may not close where reading was paused at the end: stop() aborts it
        del self._open[task]

    def __enter__(self: Self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
