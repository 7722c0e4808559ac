"""Large bodies and long streams: 100 MiB both ways through bounded memory, server-sent events at once, many idle streams."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from mosnpy.testing.http2_server import Http2Server, Stream2, flood2
from mosnpy.testing.http2_wire import Http2Wire
from mosnpy.testing.http_message import chunk, response, response_head
from mosnpy.testing.http_server import HttpPeer, HttpServer, Request, flood
from mosnpy.testing.http_stage import HttpStage, http_config
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.waiting import MEMORY_FACTOR, free_port

MIB = 1 << 20
SIZE = 100 * MIB
BLOCK = bytes(range(256)) * 4096  # 1 MiB
DIGEST = hashlib.sha256(BLOCK * 100).hexdigest()
RSS_LIMIT = 60 * MIB * MEMORY_FACTOR

Start = Callable[..., ProxyProcess]


class Watched:
    """A proxy process whose workers' memory is looked at while something goes on."""

    def __init__(self, start: Start, servers: Any, **options: Any) -> None:
        port = free_port()
        self.address = ("127.0.0.1", port)
        self.proxy = start({"workers": 1, **http_config(servers, bind=f"127.0.0.1:{port}", **options)})
        self.peak = 0

    def look(self) -> None:
        self.peak = max(self.peak, self.proxy.worker_rss())


async def count(peer: HttpPeer, request: Request) -> None:
    """Answers the digest of what came."""
    await request.read_body(keep=0)
    await peer.send(response(200, f"{request.size} {request.digest.hexdigest()}".encode()))


async def count2(stream: Stream2) -> None:
    await stream.wait(lambda: stream.message.ended)
    await stream.respond(200, [], str(stream.message.size).encode())


@pytest.fixture
def servers() -> Iterator[dict[str, Any]]:
    with HttpServer(count) as up, HttpServer(flood(SIZE)) as down, HttpServer(flood(SIZE, framing="chunked")) as chunks:
        with Http2Server(count2, keep_bodies=False) as up2, Http2Server(flood2(SIZE)) as down2:
            yield {"up": up, "down": down, "chunks": chunks, "up2": up2, "down2": down2}


ROUTES = [{"match": {"path": f"/{name}"}, "to": name} for name in ("up", "down", "chunks", "up2", "down2")]


def test_100_mib_through_bounded_memory(start_proxy: Start, servers: dict[str, Any]) -> None:
    """Up and down, sized and chunked, HTTP/1 and HTTP/2 upstreams; one client at a time."""
    watched = Watched(start_proxy, servers, routes=ROUTES)
    for path in ("/up", "/up2"):
        for chunked in (False, True):
            with HttpWire(watched.address, timeout=30) as wire:
                framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {SIZE}"
                wire.send_raw(f"POST {path} HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n".encode())
                piece = chunk(BLOCK) if chunked else BLOCK
                for number in range(100):
                    wire.send_raw(piece)
                    if number % 10 == 0:
                        watched.look()
                if chunked:
                    wire.send_raw(b"0\r\n\r\n")
                answered = wire.response().text
                assert answered == (f"{SIZE} {DIGEST}" if path == "/up" else str(SIZE))
    for path in ("/down", "/chunks", "/down2"):
        with HttpWire(watched.address, timeout=30) as wire:
            wire.request("GET", path)
            head, got = wire.head(), 0
            if head.chunked:
                while piece := wire.chunk():
                    got += len(piece)
                    if got % (10 * MIB) < len(piece):
                        watched.look()
            else:
                while got < SIZE:
                    got += wire.drain(min(10 * MIB, SIZE - got))
                    watched.look()
            assert got == SIZE
    assert watched.peak < RSS_LIMIT, watched.peak


def test_100_mib_of_an_http2_client(start_proxy: Start, servers: dict[str, Any]) -> None:
    watched = Watched(start_proxy, servers, routes=ROUTES)
    with Http2Wire(watched.address, timeout=40, keep_bodies=False) as wire:
        for path in ("/down", "/down2"):
            stream = wire.begin("GET", path)
            message = wire.link.stream(stream)
            while not message.over:
                wire.frame()
                if message.size % MIB == 0:
                    watched.look()
            assert (message.size, message.reset) == (SIZE, None)
    with Http2Wire(watched.address, timeout=40) as wire:
        for path in ("/up", "/up2"):
            stream = wire.begin("POST", path, end=False)
            for number in range(100):
                wire.data(stream, BLOCK, end=number == 99)
                if number % 10 == 0:
                    watched.look()
            assert wire.wait(stream).text.split(" ")[0] == str(SIZE)
    assert watched.peak < RSS_LIMIT, watched.peak


def test_slow_clients_do_not_fill_the_proxy(start_proxy: Start, servers: dict[str, Any]) -> None:
    """20 clients are offered 100 MiB each and read none of it; 20 upload to upstreams that read nothing."""
    watched = Watched(start_proxy, servers, routes=ROUTES)
    wires = [HttpWire(watched.address, receive_buffer=8192) for _ in range(20)]
    for number, wire in enumerate(wires):
        wire.request("GET", ("/down", "/chunks", "/down2")[number % 3])
        wire.head()
    seconds = [Http2Wire(watched.address, windows=False) for _ in range(5)]
    for second in seconds:
        for _ in range(10):
            second.begin("GET", "/down")
        second.fence()
    watched.look()
    with HttpWire(watched.address) as other:
        for _ in range(30):
            assert other.exchange("POST", "/up", body=b"x").status == 200
            watched.look()
    assert watched.peak < RSS_LIMIT + 40 * MIB, watched.peak
    for each in [*wires, *seconds]:
        each.close()


class TestEvents:
    """Server-sent events: each one is with the client before the next is written."""

    def test_http1(self, http: HttpStage) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(
                response_head(200, [("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked")])
            )
            number = 0
            while await peer.some(1):
                await peer.send(chunk(b"data: %d\n\n" % number))
                number += 1

        server = http.server(script)
        http.start()
        wire = http.wire()
        wire.request("GET", "/events", ("Accept", "text/event-stream"))
        assert wire.head()["content-type"] == "text/event-stream"
        (peer,) = server.peers
        for number in range(50):
            self.poke(server, peer)
            assert wire.chunk() == b"data: %d\n\n" % number

    @staticmethod
    def poke(server: HttpServer, peer: HttpPeer) -> None:
        server.each(lambda one: one.reader.feed_data(b"!") if one is peer else None)

    def test_until_the_connection_ends(self, http: HttpStage) -> None:
        """Without framing; what the client gets is chunked, still piece by piece."""
        sent = asyncio.Semaphore(0)

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response_head(200, [("Content-Type", "text/event-stream")]))
            for number in range(20):
                await sent.acquire()
                await peer.send(b"data: %d\n\n" % number)
            peer.close()

        server = http.server(script)
        http.start()
        wire = http.wire()
        wire.request()
        assert wire.head().chunked
        for number in range(20):
            server.each(lambda peer: sent.release())
            assert wire.chunk() == b"data: %d\n\n" % number
        assert wire.chunk() == b""

    def test_http2_both_sides(self, http: HttpStage) -> None:
        go = asyncio.Semaphore(0)

        async def script(stream: Stream2) -> None:
            await stream.head(200, [("content-type", "text/event-stream")])
            for number in range(20):
                await go.acquire()
                await stream.data(b"data: %d\n\n" % number)
            await stream.data(end=True)

        server = http.server2(script)
        http.start()
        wire = http.wire2()
        stream = wire.begin("GET", "/events")
        wire.head_of(stream)
        for number in range(20):
            server.each(lambda peer: go.release())
            wire.until(lambda: wire.link.stream(stream).body.endswith(b"\n\n"), "an event")
            assert bytes(wire.link.stream(stream).body) == b"data: %d\n\n" % number
            wire.link.stream(stream).body.clear()
        assert wire.wait(stream).ended

    def test_1000_idle_streams_in_bounded_memory(self, start_proxy: Start) -> None:
        """Each has had an event and waits for the next; then all get one."""
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response_head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"data: 1\n\n"))
            await gate.wait()
            await peer.send(chunk(b"data: 2\n\n"))

        with HttpServer(script) as server:
            watched = Watched(start_proxy, server)
            wires = [HttpWire(watched.address, timeout=20) for _ in range(1000)]
            for wire in wires:
                wire.request("GET", "/events")
            for wire in wires:
                wire.head()
                assert wire.chunk() == b"data: 1\n\n"
            watched.look()
            server.release(gate)
            for wire in wires:
                assert wire.chunk() == b"data: 2\n\n"
            watched.look()
            assert watched.peak < RSS_LIMIT, watched.peak
            for wire in wires:
                wire.close()


def test_both_ways_at_once(http: HttpStage) -> None:
    """A mirror: 30 MB go out while they come back, neither waits for the other to end."""

    async def script(peer: HttpPeer, request: Request) -> None:
        await peer.send(response_head(200, [("Content-Length", str(request.length))]))
        async for piece in request.pieces():
            await peer.send(piece)

    http.server(script)
    http.start()
    wire = http.wire(timeout=20)
    wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (30 * MIB))
    sender = threading.Thread(target=lambda: [wire.socket.sendall(BLOCK) for _ in range(30)])
    sender.start()
    assert wire.head().status == 200
    digest, got = hashlib.sha256(), 0
    while got < 30 * MIB:
        piece = wire.exactly(min(MIB, 30 * MIB - got))
        digest.update(piece)
        got += len(piece)
    sender.join()
    assert digest.hexdigest() == hashlib.sha256(BLOCK * 30).hexdigest()
