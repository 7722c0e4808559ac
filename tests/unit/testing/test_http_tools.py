"""The HTTP fakes do what they say, and understand each other: a failure through the proxy is then the proxy's."""

from __future__ import annotations

import pytest

from mosnpy.testing.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    HEADERS,
    Code,
    Link,
    head_frames,
    literals,
    raw_frame,
)
from mosnpy.testing.http2_server import Http2Server, Stream2, echo2, mirror2
from mosnpy.testing.http2_wire import Ended, Http2Wire
from mosnpy.testing.http_message import CutShort, HttpError, chunked, parse_head, response, response_head
from mosnpy.testing.http_server import HttpServer, canned, echo, flood, mirror
from mosnpy.testing.http_stage import field_values, seen
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.waiting import until


class TestHttp1:
    def test_echo_and_record(self) -> None:
        with HttpServer(echo) as server, HttpWire(server.address) as wire:
            found = seen(wire.exchange("POST", "/x", ("X-A", "b"), pieces=[b"one", b"two"], trailers=[("X-T", "t")]))
            assert (found["body"], found["trailers"], field_values(found, "x-a")) == ("onetwo", [["X-T", "t"]], ["b"])
            assert bytes(server.last.peer.received).endswith(b"3\r\ntwo\r\n0\r\nX-T: t\r\n\r\n")
            assert server.last.complete

    def test_mirror(self) -> None:
        with HttpServer(mirror) as server, HttpWire(server.address) as wire:
            got = wire.exchange("POST", "/", body=b"y" * 300_000, trailers=None)
            assert (len(got.body), got.chunked) == (300_000, True)

    @pytest.mark.parametrize("framing", ["sized", "chunked", "eof"])
    def test_flood(self, framing: str) -> None:
        with HttpServer(flood(1_000_000, framing=framing)) as server, HttpWire(server.address) as wire:
            assert len(wire.exchange().body) == 1_000_000

    @pytest.mark.parametrize("then", ["close", "reset"])
    def test_cut_short(self, then: str) -> None:
        raw = response_head(200, [("Content-Length", "10")]) + b"half"
        with HttpServer(canned(raw, then=then)) as server, HttpWire(server.address) as wire:
            with pytest.raises(CutShort) as caught:
                wire.exchange()
            assert caught.value.reset == (then == "reset")
            assert caught.value.message is not None
            assert caught.value.message.body == b"half"

    def test_interim_and_head(self) -> None:
        raw = response_head(103, [("Link", "x")]) + response_head(200, [("Content-Length", "99")])
        with HttpServer(canned(raw)) as server, HttpWire(server.address) as wire:
            got = wire.exchange("HEAD", "/")
            assert ([one.status for one in got.interim], got.body, got.length) == ([103], b"", 99)

    @pytest.mark.parametrize(
        "raw", [b"HTTP/1.1 200 OK\r\nBad : x\r\n\r\n", b"HTTP/1.1 2 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nA\r\n\r\n",
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"],
    )  # fmt: skip
    def test_strict(self, raw: bytes) -> None:
        with pytest.raises(HttpError):
            parse_head(raw)

    def test_sees_how_a_client_leaves(self) -> None:
        with HttpServer(canned(response(), then="stall")) as server:
            for how in ("close", "reset"):
                wire = HttpWire(server.address)
                wire.exchange()
                getattr(wire, how)()
            until(lambda: not server.peers, "both to be gone")
            assert [peer.end for peer in server.all_peers] == ["FIN", "RST"]

    def test_chunks(self) -> None:
        assert chunked(b"abc", b"", trailers=[("a", "b")]) == b"3\r\nabc\r\n0\r\na: b\r\n\r\n"


class TestHttp2:
    def test_exchange_in_windows(self) -> None:
        with Http2Server(echo2) as server, Http2Wire(server.address) as wire:
            found = seen(wire.exchange("POST", "/x", ("x-a", "b"), body=b"y" * 300_000, trailers=[("x-t", "t")]))
            assert (found["size"], found["trailers"]) == (300_000, [["x-t", "t"]])
            assert wire.alive()

    def test_streams_side_by_side(self) -> None:
        with Http2Server(mirror2) as server, Http2Wire(server.address) as wire:
            streams = [wire.begin("POST", "/", end=False) for _ in range(10)]
            for stream in streams:
                wire.data(stream, b"%d" % stream, end=True)
            assert [wire.wait(stream).text for stream in streams] == [str(stream) for stream in streams]

    def test_resets_and_ends(self) -> None:
        async def script(stream: Stream2) -> None:
            if stream.path == "/reset":
                await stream.reset(Code.REFUSED_STREAM)
            else:
                stream.peer.goaway(0, Code.ENHANCE_YOUR_CALM)
                stream.peer.close()

        with Http2Server(script) as server, Http2Wire(server.address) as wire:
            assert wire.exchange("GET", "/reset").reset == Code.REFUSED_STREAM
            with pytest.raises(Ended):
                wire.exchange("GET", "/end")
            assert wire.error() == Code.ENHANCE_YOUR_CALM

    def test_header_blocks_in_pieces(self) -> None:
        block = literals([(":status", "200"), ("x-a", "b")])
        raw = head_frames(1, block, end=False, split=5)
        assert raw.count(raw_frame(CONTINUATION, END_HEADERS, 1)[3:4]) >= 1
        link = Link(client=True)
        link.buffer += raw + raw_frame(DATA, 1, 1, b"body")
        while link.take() is not None:
            pass
        got = link.stream(1)
        assert (got.status, got["x-a"], bytes(got.body), got.ended) == (200, "b", b"body", True)

    def test_frames_may_lie(self) -> None:
        assert raw_frame(HEADERS, 4, 3, b"x", length=7) == b"\0\0\7\1\4\0\0\0\3x"
