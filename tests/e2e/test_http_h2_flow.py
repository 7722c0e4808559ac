"""HTTP/2 flow control end to end (RFC 9113 §5.2, §6.9): windows in both directions, on both sides of the proxy."""

from __future__ import annotations

import asyncio

import pytest
from hyperframe.frame import DataFrame, WindowUpdateFrame

from mosnpy.testing.http2_frames import (
    DATA,
    END_STREAM,
    PADDED,
    Code,
    Setting,
    raw_frame,
    settings_frame,
    window_update,
)
from mosnpy.testing.http2_server import Stream2, answer2, flood2
from mosnpy.testing.http2_wire import Ended, Http2Wire
from mosnpy.testing.http_message import response
from mosnpy.testing.http_server import HttpPeer, Request, answer, flood
from mosnpy.testing.http_stage import HttpStage, seen
from mosnpy.testing.waiting import until

TWO = pytest.mark.parametrize("two", [False, True], ids=["HTTP/1 upstream", "HTTP/2 upstream"])


def floods(http: HttpStage, two: bool, size: int) -> None:
    server = http.server2(flood2(size)) if two else http.server(flood(size))
    http.start(server)


def data_bytes(wire: Http2Wire, stream: int) -> int:
    return sum(
        frame.flow_controlled_length
        for frame in wire.frames
        if isinstance(frame, DataFrame) and frame.stream_id == stream
    )


class TestWhatTheClientLets:
    @TWO
    def test_stops_at_the_stream_window(self, http: HttpStage, two: bool) -> None:
        """Exactly the window, then nothing until it is opened; then exactly as much again."""
        floods(http, two, 1_000_000)
        wire = http.wire2(settings={Setting.INITIAL_WINDOW_SIZE: 10_000}, windows=False)
        stream = wire.begin("GET", "/")
        wire.until(lambda: data_bytes(wire, stream) >= 10_000, "the window to be used")
        wire.fence()
        assert data_bytes(wire, stream) == 10_000
        wire.send_raw(window_update(stream, 1))
        wire.until(lambda: data_bytes(wire, stream) >= 10_001, "one more byte")
        wire.fence()
        assert data_bytes(wire, stream) == 10_001

    @TWO
    def test_stops_at_the_connection_window(self, http: HttpStage, two: bool) -> None:
        floods(http, two, 1_000_000)
        wire = http.wire2(settings={Setting.INITIAL_WINDOW_SIZE: 1 << 20}, windows=False)
        first, second = wire.begin("GET", "/"), wire.begin("GET", "/")
        wire.until(lambda: data_bytes(wire, first) + data_bytes(wire, second) >= 65_535, "the window to be used")
        wire.fence()
        assert data_bytes(wire, first) + data_bytes(wire, second) == 65_535

    @TWO
    def test_a_stalled_stream_blocks_no_other(self, http: HttpStage, two: bool) -> None:
        """The issue's heart: one stream that nobody reads, and others that pass on the same connections."""
        server = http.server2(flood2(3_000_000)) if two else http.server(flood(3_000_000))
        http.start(server)
        wire = http.wire2(settings={Setting.INITIAL_WINDOW_SIZE: 1000}, windows=False)
        wire.send_raw(window_update(0, 1 << 30))
        stalled = [wire.begin("GET", "/stalled") for _ in range(10)]
        for stream in stalled:
            wire.until(lambda at=stream: data_bytes(wire, at) >= 1000, "a stalled stream to be full")  # type: ignore[misc]
        server.script = answer2(b"quick") if two else answer(b"quick")  # type: ignore[assignment]
        for _ in range(50):
            assert wire.exchange("GET", "/quick").text == "quick"
        assert [data_bytes(wire, stream) for stream in stalled] == [1000] * 10
        for stream in stalled:
            wire.send_raw(window_update(stream, 1 << 24))
        for message in wire.wait_all(stalled):
            assert (message.size, message.ended) == (3_000_000, True)

    def test_clients_of_one_upstream_connection(self, http: HttpStage) -> None:
        """A slow HTTP/1 client and a quick one share an HTTP/2 connection upstream."""
        server = http.server2(flood2(20_000_000))
        http.start(server)
        slow, quick = http.wire(receive_buffer=8192), http.wire()
        slow.request()
        slow.head()
        server.script = answer2(b"quick")
        for _ in range(50):
            assert quick.exchange().text == "quick"
        server.script = flood2(20_000_000)
        quick.request()
        assert len(quick.response().body) == 20_000_000
        assert server.accepted == 1

    @TWO
    def test_window_that_shrinks_below_zero(self, http: HttpStage, two: bool) -> None:
        """RFC 9113 §6.9.2: a smaller initial window takes back what was given; DATA goes on only above zero again."""
        floods(http, two, 1_000_000)
        wire = http.wire2(settings={Setting.INITIAL_WINDOW_SIZE: 20_000}, windows=False)
        stream = wire.begin("GET", "/")
        wire.until(lambda: data_bytes(wire, stream) >= 20_000, "the window to be used")
        wire.send_raw(settings_frame({Setting.INITIAL_WINDOW_SIZE: 5_000}) + window_update(stream, 15_000))
        wire.fence()
        assert data_bytes(wire, stream) == 20_000
        wire.send_raw(window_update(stream, 7))
        wire.until(lambda: data_bytes(wire, stream) >= 20_007, "the seven bytes")
        wire.fence()
        assert data_bytes(wire, stream) == 20_007

    def test_window_that_grows_by_settings(self, http: HttpStage) -> None:
        floods(http, False, 50_000)
        wire = http.wire2(settings={Setting.INITIAL_WINDOW_SIZE: 0}, windows=False)
        stream = wire.begin("GET", "/")
        wire.head_of(stream)
        wire.fence()
        assert data_bytes(wire, stream) == 0
        wire.send_raw(settings_frame({Setting.INITIAL_WINDOW_SIZE: 50_000}))
        assert wire.wait(stream).size == 50_000

    def test_frames_no_larger_than_asked(self, http: HttpStage) -> None:
        http.server(answer(b"x" * 500_000, ("X-Long", "v" * 30_000)))
        http.start()
        wire = http.wire2()
        assert wire.exchange().size == 500_000
        assert max(frame.flow_controlled_length for frame in wire.frames if isinstance(frame, DataFrame)) <= 16_384
        assert all(frame.body_len <= 16_384 for frame in wire.frames)

    @pytest.mark.parametrize("how", ["reset", "close"])
    def test_leaving_with_full_windows(self, http: HttpStage, how: str) -> None:
        """What waited for a window is forgotten with its stream; the upstream is told to stop."""
        server = http.server2(flood2(5_000_000))
        http.start(server)
        wire = http.wire2(settings={Setting.INITIAL_WINDOW_SIZE: 100}, windows=False)
        streams = [wire.begin("GET", "/") for _ in range(5)]
        for stream in streams:
            wire.until(lambda at=stream: data_bytes(wire, at) >= 100, "a full stream")  # type: ignore[misc]
        if how == "reset":
            for stream in streams:
                wire.reset_stream(stream)
            wire.fence()
        else:
            wire.close()
        until(lambda: all(one.message.reset is not None for one in server.requests), "RST_STREAM of all upstream")


class TestWhatTheProxyLets:
    @TWO
    def test_windows_are_opened_again(self, http: HttpStage, two: bool) -> None:
        server = http.server2() if two else http.server()
        http.start(server)
        wire = http.wire2()
        for _ in range(3):
            assert seen(wire.exchange("POST", "/", body=b"x" * 1_000_000))["size"] == 1_000_000
        assert any(isinstance(frame, WindowUpdateFrame) and frame.stream_id == 0 for frame in wire.frames)

    @TWO
    def test_upstream_that_does_not_read_holds_back_one_stream(self, http: HttpStage, two: bool) -> None:
        """The client's upload stops at about its stream window; other streams of the same connection go on."""
        held = asyncio.Event()
        if two:

            async def script2(stream: Stream2) -> None:
                if stream.method == "POST":
                    await stream.gone()
                await stream.respond(200, [], b"ok")

            server = http.server2(script2, windows=False)
            http.start(server)
        else:

            async def script(peer: HttpPeer, request: Request) -> None:
                if request.method == "POST":
                    await held.wait()
                await peer.send(response(200, b"ok"))

            http.start(http.server(script))
        wire = http.wire2()
        stream = wire.begin("POST", "/", end=False)
        sent = 0
        while wire.link.room(stream) > 0 and sent < 60_000_000:
            size = min(16_384, wire.link.room(stream))
            wire.send_raw(wire.link.data(stream, b"x" * size, end=False))
            sent += size
            if wire.link.room(stream) <= 0:
                wire.fence()
        assert sent < 30_000_000
        for _ in range(20):
            assert wire.exchange("GET", "/other").text == "ok"
        wire.reset_stream(stream)
        assert wire.exchange("GET", "/other").text == "ok"
        http.servers[0].release(held)

    def test_many_stalled_uploads_leave_room_on_the_connection(self, http: HttpStage) -> None:
        """Streams nobody reads upstream must not use up the connection's window for good."""

        async def script(stream: Stream2) -> None:
            if stream.method == "POST":
                await stream.gone()
            else:
                await stream.read_body()
                await stream.respond(200, [], b"ok")

        server = http.server2(script, windows=False, settings={Setting.INITIAL_WINDOW_SIZE: 1000})
        http.start(server)
        wire = http.wire2()
        for _ in range(30):
            stream = wire.begin("POST", "/", end=False)
            for _ in range(10):
                size = min(16_384, wire.link.room(stream))
                if size <= 0:
                    break
                wire.send_raw(wire.link.data(stream, b"x" * size, end=False))
            wire.reset_stream(stream)
        assert wire.exchange("GET", "/other").text == "ok"
        wire.until(lambda: wire.link.send_window > 60_000, "the connection's window to be given back")

    def test_more_than_the_stream_window_is_an_error(self, http: HttpStage) -> None:
        server = http.server()
        http.start(http={"http2": {"stream_window": "64KiB", "connection_window": "1MiB"}})
        server.script = hold
        wire = http.wire2()
        stream = wire.begin("POST", "/", end=False)
        wire.fence()
        try:
            for _ in range(2000):  # far more than the upstream's side can buffer
                wire.send_raw(raw_frame(DATA, 0, stream, b"x" * 16_000))
            wire.until(lambda: wire.link.stream(stream).reset is not None, "RST_STREAM")
            assert wire.link.stream(stream).reset == Code.FLOW_CONTROL_ERROR
        except (Ended, OSError):
            assert wire.error() in (Code.FLOW_CONTROL_ERROR, None)

    def test_padding_counts(self, http: HttpStage) -> None:
        """RFC 9113 §6.9.1: padding is part of what windows count, and must be given back too."""
        http.server()
        http.start(http={"http2": {"stream_window": "64KiB", "connection_window": "64KiB"}})
        wire = http.wire2()
        stream = wire.begin("POST", "/", end=False)
        for _ in range(2000):
            if wire.link.room(stream) < 300:
                wire.until(lambda: wire.link.room(stream) >= 300, "window for padding")
            wire.link.send_window -= 257
            wire.link.stream(stream).send_window -= 257
            wire.send_raw(raw_frame(DATA, PADDED, stream, b"\xffx" + b"\0" * 255))
        wire.send_raw(raw_frame(DATA, END_STREAM, stream))
        assert seen(wire.wait(stream))["size"] == 2000

    def test_data_of_a_reset_stream_counts_for_the_connection(self, http: HttpStage) -> None:
        """DATA still under way when a stream is reset must not leak the connection's window (RFC 9113 §5.1)."""
        http.server()
        http.start(routes=[{"match": {"path": "/none"}, "reply": {"status": 403}}, {"to": "back"}])
        wire = http.wire2()
        for _ in range(40):
            stream = wire.begin("POST", "/none", end=False)
            left = 60_000
            while left > 0:
                wire.until(lambda: wire.link.send_window >= 15_000, "the connection's window")
                wire.send_raw(raw_frame(DATA, 0, stream, b"x" * 15_000))
                wire.link.send_window -= 15_000
                left -= 15_000
            wire.send_raw(raw_frame(DATA, END_STREAM, stream))
        assert seen(wire.exchange("POST", "/", body=b"x" * 100_000))["size"] == 100_000


async def hold(peer: HttpPeer, request: Request) -> None:
    """Takes nothing of the body, until the stage ends."""
    await asyncio.Event().wait()
