"""HTTP/1 and HTTP/2 on either side: the same exchanges in all four combinations, streamed, with trailers and errors kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mosnpy.testing.http2_frames import Code
from mosnpy.testing.http2_server import Http2Peer, Http2Server, Stream2, answer2, mirror2, stall2
from mosnpy.testing.http2_wire import Http2Wire
from mosnpy.testing.http_message import CutShort, Fields, chunk, response, response_head
from mosnpy.testing.http_server import HttpPeer, HttpServer, Request, answer, canned, mirror, stall
from mosnpy.testing.http_stage import HttpStage, Server, field_values, seen
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.waiting import until


@dataclass
class Answer:
    """A response, whichever client got it."""

    status: int
    fields: dict[str, str]
    body: bytes
    trailers: dict[str, str]
    interim: list[int]
    raw: Any = None
    all_fields: Fields = field(default_factory=list)


@dataclass
class Pair:
    """A client's and an upstream's version, with the same verbs for both."""

    http: HttpStage
    down: int
    up: int

    def start(
        self, one: Callable[..., Any] | None = None, two: Callable[..., Any] | None = None, **options: Any
    ) -> Server:
        server: Server = self.http.server(one) if self.up == 1 else self.http.server2(two)
        self.http.start(server, **options)
        return server

    def ask(self, method: str = "GET", path: str = "/", *fields: tuple[str, str], **options: Any) -> Answer:
        if self.down == 1:
            if options.get("trailers") is not None:
                options["pieces"] = [options.pop("body", b"")]
            got = self.http.wire().exchange(method, path, ("TE", "trailers"), ("Connection", "TE"), *fields, **options)
            interim = [one.status for one in got.interim]
        else:
            got = self.http.wire2().exchange(method, path, ("te", "trailers"), *fields, **options)
            assert got.reset is None, Code(got.reset)
            interim = [int(dict(one)[":status"]) for one in got.interim]
        low = {name.lower(): value for name, value in got.fields}
        return Answer(
            got.status, low, bytes(got.body), {n.lower(): v for n, v in got.trailers}, interim, got, got.fields
        )

    def broken(self, method: str = "GET") -> bytes:
        """Asks, and expects to see that the response was not finished; answers the body that came."""
        if self.down == 1:
            with pytest.raises(CutShort) as caught:
                self.http.wire().exchange(method)
            return caught.value.message.body if caught.value.message else b""
        got = self.http.wire2().exchange(method)
        assert got.reset is not None
        assert not got.ended
        return bytes(got.body)


@pytest.fixture(params=[(1, 1), (1, 2), (2, 1), (2, 2)], ids=["1 to 1", "1 to 2", "2 to 1", "2 to 2"])
def pair(request: pytest.FixtureRequest, http: HttpStage) -> Pair:
    return Pair(http, *request.param)


class TestExchanges:
    def test_get(self, pair: Pair) -> None:
        pair.start()
        got = pair.ask("GET", "/a/b?c=d", ("x-a", "1"), ("x-a", "2"))
        found = seen(got.raw)
        assert (found["method"], found["target"]) == ("GET", "/a/b?c=d")
        assert field_values(found, "x-a") == ["1", "2"]
        assert field_values(found, "host") + field_values(found, ":authority") == ["a.test"]
        assert field_values(found, "x-forwarded-proto") == ["http"]
        assert field_values(found, "connection") in (
            [],
            ["te"],
        )  # TE is of one connection, and says so (RFC 9110 §10.1.4)
        assert field_values(found, "transfer-encoding") == []

    @pytest.mark.parametrize("size", [0, 1, 20_000, 300_000])
    def test_bodies(self, pair: Pair, size: int) -> None:
        pair.start(mirror, mirror2)
        body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert pair.ask("POST", "/", body=body).body == body
        if size:
            got = pair.ask("POST", "/", body=body, trailers=[("x-sum", "9")])
            assert (got.body, got.trailers) == (body, {"x-sum": "9"})

    def test_length_is_kept(self, pair: Pair) -> None:
        """A length known on one side is told on the other; no chunks where none are needed."""
        server = pair.start()
        got = pair.ask("POST", "/", *([("content-length", "5")] if pair.down == 2 else []), body=b"hello")
        assert seen(got.raw)["body"] == "hello"
        assert field_values({"fields": seen(got.raw)["fields"]}, "content-length") == ["5"]
        assert int(got.fields["content-length"]) == len(got.body)
        assert len(server.requests) == 1

    def test_head(self, pair: Pair) -> None:
        async def two(stream: Stream2) -> None:
            await stream.respond(200, [("content-length", "12345"), ("x-a", "b")])

        pair.start(canned(response_head(200, [("Content-Length", "12345"), ("X-A", "b")])), two)
        got = pair.ask("HEAD", "/")
        assert (got.status, got.body, got.fields["x-a"], got.fields["content-length"]) == (200, b"", "b", "12345")

    @pytest.mark.parametrize("status", [204, 304, 404, 500, 299])
    def test_statuses(self, pair: Pair, status: int) -> None:
        bodyless = status in (204, 304)
        one = (
            canned(response_head(status, [("X-A", "b")])) if bodyless else answer(b"text", ("X-A", "b"), status=status)
        )
        pair.start(one, answer2(b"" if bodyless else b"text", ("x-a", "b"), status=status))
        got = pair.ask()
        assert (got.status, got.body, got.fields["x-a"]) == (status, b"" if bodyless else b"text", "b")

    def test_interim(self, pair: Pair) -> None:
        async def two(stream: Stream2) -> None:
            await stream.head(103, [("link", "x")])
            await stream.head(103, [("link", "y")])
            await stream.respond(200, [], b"done")

        hint = response_head(103, [("Link", "x")])
        pair.start(canned(hint + hint + response(200, b"done")), two)
        got = pair.ask()
        assert (got.body, got.interim) == (b"done", [103, 103])

    def test_expect(self, pair: Pair) -> None:
        """100 Continue goes from the upstream to the client before any of the body."""

        async def one(peer: HttpPeer, request: Request) -> None:
            await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            await mirror(peer, request)

        async def two(stream: Stream2) -> None:
            await stream.head(100)
            await mirror2(stream)

        pair.start(one, two)
        if pair.down == 1:
            wire = pair.http.wire()
            wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
            assert wire.head().status == 100
            wire.send_raw(b"hello")
            assert wire.response().body == b"hello"
        else:
            second = pair.http.wire2()
            stream = second.begin("POST", "/", ("expect", "100-continue"), end=False)
            second.until(lambda: second.link.stream(stream).interim, "100")
            second.data(stream, b"hello", end=True)
            assert second.wait(stream).text == "hello"

    def test_cookies_and_repeated_fields(self, pair: Pair) -> None:
        """Set-Cookie is never joined."""
        pair.start(
            answer(b"", ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")),
            answer2(b"", ("set-cookie", "a=1"), ("set-cookie", "b=2")),
        )
        got = pair.ask()
        assert [value for name, value in got.all_fields if name.lower() == "set-cookie"] == ["a=1", "b=2"]

    def test_names_are_lower_case_in_http2(self, pair: Pair) -> None:
        pair.start(answer(b"", ("X-Mixed-Case", "b")), answer2(b"", ("x-mixed-case", "b")))
        got = pair.ask()
        if pair.down == 2:
            assert [name for name, _ in got.all_fields if name != name.lower()] == []
        assert got.fields["x-mixed-case"] == "b"

    def test_response_until_eof(self, pair: Pair) -> None:
        if pair.up == 2:
            pair.start(None, answer2(b"to the end"))
        else:
            pair.start(canned(response_head(200, []) + b"to the end", then="close"))
        assert pair.ask().body == b"to the end"


class TestStreaming:
    def test_each_piece_at_once(self, pair: Pair) -> None:
        """Both directions at the same time, a piece after a piece."""
        pair.start(mirror, mirror2)
        if pair.down == 1:
            wire = pair.http.wire()
            wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            wire.head()
            for number in range(20):
                wire.send_raw(chunk(b"piece %d" % number))
                assert wire.chunk() == b"piece %d" % number
            wire.send_raw(b"0\r\n\r\n")
            assert wire.chunk() == b""
            return
        second = pair.http.wire2()
        stream = second.begin("POST", "/", end=False)
        message = second.head_of(stream)
        for number in range(20):
            second.data(stream, b"piece %d" % number)
            second.until(lambda: message.body, "the piece to come back")
            assert bytes(message.body) == b"piece %d" % number
            message.body.clear()
        second.data(stream, end=True)
        assert second.wait(stream).ended

    def test_many_clients_share_connections(self, pair: Pair) -> None:
        """HTTP/2 upstream: 50 requests at once need one connection or a few; HTTP/1: one each."""
        gate = asyncio.Event()

        async def one(peer: HttpPeer, request: Request) -> None:
            await gate.wait()
            await peer.send(response(200, request.target.encode()))

        async def two(stream: Stream2) -> None:
            await gate.wait()
            await stream.respond(200, [], stream.path.encode())

        server = pair.start(one, two)
        if pair.down == 1:
            wires = [pair.http.wire() for _ in range(50)]
            for number, wire in enumerate(wires):
                wire.request("GET", f"/{number}")
            self.open(server, gate)
            assert [wire.response().text for wire in wires] == [f"/{number}" for number in range(50)]
        else:
            second = pair.http.wire2()
            streams = [second.begin("GET", f"/{number}") for number in range(50)]
            second.fence()
            self.open(server, gate)
            assert [second.wait(stream).text for stream in streams] == [f"/{number}" for number in range(50)]
        assert server.accepted <= 4 if pair.up == 2 else server.accepted == 50

    @staticmethod
    def open(server: Server, gate: asyncio.Event) -> None:
        server.until_requests(50)
        server.release(gate)


class TestErrors:
    def test_upstream_dies_before_the_head(self, pair: Pair) -> None:
        async def two(stream: Stream2) -> None:
            stream.peer.reset()

        pair.start(canned(b"", then="reset"), two)
        assert pair.ask("POST", "/", body=b"x").status in (502, 503)

    def test_upstream_dies_in_the_body(self, pair: Pair) -> None:
        async def two(stream: Stream2) -> None:
            await stream.head(200)
            await stream.data(b"half")
            stream.peer.reset()

        pair.start(canned(response_head(200, [("Transfer-Encoding", "chunked")]) + chunk(b"half"), then="reset"), two)
        assert b"half".startswith(pair.broken("POST"))

    def test_upstream_resets_the_stream(self, pair: Pair) -> None:
        if pair.up == 1:
            pair.start(canned(b"", then="close"))
            assert pair.ask("POST", "/", body=b"x").status in (502, 503)
            return

        async def before(stream: Stream2) -> None:
            await stream.reset(Code.INTERNAL_ERROR)

        async def after(stream: Stream2) -> None:
            await stream.head(200)
            await stream.data(b"half")
            await stream.reset(Code.INTERNAL_ERROR)

        server = pair.start(None, before)
        assert pair.ask("POST", "/", body=b"x").status in (502, 503)
        server.script = after  # type: ignore[assignment]
        assert b"half".startswith(pair.broken("POST"))
        assert server.accepted == 1

    def test_refused_stream_is_sent_again(self, pair: Pair) -> None:
        """REFUSED_STREAM says that nothing was done: even a POST may go out again (RFC 9113 §8.7)."""
        if pair.up == 1:
            pair.start()
            assert pair.ask("POST", "/", body=b"x").status == 200
            return

        async def two(stream: Stream2) -> None:
            if stream.id == 1:
                await stream.reset(Code.REFUSED_STREAM)
            else:
                await answer2(b"second time")(stream)

        pair.start(None, two)
        assert pair.ask("POST", "/").body == b"second time"

    def test_client_leaves(self, pair: Pair) -> None:
        server = pair.start(stall, stall2)
        if pair.down == 1:
            wire: HttpWire | Http2Wire = pair.http.wire()
            assert isinstance(wire, HttpWire)
            wire.request()
            server.until_requests(1)
            wire.reset()
        else:
            wire = pair.http.wire2()
            stream = wire.begin()
            server.until_requests(1)
            wire.reset_stream(stream)
        if isinstance(server, Http2Server):
            until(lambda: server.last.reset == Code.CANCEL, "CANCEL upstream")
            assert server.peers, "the connection is for others"
        else:
            until(lambda: not server.peers, "the upstream connection to end")
        if isinstance(wire, Http2Wire):
            assert wire.alive()

    def test_timeout(self, pair: Pair) -> None:
        server = pair.start(stall, stall2, timeout="200ms")
        assert pair.ask().status == 504
        if isinstance(server, Http2Server):
            until(lambda: server.last.reset == Code.CANCEL, "CANCEL upstream")

    def test_no_route(self, pair: Pair) -> None:
        pair.start(routes=[{"match": {"path": "/known"}, "to": "back"}])
        got = pair.ask("POST", "/unknown", body=b"x" * 10_000)
        assert got.status == 404

    def test_early_response(self, pair: Pair) -> None:
        """The upstream has said all it has to say while the client still sends."""

        async def two(stream: Stream2) -> None:
            await stream.respond(413, [], b"enough")
            await stream.reset(Code.NO_ERROR)

        pair.start(canned(response(413, b"enough"), read=False), two)
        if pair.down == 1:
            wire = pair.http.wire()
            wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
            got = wire.response()
            assert (got.status, got.body) == (413, b"enough")
        else:
            second = pair.http.wire2()
            stream = second.begin("POST", "/", end=False)
            second.data(stream, b"x" * 1000)
            message = second.wait(stream)
            assert (message.status, message.text) == (413, "enough")
            assert second.exchange("GET", "/").status == 413

    def test_silence_after_goaway(self, pair: Pair) -> None:
        """The upstream says GOAWAY or closes after each answer: no request is lost for that."""

        async def one(peer: HttpPeer, request: Request) -> None:
            await peer.send(response(200, b"ok", ("Connection", "close")))
            peer.close()

        async def two(stream: Stream2) -> None:
            await stream.respond(200, [], b"ok")
            stream.peer.goaway()

        server = pair.start(one, two)
        for _ in range(20):
            assert pair.ask("GET", "/").body == b"ok"
        assert isinstance(server, HttpServer | Http2Server)
        assert not [peer for peer in server.peers if isinstance(peer, Http2Peer) and len(peer.streams) > 2]
