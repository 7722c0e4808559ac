"""WebSocket and other upgrades: after 101 the connection is a tunnel, and never goes back to the pool."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable, Iterator

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from mosnpy.testing.http_message import response
from mosnpy.testing.http_server import HttpPeer, HttpServer, Request, answer
from mosnpy.testing.http_stage import HttpStage, field_values, http_config
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.loop_thread import shared_loop
from mosnpy.testing.waiting import free_port, until

MIB = 1 << 20
Handler = Callable[[ServerConnection], Awaitable[None]]


class WebSocketServer:
    """A server of the `websockets` package, its handler changeable."""

    def __init__(self) -> None:
        self.handler: Handler = echo
        self.port = free_port()
        self.codes: list[int | None] = []  # how each connection ended
        self.requests: list[dict[str, str]] = []

    async def _serve(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        self.requests.append(dict(connection.request.headers.raw_items()))
        try:
            await self.handler(connection)
        except ConnectionClosed:
            pass
        finally:
            await connection.wait_closed()
            self.codes.append(connection.close_code)

    def start(self) -> WebSocketServer:
        async def begin() -> None:
            self._server = await serve(
                self._serve,
                "127.0.0.1",
                self.port,
                max_size=80 * MIB,
                close_timeout=5,
                ping_interval=None,
                compression=None,
            )

        shared_loop().call(begin())
        return self

    def stop(self) -> None:
        async def end() -> None:
            self._server.close()
            await self._server.wait_closed()

        shared_loop().call(end())


async def echo(connection: ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


@pytest.fixture
def server() -> Iterator[WebSocketServer]:
    running = WebSocketServer().start()
    yield running
    running.stop()


@pytest.fixture
def url(http: HttpStage, server: WebSocketServer) -> str:
    config = http_config(http.server())
    config["upstreams"]["back"]["endpoints"] = [f"127.0.0.1:{server.port}"]
    http.start_config(config)
    assert isinstance(http.address, tuple)
    return f"ws://127.0.0.1:{http.address[1]}/chat"


def run(script: Awaitable[object]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(script, 30)

    asyncio.run(limited())


def client(url: str, **options: object) -> connect:
    return connect(url, max_size=80 * MIB, compression=None, ping_interval=None, proxy=None, **options)  # type: ignore[arg-type]


class TestMessages:
    def test_echo(self, url: str, server: WebSocketServer) -> None:
        async def script() -> None:
            async with client(url, additional_headers={"X-A": "b"}, subprotocols=None) as ws:
                for size in (0, 1, 125, 126, 65_535, 65_536, 300_000):
                    data = os.urandom(size)
                    await ws.send(data)
                    assert await ws.recv() == data
                await ws.send("text é")
                assert await ws.recv() == "text é"

        run(script())
        until(lambda: server.codes == [1000], "the close handshake to reach the server")
        (head,) = server.requests
        found = {name.lower(): value for name, value in head.items()}
        assert found["upgrade"] == "websocket"
        assert "upgrade" in found["connection"].lower()
        assert found["x-a"] == "b"

    def test_64_mib_messages(self, url: str) -> None:
        async def script() -> None:
            data = os.urandom(MIB) * 64
            async with client(url) as ws:
                await ws.send(data)
                back = await ws.recv()
                assert hashlib.sha256(back).digest() == hashlib.sha256(data).digest()  # type: ignore[arg-type]

        run(script())

    def test_pings_pass(self, url: str) -> None:
        async def script() -> None:
            async with client(url) as ws:
                for _ in range(20):
                    await (await ws.ping())

        run(script())

    def test_many_at_once(self, url: str) -> None:
        async def one(number: int) -> None:
            async with client(url) as ws:
                for step in range(10):
                    await ws.send(f"{number}/{step}")
                    assert await ws.recv() == f"{number}/{step}"

        async def script() -> None:
            await asyncio.gather(*(one(number) for number in range(100)))

        run(script())

    def test_both_ways_without_asking(self, url: str, server: WebSocketServer) -> None:
        async def chatter(connection: ServerConnection) -> None:
            async def send() -> None:
                for number in range(2000):
                    await connection.send(f"server {number}")

            sender = asyncio.create_task(send())
            for number in range(2000):
                assert await connection.recv() == f"client {number}"
            await sender
            await connection.close()

        server.handler = chatter

        async def script() -> None:
            async with client(url) as ws:
                for number in range(2000):
                    await ws.send(f"client {number}")
                assert [message async for message in ws] == [f"server {number}" for number in range(2000)]

        run(script())


class TestEnds:
    def test_close_codes_of_the_client(self, url: str, server: WebSocketServer) -> None:
        async def script() -> None:
            for code in (1000, 1001, 3000, 4999):
                async with client(url) as ws:
                    await ws.close(code, "enough")

        run(script())
        until(lambda: server.codes == [1000, 1001, 3000, 4999], "the codes to arrive")

    def test_close_codes_of_the_server(self, url: str, server: WebSocketServer) -> None:
        async def leave(connection: ServerConnection) -> None:
            await connection.close(4001, "no more")

        server.handler = leave

        async def script() -> None:
            async with client(url) as ws:
                with pytest.raises(ConnectionClosed) as caught:
                    await ws.recv()
                assert caught.value.rcvd is not None
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4001, "no more")

        run(script())

    def test_client_vanishes(self, url: str, server: WebSocketServer) -> None:
        async def script() -> None:
            ws = await client(url)
            await ws.send("x")
            await ws.recv()
            ws.transport.abort()

        run(script())
        until(lambda: server.codes == [1006], "the server to notice")

    def test_server_vanishes(self, url: str, server: WebSocketServer) -> None:
        async def vanish(connection: ServerConnection) -> None:
            await connection.recv()
            connection.transport.abort()

        server.handler = vanish

        async def script() -> None:
            async with client(url) as ws:
                await ws.send("x")
                with pytest.raises(ConnectionClosed):
                    await ws.recv()
                assert ws.close_code == 1006

        run(script())


HELLO = b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


async def raw_echo(peer: HttpPeer, request: Request) -> None:
    """Another protocol than WebSocket: bytes back as they come, until FIN."""
    if request.get("upgrade") != "raw":
        await answer(b"plain")(peer, request)
        return
    await peer.send(SWITCH)
    try:
        while True:
            await peer.send(await peer.some())
    except EOFError:
        peer.finish()
        raise


def upgraded(http: HttpStage, behind: bytes = b"") -> HttpWire:
    wire = http.wire()
    wire.send_raw(HELLO % b"raw" + behind)
    head = wire.head()
    assert (head.status, head["upgrade"]) == (101, "raw")
    return wire


class TestRaw:
    def test_tunnel(self, http: HttpStage) -> None:
        http.server(raw_echo)
        http.start()
        wire = upgraded(http)
        for piece in (b"\0\1\2", b"GET / HTTP/1.1\r\n\r\n", os.urandom(1_000_000)):
            wire.send_raw(piece)
            assert wire.exactly(len(piece)) == piece

    def test_bytes_right_behind_the_heads(self, http: HttpStage) -> None:
        """Neither the client nor the server need wait for the other."""

        async def eager(peer: HttpPeer, request: Request) -> None:
            await peer.send(SWITCH + b"welcome")
            await peer.send(await peer.some())

        http.server(eager)
        http.start()
        wire = upgraded(http, b"early")
        assert wire.exactly(12) == b"welcomeearly"

    def test_ends_of_both_directions(self, http: HttpStage) -> None:
        http.server(raw_echo)
        http.start()
        wire = upgraded(http)
        wire.send_raw(b"last words")
        wire.half_close()
        assert wire.rest() == b"last words"

    def test_fin_before_there_is_a_tunnel(self, http: HttpStage) -> None:
        """It ends the client's direction of it, as if it had come a moment later."""
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await gate.wait()
            await peer.send(SWITCH + b"all I have to say")
            assert await peer.gone() == "FIN"
            await peer.send(b", and that")
            peer.close()

        server = http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(HELLO % b"raw")
        wire.half_close()
        server.until_requests(1)
        assert wire.silent()
        server.release(gate)
        assert wire.head().status == 101
        assert wire.rest() == b"all I have to say, and that"

    def test_never_used_again(self, http: HttpStage) -> None:
        server = http.server(raw_echo)
        http.start()
        wire = upgraded(http)
        wire.close()
        until(lambda: not server.peers, "the tunnel to end")
        for _ in range(3):
            assert http.wire().exchange().text == "plain"
        assert server.accepted == 2

    def test_reset_passes(self, http: HttpStage) -> None:
        server = http.server(raw_echo)
        http.start()
        for _ in range(5):
            wire = upgraded(http)
            wire.send_raw(b"x")
            wire.exactly(1)
            wire.reset()
        until(lambda: not server.peers, "the tunnels to end")
        wire = upgraded(http)
        server.each(HttpPeer.reset)
        assert wire.rest() == b""

    def test_refused(self, http: HttpStage) -> None:
        """An ordinary response instead: an ordinary exchange, on a connection that goes on."""
        server = http.server(answer(b"not me", status=426))
        http.start()
        wire = http.wire()
        for _ in range(3):
            wire.send_raw(HELLO % b"websocket")
            assert wire.response().status == 426
        assert server.accepted == 1

    def test_ignored(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(HELLO % b"websocket")
        assert wire.response().status == 200
        assert field_values({"fields": server.last.fields}, "upgrade") == ["websocket"]

    def test_off(self, http: HttpStage) -> None:
        """upgrade: false: the fields are taken away, and the upstream sees an ordinary request."""
        server = http.server(raw_echo)
        http.start(http={"upgrade": False})
        wire = http.wire()
        wire.send_raw(HELLO % b"raw")
        assert wire.response().text == "plain"
        assert "upgrade" not in server.last

    def test_h2c_is_not_upgraded(self, http: HttpStage) -> None:
        """RFC 9113 §3.1: Upgrade: h2c is obsolete; the request is answered in HTTP/1."""
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        )
        assert wire.response().status == 200
        assert "http2-settings" not in server.last

    def test_slow_reader_in_a_tunnel(self, http: HttpStage) -> None:
        size = 20_000_000

        async def pour(peer: HttpPeer, request: Request) -> None:
            await peer.send(SWITCH)
            for _ in range(size // 100_000):
                await peer.send(b"x" * 100_000)
            peer.close()

        server = http.server(pour)
        http.start()
        wire = http.wire(receive_buffer=8192)
        wire.send_raw(HELLO % b"raw")
        assert wire.head().status == 101
        server.script = answer(b"quick")
        other = http.wire()
        for _ in range(20):
            assert other.exchange().text == "quick"
        assert wire.drain(size) == size

    def test_request_with_a_body_is_no_tunnel_yet(self, http: HttpStage) -> None:
        """Content-Length and Upgrade together: the body is sent first, framed, then the protocol changes."""

        async def script(peer: HttpPeer, request: Request) -> None:
            body = await request.read_body()
            await peer.send(SWITCH + body)
            await peer.gone()

        server = http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\nContent-Length: 4\r\n\r\nbody"
        )
        head = wire.head()
        if head.status == 101:
            assert wire.exactly(4) == b"body"
        else:  # not asked for upstream, so its 101 is an error there
            assert head.status == 502
            assert "upgrade" not in server.last

    def test_101_to_a_request_without_upgrade(self, http: HttpStage) -> None:
        server = http.server()

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(SWITCH + response(200, b"smuggled"))
            await peer.gone()

        server.script = script
        http.start()
        assert http.wire().exchange().status == 502
        assert isinstance(server, HttpServer)
