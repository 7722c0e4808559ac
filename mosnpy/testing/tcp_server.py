"""A TCP server with a script per connection, for protocols nobody decodes."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable

from mosnpy.testing.scripted_server import ScriptedServer

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class TcpServer(ScriptedServer):
    """`serve` says what becomes of a connection."""

    def __init__(
        self, serve: Serve, *, host: str = "127.0.0.1", path: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(host=host, path=path, tls=tls)
        self.script = serve

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.script(reader, writer)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything back until FIN, then FIN (over TLS the connection's end stands for it)."""
    while data := await reader.read(1 << 18):
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
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
