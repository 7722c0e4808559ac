"""Tunnels in HTTP/2 streams: CONNECT (RFC 9113 §8.5), and WebSocket by extended CONNECT (RFC 8441)."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket

import pytest

from mosnpy.testing.http2_frames import Code, Setting
from mosnpy.testing.http2_server import Stream2
from mosnpy.testing.http2_wire import Http2Wire
from mosnpy.testing.http_message import Fields, response, response_head
from mosnpy.testing.http_server import HttpPeer, Request
from mosnpy.testing.http_stage import HttpStage
from mosnpy.testing.waiting import until


def test_connect_tunnel(http: HttpStage) -> None:
    """RFC 9113 §8.5: bytes of the tunnel are DATA; END_STREAM ends a direction."""

    async def script(peer: HttpPeer, request: Request) -> None:
        assert request.method == "CONNECT"
        await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await peer.send((await peer.some()).upper())
        except EOFError:
            peer.finish()
            raise

    http.server(script)
    http.start(routes=[{"match": {"method": ["CONNECT"]}, "to": "back"}])
    wire = http.wire2()
    number = wire.open_id()
    wire.send_raw(wire.link.head(number, [(":method", "CONNECT"), (":authority", "b.test:443")], end=False))
    message = wire.head_of(number)
    assert message.status == 200
    wire.data(number, b"hello")
    wire.until(lambda: len(message.body) >= 5, "the echo")
    wire.data(number, b"bye", end=True)
    wire.until(lambda: message.over, "the tunnel's end")
    assert (bytes(message.body), message.ended) == (b"HELLOBYE", True)


CONNECT = [(":method", "CONNECT"), (":authority", "b.test:443")]
WEBSOCKET = [
    (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "a.test"), (":path", "/chat"),
    ("sec-websocket-version", "13"), ("x-a", "b"),
]  # fmt: skip


async def websocket(peer: HttpPeer, request: Request) -> None:
    """An HTTP/1 server's side of the handshake; then bytes in upper case until FIN."""
    assert (request.method, request.target, request["upgrade"].lower()) == ("GET", "/chat", "websocket")
    key = request["sec-websocket-key"]
    assert len(base64.b64decode(key)) == 16
    digest = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    fields = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", base64.b64encode(digest).decode()),
    ]
    await peer.send(response_head(101, fields, reason="Switching Protocols"))
    try:
        while True:
            await peer.send((await peer.some()).upper())
    except EOFError:
        peer.finish()
        raise


async def websocket2(stream: Stream2) -> None:
    """An HTTP/2 server that knows RFC 8441."""
    found = dict(stream.message.fields)
    assert (found[":method"], found[":protocol"], found[":path"]) == ("CONNECT", "websocket", "/chat")
    await stream.head(200)
    sent, message = 0, stream.message
    while not message.ended or len(message.body) > sent:
        await stream.wait(lambda at=sent: len(message.body) > at or message.ended)  # type: ignore[misc]
        piece = bytes(message.body[sent:])
        sent += len(piece)
        await stream.data(piece.upper())
    await stream.data(end=True)


class TestWebSocket:
    def open(self, wire: Http2Wire) -> int:
        number = wire.open_id()
        wire.send_raw(wire.link.head(number, WEBSOCKET, end=False))
        assert wire.head_of(number).status == 200
        return number

    def test_is_offered(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire2()
        wire.fence()
        assert wire.link.peer_settings[Setting.ENABLE_CONNECT_PROTOCOL] == 1

    @pytest.mark.parametrize("two", [False, True], ids=["HTTP/1 upstream", "HTTP/2 upstream"])
    def test_echo(self, http: HttpStage, two: bool) -> None:
        if two:
            http.server2(websocket2, settings={Setting.ENABLE_CONNECT_PROTOCOL: 1})
        else:
            http.server(websocket)
        http.start()
        wire = http.wire2()
        streams = [self.open(wire) for _ in range(3)]
        for number in streams:
            message = wire.link.stream(number)
            for size in (1, 1000, 200_000):
                wire.data(number, b"x" * size)
                wire.until(lambda at=size: len(message.body) >= at, "the echo")  # type: ignore[misc] # noqa: B023
                assert bytes(message.body) == b"X" * size
                message.body.clear()
            wire.data(number, end=True)
            assert wire.wait(number).ended

    @pytest.mark.parametrize("how", ["stream", "close", "reset"])
    def test_client_leaves(self, http: HttpStage, how: str) -> None:
        server = http.server(websocket)
        http.start()
        wire = http.wire2()
        number = self.open(wire)
        if how == "stream":
            wire.reset_stream(number)
            wire.fence()
        else:
            getattr(wire, how)()
        until(lambda: not server.peers, "the upstream's side to end")

    def test_server_leaves(self, http: HttpStage) -> None:
        server = http.server(websocket)
        http.start()
        wire = http.wire2()
        number = self.open(wire)
        server.each(HttpPeer.reset)
        got = wire.wait(number)
        assert got.reset in (Code.CONNECT_ERROR, Code.CANCEL, Code.INTERNAL_ERROR)
        assert wire.alive()

    def test_off(self, http: HttpStage) -> None:
        """upgrade: false: not offered, and malformed if asked for all the same."""
        http.server(websocket)
        http.start(http={"upgrade": False})
        wire = http.wire2()
        wire.fence()
        assert wire.link.peer_settings.get(Setting.ENABLE_CONNECT_PROTOCOL, 0) == 0
        number = wire.open_id()
        wire.send_raw(wire.link.head(number, WEBSOCKET, end=False))
        got = wire.wait(number)
        assert got.reset is not None or got.status // 100 in (4, 5)


class TestConsent:
    """Bytes of a tunnel that an HTTP/1 server has not agreed to would be requests to it, past all routes."""

    SMUGGLED = b"GET /secret HTTP/1.1\r\nHost: a.test\r\n\r\n"

    def front(self, http: HttpStage, fields: Fields, end: bool = False) -> tuple[Http2Wire, int]:
        http.start(routes=[{"match": {"method": ["CONNECT"]}, "to": "back"}])
        wire = http.wire2()
        number = wire.open_id()
        wire.send_raw(wire.link.head(number, fields, end=False))
        wire.data(number, self.SMUGGLED if not end else b"hello", end=end)
        return wire, number

    @pytest.mark.parametrize("fields", [WEBSOCKET, CONNECT], ids=["extended", "plain"])
    def test_nothing_passes_before_the_answer(self, http: HttpStage, fields: Fields) -> None:
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await gate.wait()
            await peer.send(response(404, b"no"))

        server = http.server(script)
        wire, number = self.front(http, fields)
        server.until_requests(1)
        wire.fence()
        server.release(gate)
        assert wire.wait(number).status == 404
        until(lambda: server.all_peers[0].end, "the connection's end")
        assert len(server.requests) == 1

    def test_only_101_opens_a_websocket(self, http: HttpStage) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response(200, b"an ordinary page"))

        server = http.server(script)
        wire, number = self.front(http, WEBSOCKET)
        assert wire.wait(number).status == 502
        until(lambda: server.all_peers[0].end, "the connection's end")
        assert len(server.requests) == 1

    @pytest.mark.parametrize("fields", [WEBSOCKET, CONNECT], ids=["extended", "plain"])
    def test_early_bytes_and_their_end_pass_behind_it(self, http: HttpStage, fields: Fields) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            if request.method == "GET":
                await websocket(peer, request)
            await peer.send(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while True:
                    await peer.send((await peer.some()).upper())
            except EOFError:
                peer.finish()
                raise

        http.server(script)
        wire, number = self.front(http, fields, end=True)
        message = wire.wait(number)
        assert (message.status, bytes(message.body), message.ended) == (200, b"HELLO", True)


class TestClientsOfHttp1:
    """Their request ends with its head, their tunnel begins there."""

    @pytest.mark.parametrize("method", ["GET", "CONNECT"])
    def test_tunnel_through_an_http2_server(self, http: HttpStage, method: str) -> None:
        async def connected(stream: Stream2) -> None:
            assert (stream.method, stream.message.ended) == ("CONNECT", False)
            await stream.head(200)
            await stream.wait(lambda: stream.message.ended)
            await stream.data(bytes(stream.message.body).upper(), end=True)

        http.server2(websocket2 if method == "GET" else connected, settings={Setting.ENABLE_CONNECT_PROTOCOL: 1})
        http.start(routes=[{"match": {"method": ["GET", "CONNECT"]}, "to": "back"}])
        wire = http.wire()
        if method == "GET":
            upgrade = "GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            wire.send_raw(
                f"{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
        else:
            wire.send_raw(b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n")
        head = b""
        while b"\r\n\r\n" not in head:
            head += wire.socket.recv(4096)
        assert head.startswith(b"HTTP/1.1 101 " if method == "GET" else b"HTTP/1.1 200 "), head
        wire.send_raw(b"hello")
        wire.socket.shutdown(socket.SHUT_WR)
        said = b""
        while piece := wire.socket.recv(4096):
            said += piece
        assert said == b"HELLO"
