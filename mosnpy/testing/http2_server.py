"""A scripted HTTP/2 upstream (prior knowledge): well behaved by default, any frame where a test asks for it.

    async def script(stream: Stream2) -> None:              # once per request, as soon as its head is there
        body = await stream.read_body()
        await stream.respond(200, [("x-a", "1")], b"hello", trailers=[("x-t", "2")])

    with Http2Server(script) as server:
        ...
        server.each(lambda peer: peer.send_now(goaway(3)))   # raw frames on every open connection

Scripts of one connection run side by side. SETTINGS and PING are answered and windows opened again as DATA comes unless
`polite` or `windows` are False on the server.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from hyperframe.frame import DataFrame, Frame, GoAwayFrame, PingFrame, SettingsFrame

from mosnpy.testing.http2_frames import (
    PREFACE,
    Code,
    Exchange2,
    Link,
    goaway,
    ping,
    rst_stream,
    settings_frame,
    window_update,
)
from mosnpy.testing.http_message import Fields
from mosnpy.testing.scripted_server import ScriptedServer, reset
from mosnpy.testing.waiting import until

Script2 = Callable[["Stream2"], Awaitable[None]]
OnFrame = Callable[["Http2Peer", Frame], "Awaitable[None] | None"]


class StreamReset(Exception):
    """The other side reset this stream, or its connection is gone."""


class Stream2:
    """One request at the server."""

    def __init__(self, peer: Http2Peer, message: Exchange2) -> None:
        self.peer, self.message = peer, message

    @property
    def id(self) -> int:
        return self.message.id

    @property
    def method(self) -> str:
        return self.message[":method"]

    @property
    def path(self) -> str:
        return self.message[":path"]

    async def wait(self, done: Callable[[], object]) -> None:
        """Until `done()`; StreamReset when that can't come any more."""
        async with self.peer.changed:
            while not done():
                if self.message.reset is not None or self.peer.end:
                    raise StreamReset
                await self.peer.changed.wait()

    async def read_body(self) -> bytes:
        await self.wait(lambda: self.message.ended)
        return bytes(self.message.body)

    async def gone(self) -> int | None:
        """Waits until the other side gives the stream up: the code of its RST_STREAM, None for the connection's end."""
        try:
            await self.wait(lambda: False)
        except StreamReset:
            pass
        return self.message.reset

    async def head(self, status: int = 200, fields: Fields | None = None, *, end: bool = False) -> None:
        await self.peer.send(self.peer.link.head(self.id, [(":status", str(status)), *(fields or [])], end=end))

    async def data(self, data: bytes = b"", *, end: bool = False) -> None:
        """DATA as the windows allow."""
        link, view = self.peer.link, memoryview(data)
        while True:
            if len(view):
                await self.wait(lambda: link.room(self.id) > 0)
            piece = view[: max(0, min(len(view), link.room(self.id), 1 << 16))]
            view = view[len(piece) :]
            await self.peer.send(link.data(self.id, bytes(piece), end=end and not len(view)))
            if not len(view):
                return

    async def trailers(self, fields: Fields) -> None:
        await self.peer.send(self.peer.link.head(self.id, fields, end=True))

    async def respond(
        self, status: int = 200, fields: Fields | None = None, body: bytes = b"", *, trailers: Fields | None = None
    ) -> None:
        await self.head(status, fields, end=not body and trailers is None)
        if body:
            await self.data(body, end=trailers is None)
        if trailers is not None:
            await self.trailers(trailers)

    async def reset(self, code: int = Code.INTERNAL_ERROR) -> None:
        await self.peer.send(rst_stream(self.id, code))


class Http2Peer:
    """One accepted connection."""

    def __init__(self, server: Http2Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.number = server.accepted
        self.link = Link(client=False, keep_bodies=server.keep_bodies)
        self.changed = asyncio.Condition()
        self.frames: list[Frame] = []
        self.streams: list[Stream2] = []
        self.goaways: list[GoAwayFrame] = []
        self.last = 2**31 - 1  # highest stream that is served
        self.end = ""  # "FIN" or "RST"
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: set[int] = set()
        writer.transport.set_write_buffer_limits(1 << 16)

    async def send(self, data: bytes) -> None:
        if self.writer.is_closing():
            raise StreamReset
        self.writer.write(data)
        await self.writer.drain()

    def send_now(self, data: bytes) -> None:
        self.writer.write(data)

    def close(self) -> None:
        self.writer.close()

    def reset(self) -> None:
        reset(self.writer)

    def goaway(self, last: int | None = None, code: int = Code.NO_ERROR) -> None:
        """Requests above `last` (default: the highest seen) are ignored from now on."""
        highest = max((stream.id for stream in self.streams), default=0)
        self.last = min(self.last, highest if last is None else last)
        self.send_now(goaway(self.last, code))

    async def serve(self) -> None:
        self.link.buffer += await self.reader.readexactly(len(PREFACE))
        assert bytes(self.link.buffer) == PREFACE, bytes(self.link.buffer)
        self.link.buffer.clear()
        if self.server.settings is not None:
            await self.send(settings_frame(self.server.settings))
        if self.server.on_connect is not None:
            await self.server.on_connect(self)
        while data := await self.reader.read(1 << 18):
            self.link.buffer += data
            while (frame := self.link.take()) is not None:
                await self._frame(frame)
            async with self.changed:
                self.changed.notify_all()
        self.end = "FIN"

    async def _frame(self, frame: Frame) -> None:
        if len(self.frames) < 100_000:
            self.frames.append(frame)
        if self.server.on_frame is not None:
            done = self.server.on_frame(self, frame)
            if done is not None:
                await done
        match frame:
            case SettingsFrame() if self.server.polite and "ACK" not in frame.flags:
                self.send_now(settings_frame(ack=True))
            case PingFrame() if self.server.polite and "ACK" not in frame.flags:
                self.send_now(ping(frame.opaque_data, ack=True))
            case GoAwayFrame():
                self.goaways.append(frame)
            case DataFrame() if self.server.windows and frame.flow_controlled_length:
                out = window_update(0, frame.flow_controlled_length)
                if "END_STREAM" not in frame.flags:
                    out += window_update(frame.stream_id, frame.flow_controlled_length)
                self.send_now(out)
            case _:
                pass
        message = self.link.streams.get(frame.stream_id)
        if message is not None and message.fields and message.id not in self._begun and message.id <= self.last:
            self._begin(message)

    def _begin(self, message: Exchange2) -> None:
        self._begun.add(message.id)
        stream = Stream2(self, message)
        self.streams.append(stream)
        self.server.requests.append(stream)
        task = asyncio.ensure_future(self._run(stream))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, stream: Stream2) -> None:
        try:
            await self.server.script(stream)
        except (StreamReset, ConnectionError, asyncio.CancelledError):
            pass  # the other side gave it up
        except Exception as error:
            self.server.errors.append(error)

    async def finish(self) -> None:
        async with self.changed:
            self.changed.notify_all()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=1)
        for task in list(self._tasks):
            task.cancel()


class Http2Server(ScriptedServer):
    def __init__(
        self, script: Script2 | None = None, *, settings: dict[int, int] | None = None, polite: bool = True,
        windows: bool = True, keep_bodies: bool = True, port: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(port=port)
        self.script: Script2 = script or echo2
        self.settings: dict[int, int] | None = settings or {}
        self.polite, self.windows, self.keep_bodies = polite, windows, keep_bodies
        self.on_connect: Callable[[Http2Peer], Awaitable[None]] | None = None
        self.on_frame: OnFrame | None = None
        self.peers: list[Http2Peer] = []  # open now
        self.all_peers: list[Http2Peer] = []
        self.requests: list[Stream2] = []

    @property
    def last(self) -> Exchange2:
        return self.requests[-1].message

    def each(self, act: Callable[[Http2Peer], object]) -> None:
        self.on_loop(lambda: [act(peer) for peer in list(self.peers)])

    def until_requests(self, count: int, timeout: float = 10.0) -> list[Stream2]:
        until(lambda: len(self.requests) >= count, f"{count} requests to arrive upstream", timeout)
        return self.requests

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Http2Peer(self, reader, writer)
        self.peers.append(peer)
        self.all_peers.append(peer)
        try:
            await peer.serve()
        except (StreamReset, ConnectionError, EOFError, asyncio.CancelledError):
            peer.end = "RST"
        finally:
            peer.end = peer.end or "FIN"
            self.peers.remove(peer)
            await peer.finish()


# ---- scripts ----


async def echo2(stream: Stream2) -> None:
    """Describes the request, once it is there whole, as JSON: what the upstream saw."""
    body = await stream.read_body()
    message = stream.message
    seen = {
        "method": stream.method, "target": message.get(":path"), "version": "HTTP/2", "fields": message.fields,
        "body": body.decode("latin-1"), "size": message.size, "trailers": message.trailers, "connection": stream.peer.number,
    }  # fmt: skip
    text = json.dumps(seen).encode()
    fields = [("content-type", "application/json"), ("content-length", str(len(text)))]
    await stream.respond(200, fields, b"" if stream.method == "HEAD" else text)


async def mirror2(stream: Stream2) -> None:
    """Sends the body back while it comes, and its trailers behind it."""
    await stream.head(200)
    sent, message = 0, stream.message
    while True:
        await stream.wait(lambda at=sent: len(message.body) > at or message.ended)  # type: ignore[misc]
        if len(message.body) > sent:
            piece = bytes(message.body[sent:])
            sent += len(piece)
            await stream.data(piece)
        elif message.ended:
            break
    if message.trailers:
        await stream.trailers(message.trailers)
    else:
        await stream.data(end=True)


async def stall2(stream: Stream2) -> None:
    """Never answers."""
    await stream.gone()


def answer2(
    body: bytes = b"ok", *fields: tuple[str, str], status: int = 200, trailers: Fields | None = None
) -> Script2:
    async def script(stream: Stream2) -> None:
        await stream.read_body()
        await stream.respond(status, list(fields), body, trailers=trailers)

    return script


def flood2(size: int) -> Script2:
    block = bytes(range(256)) * 256

    async def script(stream: Stream2) -> None:
        await stream.read_body()
        await stream.head(200)
        for at in range(0, size, len(block)):
            await stream.data(block[: min(len(block), size - at)])
        await stream.data(end=True)

    return script
