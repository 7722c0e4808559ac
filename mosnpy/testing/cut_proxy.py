"""A TCP relay in user space that misbehaves on demand, between a client and mosnpy or between mosnpy and an upstream.

with CutProxy(redis.address) as line:      # mosnpy's endpoint is line.endpoint
    line.cut_after(1000)                   # RST both sides once 1000 more reply bytes went through
    line.pause(); line.resume()            # nothing passes, nothing is lost
    line.chunk = 7                         # pass 7 bytes at a time
    line.delay = 0.05                      # seconds before each piece
    line.cut(); line.finish()              # RST or FIN on all connections now
"""

from __future__ import annotations

import asyncio
import socket

from mosnpy.testing.loop_thread import shared_loop
from mosnpy.testing.resp import Address
from mosnpy.testing.waiting import free_port

_LINGER_RST = b"\x01\0\0\0\0\0\0\0"


class _Link:
    """A client connection and its connection to the target."""

    def __init__(self, line: CutProxy, client: asyncio.StreamWriter, target: asyncio.StreamWriter) -> None:
        self.line, self.client, self.target = line, client, target

    def cut(self) -> None:
        for writer in (self.client, self.target):
            raw = writer.get_extra_info("socket")
            if raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RST)
            writer.transport.abort()

    def finish(self) -> None:
        self.client.close()
        self.target.close()

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, replies: bool) -> None:
        line = self.line
        try:
            while data := await reader.read(1 << 18):
                size = line.chunk or len(data)
                for at in range(0, len(data), size):
                    await line.may_pass.wait()
                    if line.delay:
                        await asyncio.sleep(line.delay)
                    piece = data[at : at + size]
                    if replies and line.budget is not None:
                        piece = piece[: line.budget]
                        line.budget -= len(piece)
                    writer.write(piece)
                    await writer.drain()
                    line.passed += len(piece)
                    if replies and line.budget == 0:
                        line.budget = None
                        line.cuts += 1
                        self.end_after_budget()
                        return
            if writer.can_write_eof():
                writer.write_eof()
        except (ConnectionError, RuntimeError):
            self.cut()

    def end_after_budget(self) -> None:
        if self.line.gentle:
            self.finish()
        else:
            self.cut()


class CutProxy:
    def __init__(self, target: Address, port: int = 0) -> None:
        self.target, self.port = target, port or free_port()
        self.chunk = 0  # bytes passed at a time; 0 = as they come
        self.delay = 0.0  # seconds before each piece
        self.budget: int | None = None  # reply bytes left until the connection that uses them up is ended
        self.gentle = False  # end it with FIN instead of RST
        self.cuts = 0  # connections ended through `budget`
        self.accepted = 0
        self.passed = 0  # bytes, both directions
        self.links: set[_Link] = set()
        self.may_pass = asyncio.Event()
        self._server: asyncio.Server | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self) -> CutProxy:
        shared_loop().call(self._start())
        return self

    def stop(self) -> None:
        async def on_loop() -> None:
            await self._refuse()
            for link in list(self.links):
                link.cut()

        shared_loop().call(on_loop())

    def refuse(self) -> None:
        """Stops listening, keeps what is open. `start()` listens again."""
        shared_loop().call(self._refuse())

    def cut(self) -> None:
        """RST on both sides of every connection."""

        async def on_loop() -> None:
            for link in list(self.links):
                link.cut()

        shared_loop().call(on_loop())

    def finish(self) -> None:
        """FIN on both sides of every connection."""

        async def on_loop() -> None:
            for link in list(self.links):
                link.finish()

        shared_loop().call(on_loop())

    def cut_after(self, reply_bytes: int, *, gentle: bool = False) -> None:
        self.gentle = gentle
        self.budget = reply_bytes

    def pause(self) -> None:
        shared_loop().loop.call_soon_threadsafe(self.may_pass.clear)

    def resume(self) -> None:
        shared_loop().loop.call_soon_threadsafe(self.may_pass.set)

    async def _start(self) -> None:
        self.may_pass.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True, backlog=1024)

    async def _refuse(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if isinstance(self.target, str):
                there, back = await asyncio.open_unix_connection(self.target)
            else:
                there, back = await asyncio.open_connection(*self.target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link(self, writer, back)
        self.links.add(link)
        self.accepted += 1
        try:
            await asyncio.gather(link.relay(reader, back, False), link.relay(there, writer, True))
        except asyncio.CancelledError:
            link.cut()
        finally:
            self.links.discard(link)
            link.finish()

    def __enter__(self) -> CutProxy:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
