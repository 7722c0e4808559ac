"""A scripted HTTP/1 upstream: well behaved by default, and broken at any byte a test asks for.

    with HttpServer(echo) as server:                    # every request is described back as text
        server.script = canned(b"HTTP/1.1 200 OK\\r\\nContent-Length: 9\\r\\n\\r\\nabc", then="reset")

A script is an async function called once per request, as soon as its head is complete:

    async def script(peer: HttpPeer, request: Request) -> None:
        await peer.send(b"HTTP/1.1 100 Continue\\r\\n\\r\\n")
        await request.read_body()                       # a body the script doesn't read is read after it
        await peer.send(response(200, b"hello"))

Everything that came is kept byte for byte in `peer.received` (its first MiB), the requests in `server.requests`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable

from mosnpy.testing.http_message import Message, chunked, parse_fields, parse_head, response, response_head
from mosnpy.testing.scripted_server import ScriptedServer, reset
from mosnpy.testing.waiting import until

Script = Callable[["HttpPeer", "Request"], Awaitable[None]]
_KEPT = 1 << 20  # bytes remembered per connection


class Request(Message):
    """One request; `size` and `digest` are of the body even where it was too large to keep."""

    def __init__(self, message: Message, peer: HttpPeer) -> None:
        super().__init__(message.first, message.fields, message.raw)
        self.peer = peer
        self.size = 0
        self.digest = hashlib.sha256()
        self._read = False

    async def read_body(self, keep: int = _KEPT) -> bytes:
        """Reads to the body's end; the first `keep` bytes are kept in `body`, which is answered."""
        if self._read:
            return self.body
        self._read = True
        kept = bytearray()
        async for piece in self.pieces():
            if len(kept) < keep:
                kept += piece[: keep - len(kept)]
        self.body = bytes(kept)
        return self.body

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        self._read = True
        if self.chunked:
            async for piece in self._chunks():
                self._count(piece)
                yield piece
        else:
            left = self.length or 0
            while left:
                piece = await self.peer.some(left)
                left -= len(piece)
                self._count(piece)
                yield piece
        self.complete = True

    async def _chunks(self) -> AsyncIterator[bytes]:
        while size := int((await self.peer.line())[:-2], 16):
            self.chunks.append(size)
            while size:
                piece = await self.peer.some(size)
                size -= len(piece)
                yield piece
            assert await self.peer.line() == b"\r\n"
        lines = []
        while (line := await self.peer.line()) != b"\r\n":
            lines.append(line[:-2])
        self.trailers = parse_fields(lines)

    def _count(self, piece: bytes) -> None:
        self.size += len(piece)
        self.digest.update(piece)


class HttpPeer:
    """One accepted connection, as the scripts see it."""

    def __init__(self, server: HttpServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.number = server.accepted  # 1 for the first connection
        self.received = bytearray()
        self.requests: list[Request] = []
        self.end = ""  # how the other side left: "FIN" or "RST"
        self._buffer = bytearray()
        writer.transport.set_write_buffer_limits(0)  # drain() waits until the kernel has it all

    # -- in --

    async def _more(self) -> None:
        try:
            data = await self.reader.read(1 << 18)
        except ConnectionError:
            self.end = "RST"
            raise
        if not data:
            self.end = self.end or "FIN"
            raise EOFError
        if len(self.received) < _KEPT:
            self.received += data[: _KEPT - len(self.received)]
        self._buffer += data

    async def some(self, limit: int = 1 << 18) -> bytes:
        """At least one byte, at most `limit`."""
        if not self._buffer:
            await self._more()
        piece = bytes(self._buffer[:limit])
        del self._buffer[:limit]
        return piece

    async def through(self, mark: bytes) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            await self._more()
        raw = bytes(self._buffer[: at + len(mark)])
        del self._buffer[: at + len(mark)]
        return raw

    async def line(self) -> bytes:
        return await self.through(b"\r\n")

    async def gone(self) -> str:
        """Waits for the other side to leave; "FIN" or "RST"."""
        try:
            while True:
                self._buffer.clear()
                await self._more()
        except (EOFError, ConnectionError):
            return self.end

    # -- out --

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, size: int = 1) -> None:
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            await asyncio.sleep(0)

    def finish(self) -> None:
        """FIN behind what was written; still reads."""
        if self.writer.can_write_eof():
            self.writer.write_eof()

    def close(self) -> None:
        """FIN behind what was written, nothing is read any more."""
        self.writer.close()

    def reset(self) -> None:
        """RST: what the other side has not read yet may be lost."""
        reset(self.writer)


class HttpServer(ScriptedServer):
    """A listening socket with a script behind it. The script may be changed while it runs."""

    def __init__(self, script: Script | None = None, *, port: int = 0) -> None:
        super().__init__(port=port)
        self.script: Script = script or echo
        self.peers: list[HttpPeer] = []  # open now
        self.all_peers: list[HttpPeer] = []  # ever
        self.requests: list[Request] = []
        self.on_connect: Callable[[HttpPeer], Awaitable[None]] | None = None

    @property
    def last(self) -> Request:
        return self.requests[-1]

    def each(self, act: Callable[[HttpPeer], object]) -> None:
        """On every open connection: `server.each(HttpPeer.close)` is what an idle timeout looks like."""
        self.on_loop(lambda: [act(peer) for peer in list(self.peers)])

    def push(self, data: bytes) -> None:
        """Unasked bytes on every open connection."""
        self.each(lambda peer: peer.writer.write(data))

    def until_requests(self, count: int, timeout: float = 10.0) -> list[Request]:
        until(lambda: len(self.requests) >= count, f"{count} requests to arrive upstream", timeout)
        return self.requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = HttpPeer(self, reader, writer)
        self.peers.append(peer)
        self.all_peers.append(peer)
        try:
            if self.on_connect is not None:
                await self.on_connect(peer)
            while not writer.is_closing():
                request = Request(parse_head(await peer.through(b"\r\n\r\n")), peer)
                peer.requests.append(request)
                self.requests.append(request)
                await self.script(peer, request)
                if not writer.is_closing():
                    await request.read_body()
        finally:
            self.peers.remove(peer)


# ---- scripts ----


async def echo(peer: HttpPeer, request: Request) -> None:
    """Describes the request, once it is there whole, as JSON: what the upstream saw."""
    await request.read_body()
    seen = {
        "method": request.method, "target": request.target, "version": request.version, "fields": request.fields,
        "body": request.body.decode("latin-1"), "size": request.size, "trailers": request.trailers, "connection": peer.number,
    }  # fmt: skip
    body = json.dumps(seen).encode()
    head = request.method == "HEAD"
    await peer.send(response(200, body, ("Content-Type", "application/json"))[: -len(body) if head else None])


async def mirror(peer: HttpPeer, request: Request) -> None:
    """Sends the body back chunk by chunk while it comes, and its trailers behind it."""
    await peer.send(response_head(200, [("Transfer-Encoding", "chunked")]))
    async for piece in request.pieces():
        await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    await peer.send(chunked(trailers=request.trailers))


async def stall(peer: HttpPeer, request: Request) -> None:
    """Reads the request, never answers."""
    await request.read_body()
    await peer.gone()


def canned(data: bytes, *, then: str = "keep", read: bool = True) -> Script:
    """These bytes for every request, whatever they are; then: "keep" the connection, "close", "reset" or "stall" it.

    `read` False: answered at the head, without a look at the body.
    """

    async def script(peer: HttpPeer, request: Request) -> None:
        if read:
            await request.read_body()
        await peer.send(data)
        if then == "close":
            peer.close()
        elif then == "reset":
            peer.reset()
        elif then == "stall":
            await peer.gone()

    return script


def answer(body: bytes = b"ok", *fields: tuple[str, str], status: int = 200) -> Script:
    return canned(response(status, body, *fields))


def flood(size: int, *, framing: str = "sized") -> Script:
    """A body of `size` bytes (0 … 255 over and over), "sized", "chunked" or ended by "eof"."""
    block = bytes(range(256)) * 256

    async def script(peer: HttpPeer, request: Request) -> None:
        await request.read_body()
        fields = {"sized": [("Content-Length", str(size))], "chunked": [("Transfer-Encoding", "chunked")], "eof": []}
        await peer.send(response_head(200, fields[framing]))
        for at in range(0, size, len(block)):
            piece = block[: min(len(block), size - at)]
            await peer.send(b"%x\r\n%b\r\n" % (len(piece), piece) if framing == "chunked" else piece)
        if framing == "chunked":
            await peer.send(b"0\r\n\r\n")
        elif framing == "eof":
            peer.close()

    return script
