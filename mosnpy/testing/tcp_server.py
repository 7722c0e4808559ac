"""A TCP server with a script per connection, for protocols nobody decodes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from mosnpy.testing.loop_thread import shared_loop
from mosnpy.testing.resp import Address
from mosnpy.testing.waiting import free_port

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer:
    """Listens on a TCP port or a Unix socket, with `tls` for TLS. `accepted` counts, `open` holds the connections that live."""

    def __init__(
        self, serve: Serve, *, host: str = "127.0.0.1", path: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.serve, self.host, self.path, self.tls = serve, host, path, tls
        self.port = 0 if path else free_port(host)
        self.accepted = 0
        self.open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> Address:
        return self.path or (self.host, self.port)

    @property
    def endpoint(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def start(self) -> TcpServer:
        shared_loop().call(self._start())
        return self

    def stop(self) -> None:
        shared_loop().call(self._stop())

    async def _start(self) -> None:
        if self.path:
            self._server = await asyncio.start_unix_server(self._serve, self.path)
        else:
            self._server = await asyncio.start_server(
                self._serve, self.host, self.port, reuse_address=True, backlog=1024, ssl=self.tls
            )

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self.open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self.open.add(writer)
        try:
            await self.serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the other side ended it
        finally:
            self.open.discard(writer)
            writer.close()

    def __enter__(self) -> TcpServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back until FIN, then FIN."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def measure(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers only after the client's FIN: how many bytes came. Works only where half-close passes."""
    count = 0
    while data := await reader.read(1 << 18):
        count += len(data)
    writer.write(b"%d" % count)
    await writer.drain()


async def greet_then_listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks first, sends FIN at once, and still reads what the client says."""
    writer.write(b"hello\n")
    writer.write_eof()
    while await reader.read(1 << 18):
        pass


def flood(size: int) -> Serve:
    """Sends `size` bytes as fast as they are taken, after the first byte from the client."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        block = bytes(range(256)) * 1024
        for at in range(0, size, len(block)):
            writer.write(block[: min(len(block), size - at)])
            await writer.drain()

    return serve


def remember(seen: list[bytes], until_bytes: int) -> Serve:
    """Notes the first bytes of every connection, then answers ok and echoes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        while len(data) < until_bytes and (more := await reader.read(1 << 16)):
            data += more
        seen.append(data)
        writer.write(b"ok\n")
        await echo(reader, writer)

    return serve
