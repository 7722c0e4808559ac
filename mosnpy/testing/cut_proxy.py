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
from collections.abc import Callable

from mosnpy.testing.resp import Address
from mosnpy.testing.scripted_server import ScriptedServer, reset


class _Link:
    """A client connection and its connection to the target."""

    def __init__(self, line: CutProxy, client: asyncio.StreamWriter, target: asyncio.StreamWriter) -> None:
        self.line, self.client, self.target = line, client, target

    def cut(self) -> None:
        for writer in (self.client, self.target):
            reset(writer)

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


class CutProxy(ScriptedServer):
    def __init__(self, target: Address, port: int = 0) -> None:
        super().__init__(port=port)
        self.target = target
        self.chunk = 0  # bytes passed at a time; 0 = as they come
        self.delay = 0.0  # seconds before each piece
        self.budget: int | None = None  # reply bytes left until the connection that uses them up is ended
        self.gentle = False  # end it with FIN instead of RST
        self.cuts = 0  # connections ended through `budget`
        self.passed = 0  # bytes, both directions
        self.links: set[_Link] = set()
        self.may_pass = asyncio.Event()
        self.may_pass.set()

    def stop(self) -> None:
        self.cut()
        super().stop()

    def cut(self) -> None:
        """RST on both sides of every connection."""
        self._each(_Link.cut)

    def finish(self) -> None:
        """FIN on both sides of every connection."""
        self._each(_Link.finish)

    def _each(self, act: Callable[[_Link], object]) -> None:
        self.on_loop(lambda: [act(link) for link in list(self.links)])

    def cut_after(self, reply_bytes: int, *, gentle: bool = False) -> None:
        self.gentle = gentle
        self.budget = reply_bytes

    def pause(self) -> None:
        self.on_loop(self.may_pass.clear)

    def resume(self) -> None:
        self.release(self.may_pass)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
        try:
            await asyncio.gather(link.relay(reader, back, False), link.relay(there, writer, True))
        except asyncio.CancelledError:
            link.cut()
        finally:
            self.links.discard(link)
            link.finish()
