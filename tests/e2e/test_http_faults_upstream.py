"""Upstreams that die, stall or lie in the middle of things: the client must see it, and nobody else must."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from mosnpy.testing.cut_proxy import CutProxy
from mosnpy.testing.http_message import CutShort, chunk, chunked, response, response_head
from mosnpy.testing.http_server import HttpPeer, Request, answer, canned, flood, mirror, stall
from mosnpy.testing.http_stage import HttpStage, http_config
from mosnpy.testing.tcp_server import TcpServer
from mosnpy.testing.waiting import free_port, until

SIZED = response_head(200, [("Content-Length", "100")])
CHUNKED = response_head(200, [("Transfer-Encoding", "chunked")])
EOF = response_head(200, [])
BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"


def cut(http: HttpStage, raw: bytes, then: str, method: str = "GET", version: str = "HTTP/1.1") -> CutShort:
    """The client's view of an upstream that sends `raw` and ends."""
    http.server(canned(raw, then=then))
    http.start()
    wire = http.wire()
    with pytest.raises(CutShort) as caught:
        wire.exchange(method, version=version)
    return caught.value


class TestMidBody:
    """A body that can't be finished must never look finished."""

    @pytest.mark.parametrize("then", ["close", "reset"])
    @pytest.mark.parametrize("body", [b"", b"x", b"x" * 99])
    def test_sized(self, http: HttpStage, body: bytes, then: str) -> None:
        error = cut(http, SIZED + body, then)
        assert error.message is not None
        assert len(error.message.body) <= len(body)
        assert error.reset

    @pytest.mark.parametrize("then", ["close", "reset"])
    @pytest.mark.parametrize(
        "body",
        [b"", b"5\r\nhel", b"5\r\nhello", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n", b"5\r\nhello\r\n0\r\nX-A: b\r\n"],
    )
    def test_chunked(self, http: HttpStage, body: bytes, then: str) -> None:
        error = cut(http, CHUNKED + body, then)
        assert b"hello".startswith(error.message.body if error.message else b"")

    @pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
    def test_reset_ends_no_body_by_eof(self, http: HttpStage, version: str) -> None:
        """FIN ends such a body well; a RST doesn't. To an HTTP/1.0 client only a RST can say so."""

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(EOF + b"half a ")
            await peer.through(b"!")
            peer.reset()

        server = http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(f"POST / {version}\r\nHost: a\r\nContent-Length: 1000\r\n\r\n".encode())
        head = wire.head()
        if head.chunked:
            assert wire.chunk() == b"half a "
        else:
            assert wire.exactly(7) == b"half a "
        wire.send_raw(b"!")
        more = wire.chunk if head.chunked else lambda: wire.body(head)
        with pytest.raises(CutShort):
            more()  # answers b"" if the body was ended as if it were whole
        until(lambda: not server.peers, "the upstream's end")

    def test_bad_chunk(self, http: HttpStage) -> None:
        error = cut(http, CHUNKED + b"5\r\nhello\r\nxyz\r\n", "stall")
        assert error.message is not None
        assert b"hello".startswith(error.message.body)

    def test_bad_chunk_end(self, http: HttpStage) -> None:
        cut(http, CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n", "stall")

    def test_client_of_http_1_0_and_chunks_cut_short(self, http: HttpStage) -> None:
        error = cut(http, CHUNKED + b"5\r\nhello\r\n", "close", version="HTTP/1.0")
        assert error.reset

    def test_others_go_on(self, http: HttpStage) -> None:
        server = http.server(flood(50_000_000))
        http.start()
        broken, other = http.wire(receive_buffer=8192), http.wire()
        broken.request("GET", "/big")
        assert broken.head().status == 200
        server.script = answer(b"fine")
        for _ in range(20):
            assert other.exchange().text == "fine"
        server.each(lambda peer: peer.reset() if peer.requests[0].target == "/big" else None)
        for _ in range(20):
            assert other.exchange().text == "fine"
        try:
            assert broken.drain(50_000_000) < 50_000_000
        except ConnectionResetError:
            pass  # told as it should be


class TestBeforeTheHead:
    @pytest.mark.parametrize("then", ["close", "reset"])
    @pytest.mark.parametrize("raw", [b"", b"H", b"HTTP/1.1 200 OK\r\nContent-"])
    def test_502(self, http: HttpStage, raw: bytes, then: str) -> None:
        http.server(canned(raw, then=then))
        http.start()
        wire = http.wire()
        for _ in range(2):
            answered = wire.exchange("POST", "/", body=b"x")
            assert answered.status in (502, 503)
            assert not answered.closes

    def test_after_an_interim(self, http: HttpStage) -> None:
        http.server(canned(response_head(103, [("Link", "x")]), then="close"))
        http.start()
        answered = http.wire().exchange("POST", "/", body=b"x")
        assert answered.status in (502, 503)

    def test_nobody_listens(self, http: HttpStage) -> None:
        config = http_config(http.server())
        config["upstreams"]["back"]["endpoints"] = [f"127.0.0.1:{free_port()}"]
        http.start_config(config)
        wire = http.wire()
        for method in ("GET", "POST"):
            assert wire.exchange(method, "/", body=b"x" if method == "POST" else None).status in (502, 503)

    @pytest.mark.parametrize(
        ("upstream", "said", "status", "error"),
        [
            ({"protocol": "http1"}, b"\0\0\0\4\0\0\0\0\0", 502, "http_protocol_error"),  # a server of HTTP/2
            ({"protocol": "http2"}, BAD_REQUEST, 502, "http_protocol_error"),
            ({"protocol": "http1"}, b"", 502, "connection_terminated"),
            ({"protocol": "http1", "tls": {"verify": False}}, BAD_REQUEST, 503, "connection_refused"),
        ],
    )
    def test_a_server_that_speaks_something_else(
        self, http: HttpStage, upstream: dict[str, Any], said: bytes, status: int, error: str
    ) -> None:
        """The table of docs/guide/http.md."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(4096)
            writer.write(said)
            writer.close()

        with TcpServer(serve) as server:
            http.start_config({
                "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "http", "to": "back"}},
                "upstreams": {"back": {"endpoints": [server.endpoint], **upstream}},
            })  # fmt: skip
            answered = http.wire().exchange("POST", "/", body=b"x")
            assert (answered.status, answered["proxy-status"]) == (status, f"mosnpy; error={error}")

    def test_connect_is_retried_elsewhere(self, http: HttpStage) -> None:
        """Nothing was sent, so even a POST goes to the next endpoint; its body is still there."""
        server = http.server()
        config = http_config(server, attempts=3)
        config["upstreams"]["back"]["endpoints"].insert(0, f"127.0.0.1:{free_port()}")
        http.start_config(config)
        wire = http.wire()
        for _ in range(6):
            assert wire.exchange("POST", "/", body=b"x" * 100_000).status == 200
        assert len(server.requests) == 6

    def test_many_at_once(self, http: HttpStage) -> None:
        """A crowd loses its upstream in one moment: each client has an answer, and the proxy nothing left."""
        server = http.server(stall)
        http.start()
        wires = [http.wire() for _ in range(100)]
        for wire in wires:
            wire.request("POST", "/", body=b"x")
        server.until_requests(100)
        server.each(HttpPeer.reset)
        assert {wire.response().status for wire in wires} <= {502, 503}
        server.script = answer(b"back")
        assert {wire.exchange().text for wire in wires} == {"back"}


class TestWhileTheRequestIsSent:
    def test_upstream_dies_under_an_upload(self, http: HttpStage) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.some(1000)
            peer.reset()

        http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\n")
        try:
            for _ in range(10):
                wire.send_raw(b"x" * 1_000_000)
        except OSError:
            pass  # the answer came meanwhile
        assert wire.response().status in (502, 503)

    def test_upstream_that_stops_reading(self, http: HttpStage) -> None:
        """Back-pressure reaches the client: of 200 MB it gets rid of a few, and other requests pass."""

        released = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            if request.method == "POST":
                await released.wait()
            await peer.send(response(200, b"ok"))

        server = http.server(script)
        http.start()
        slow, other = http.wire(timeout=0.5), http.wire()
        slow.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000000\r\n\r\n")
        sent = 0
        try:
            while sent < 200_000_000:
                sent += slow.socket.send(b"x" * 1_000_000)
        except TimeoutError:
            pass  # held back: as it should be
        assert sent < 60_000_000
        assert other.exchange().text == "ok"
        slow.reset()
        server.release(released)

    def test_half_closed_upstream_still_reads(self, http: HttpStage) -> None:
        """Its response is whole and ends with FIN while the request is still going: the exchange is fine."""

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response(200, b"done", ("Connection", "close")))
            peer.finish()
            await request.read_body()

        http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        assert wire.response().text == "done"


class TestBrokenLines:
    @pytest.mark.parametrize("chunk_size", [1, 7, 1000])
    def test_everything_in_small_pieces(self, http: HttpStage, chunk_size: int) -> None:
        server = http.server(mirror)
        with CutProxy(server.address) as line:
            line.chunk = chunk_size
            config = http_config(server)
            config["upstreams"]["back"]["endpoints"] = [line.endpoint]
            http.start_config(config)
            body = bytes(range(256)) * 20
            wire = http.wire()
            for _ in range(2):
                assert wire.exchange("POST", "/", body=body).body == body
                assert wire.exchange("POST", "/", pieces=[body[:100], body[100:]], trailers=[("x-a", "b")]).body == body
            http.quiet()

    def test_cut_at_every_byte_of_a_response(self, http: HttpStage) -> None:
        """Wherever it is cut: an error, an incomplete body, or, at its very end, the whole; never something else."""
        whole = response_head(200, [("Transfer-Encoding", "chunked"), ("X-A", "b")]) + chunked(b"hello", b"world")
        server = http.server()
        http.start()
        for at in range(len(whole) + 1):
            server.script = canned(whole[:at], then="close")
            wire = http.wire()
            try:
                answered = wire.exchange("POST", "/", body=b"x")
            except CutShort as error:
                fine = at < len(whole) and b"helloworld".startswith(error.message.body if error.message else b"")
            else:
                fine = answered.status in (502, 503) if at < len(whole) else answered.body == b"helloworld"
            assert fine, at
            wire.close()

    def test_chunks_of_every_size_arrive(self, http: HttpStage) -> None:
        pieces = [bytes([65 + size % 26]) * size for size in range(1, 300)]
        http.server(canned(CHUNKED + b"".join(chunk(piece) for piece in pieces) + b"0\r\n\r\n"))
        http.start()
        assert http.wire().exchange().body == b"".join(pieces)
