"""HTTP/2 as a weapon: floods of frames that cost the sender nothing. Each is bounded: ENHANCE_YOUR_CALM or a plain no, and
the proxy's memory and the other clients' time are not touched."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import hpack
import pytest

from mosnpy.testing.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PRIORITY,
    Code,
    Setting,
    head_frames,
    literal,
    literals,
    raw_frame,
    rst_stream,
    settings_frame,
    window_update,
)
from mosnpy.testing.http2_server import Http2Server, Stream2, answer2
from mosnpy.testing.http2_wire import Ended, Http2Wire
from mosnpy.testing.http_message import Fields
from mosnpy.testing.http_server import HttpServer, answer, flood, stall
from mosnpy.testing.http_stage import HttpStage, http_config
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.waiting import MEMORY_FACTOR, free_port, until

MIB = 1 << 20
GET = literals([(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")])
POST = literals([(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")])
CALM = (Code.ENHANCE_YOUR_CALM, Code.PROTOCOL_ERROR, Code.INTERNAL_ERROR, None)
Start = Callable[..., ProxyProcess]


def push(wire: Http2Wire, raw: bytes, times: int) -> bool:
    """Sends `raw` over and over; True when the peer ended the connection meanwhile."""
    block = raw * max(1, 65_536 // len(raw))
    wire.socket.settimeout(3)
    sent = 0
    try:
        while sent < times * len(raw):
            wire.send_raw(block)
            sent += len(block)
    except TimeoutError:
        return False  # held back: the peer has stopped reading
    except OSError:
        return True
    finally:
        wire.socket.settimeout(wire.timeout)
    return False


def refused(wire: Http2Wire, raw: bytes, times: int) -> None:
    """The flood is answered by the connection's end."""
    push(wire, raw, times)
    assert wire.error() in CALM


class Guarded:
    """A proxy process of its own: what a flood does to its memory, and whether others are served."""

    def __init__(self, start: Start, server: HttpServer | Http2Server, **options: Any) -> None:
        port = free_port()
        self.address = ("127.0.0.1", port)
        self.proxy = start({"workers": 1, **http_config(server, bind=f"127.0.0.1:{port}", **options)})
        self.before = self.proxy.worker_rss()

    def check(self, limit: int = 24 * MIB) -> None:
        with HttpWire(self.address) as other:
            for _ in range(5):
                assert other.exchange("GET", "/other").status == 200
        assert self.proxy.worker_rss() - self.before < limit * MEMORY_FACTOR


@pytest.fixture
def guarded(start_proxy: Start) -> Any:
    server = HttpServer(answer(b"ok")).start()
    yield Guarded(start_proxy, server)
    server.stop()


def test_continuation_flood(guarded: Guarded) -> None:
    """A header block without end: cut off at the limit of a head, not when memory is full."""
    with Http2Wire(guarded.address) as wire:
        field = literal("x-a", "b" * 1000)
        wire.send_raw(raw_frame(HEADERS, END_STREAM, 1, GET))
        refused(wire, raw_frame(CONTINUATION, 0, 1, field * 10), 20_000)
        assert wire.link.goaway is not None
        assert wire.link.goaway[0] == 1  # not one that clients may send again
    guarded.check()


def test_empty_continuations(guarded: Guarded) -> None:
    """They add nothing to the head's size, so they must be counted."""
    with Http2Wire(guarded.address) as wire:
        wire.send_raw(raw_frame(HEADERS, END_STREAM, 1, GET))
        refused(wire, raw_frame(CONTINUATION, 0, 1), 1_000_000)
    guarded.check()


def test_rapid_reset(guarded: Guarded) -> None:
    """CVE-2023-44487: streams opened and reset at once. Bounded by ending the connection."""
    with Http2Wire(guarded.address) as wire:
        ended, number = False, 1
        while number < 200_000 and not ended:
            raw = b"".join(
                raw_frame(HEADERS, END_HEADERS | END_STREAM, at, GET) + rst_stream(at)
                for at in range(number, number + 2000, 2)
            )
            number += 2000
            try:
                wire.send_raw(raw)
            except OSError:
                ended = True
        assert wire.error() in CALM
    guarded.check()


def test_10000_streams_opened_and_reset_politely(start_proxy: Start) -> None:
    """A busy client that cancels much is no attacker: 100 at a time, each answered or cancelled, nothing left in the end."""
    with HttpServer(answer(b"ok")) as server:
        guarded = Guarded(start_proxy, server)
        left = 10_000
        while left:
            with Http2Wire(guarded.address) as wire:
                try:
                    while left:
                        streams = [wire.begin() for _ in range(min(100, left))]
                        left -= len(streams)
                        for stream in streams[::2]:
                            wire.reset_stream(stream)
                        for stream in streams[1::2]:
                            assert wire.wait(stream).text == "ok"
                        wire.link.streams.clear()
                        wire.fence()
                except (Ended, OSError):
                    assert wire.link.goaway is None or wire.link.goaway[1] == Code.ENHANCE_YOUR_CALM
        guarded.check()

        def zero() -> bool:
            stats = guarded.proxy.stats()
            return sum(one["connections_active"] for one in stats["listeners"].values()) == 0

        until(zero, "counters back at zero")


def test_reset_flood_by_provoked_errors(guarded: Guarded) -> None:
    """ "MadeYouReset": the proxy is made to reset streams itself, which must count as well."""
    with Http2Wire(guarded.address) as wire:
        number, ended = 1, False
        while number < 100_000 and not ended:
            raw = b"".join(
                raw_frame(HEADERS, END_HEADERS | END_STREAM, at, GET) + window_update(at, 0)
                for at in range(number, number + 2000, 2)
            )
            number += 2000
            try:
                wire.send_raw(raw)
            except OSError:
                ended = True
        assert wire.error() in CALM
    guarded.check()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("PING", raw_frame(PING, 0, 0, b"12345678")),
        ("SETTINGS", settings_frame()),
        ("many SETTINGS", settings_frame(dict.fromkeys(range(0x1000, 0x1400), 1))),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_floods_that_want_answers(guarded: Guarded, name: str, raw: bytes) -> None:
    """The client doesn't read: answers must not pile up."""
    with Http2Wire(guarded.address, receive_buffer=4096) as wire:
        push(wire, raw, max(2000, 60_000_000 // len(raw) // 4))
        guarded.check()
        wire.close()


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("empty DATA", raw_frame(DATA, 0, 1)),
        ("padding alone", raw_frame(DATA, 8, 1, b"\x00")),
        ("PRIORITY", raw_frame(PRIORITY, 0, 33, b"\0\0\0\0\x10")),
        ("unknown frames", raw_frame(0xBB, 0, 0)),
        ("WINDOW_UPDATE", window_update(1, 1)),
        ("RST_STREAM of a closed stream", rst_stream(1)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_floods_of_nothing(guarded: Guarded, name: str, raw: bytes) -> None:
    """Frames that say nothing: the connection is ended or they are merely eaten, and others are served meanwhile."""
    with Http2Wire(guarded.address) as wire:
        wire.send_raw(raw_frame(HEADERS, END_HEADERS, 1, POST))
        push(wire, raw, 300_000)
        guarded.check()
        wire.close()


def test_window_update_of_one_byte(guarded: Guarded) -> None:
    """A response of 1 MB asked for a byte at a time: slow, never large."""
    with Http2Wire(guarded.address, settings={Setting.INITIAL_WINDOW_SIZE: 0}, windows=False) as wire:
        stream = wire.begin()
        push(wire, window_update(stream, 1), 50_000)
        guarded.check()


class TestHpack:
    def test_bomb(self, guarded: Guarded) -> None:
        """One large field in the table, named a thousand times by one byte each: 4 MB out of 1 KB."""
        with Http2Wire(guarded.address) as wire:
            large = literal("x-bomb", "b" * 3900, indexed=True)
            wire.send_raw(raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, GET + large))
            assert wire.wait(1).status == 200
            wire.send_raw(head_frames(3, GET + b"\xbe" * 16_000))
            got = wire.wait(3)
            assert got.reset is not None or got.status == 431
            wire.next_id = 5
            assert wire.exchange().text == "ok"
        guarded.check()

    def test_table_churn(self, guarded: Guarded) -> None:
        """Every request fills and empties the table."""
        with Http2Wire(guarded.address) as wire:
            encoder = hpack.Encoder()
            for number in range(300):
                fields: Fields = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")]
                fields += [(f"x-{number}-{at}", "v" * 100) for at in range(40)]
                wire.send_raw(head_frames(wire.next_id, encoder.encode(fields)))
                assert wire.wait(wire.open_id()).text == "ok"
        guarded.check()

    def test_size_update_flood(self, guarded: Guarded) -> None:
        """RFC 7541 §4.2 allows two at the start of a block; thousands of them are work for nothing."""
        with Http2Wire(guarded.address) as wire:
            wire.send_raw(raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\x20\x3f\xe1\x1f" * 4000 + GET))
            try:
                got = wire.wait(1)
                assert got.reset is not None or got.status in (200, 400, 431)
            except Ended:
                assert wire.error() in (Code.COMPRESSION_ERROR, *CALM)
        guarded.check()

    def test_of_the_upstream(self, http: HttpStage) -> None:
        """A response's head may not be larger than the limit either, whatever it was packed into."""

        async def script(stream: Stream2) -> None:
            large = literal("x-bomb", "b" * 3900, indexed=True)
            block = literals([(":status", "200")]) + large + b"\xbe" * 16_000
            await stream.peer.send(head_frames(stream.id, block))

        server = http.server2(script)
        http.start()
        assert http.wire().exchange().status == 502
        server.script = answer2(b"ok")
        assert http.wire().exchange().text == "ok"


def test_slowloris_head(http: HttpStage) -> None:
    http.server(answer())
    http.start(http={"head_timeout": "200ms"})
    wire = http.wire2()
    wire.fence()
    wire.send_raw(raw_frame(HEADERS, END_STREAM, 1, GET[:10]))
    wire.socket.settimeout(5)
    assert wire.error() in CALM or wire.link.stream(1).reset is not None


def test_slowloris_preface(http: HttpStage) -> None:
    http.server(answer())
    http.start(http={"head_timeout": "200ms"})
    wire = http.wire2(start=False)
    wire.send_raw(b"PRI * HTTP/2.0\r\n\r\nSM")
    wire.socket.settimeout(5)
    wire.rest()


def test_slowloris_body(http: HttpStage) -> None:
    """One stream's body stops: it is given up, its connection not."""
    server = http.server(stall)
    http.start(http={"body_timeout": "200ms"})
    wire = http.wire2()
    stream = wire.begin("POST", "/", end=False)
    wire.data(stream, b"x")
    got = wire.wait(stream)
    assert got.reset is not None or got.status == 408
    server.script = answer(b"ok")
    assert wire.exchange().text == "ok"


def test_zero_windows_held_for_ever(http: HttpStage) -> None:
    """CVE-2019-9517 and kin: the response is asked for and never taken; stream_idle ends that."""
    server = http.server(flood(1_000_000))
    http.start(http={"stream_idle": "300ms"})
    wire = http.wire2(settings={Setting.INITIAL_WINDOW_SIZE: 0}, windows=False)
    streams = [wire.begin() for _ in range(20)]
    for stream in streams:
        assert wire.wait(stream).reset is not None
    until(lambda: not server.peers, "the upstream connections to be let go")


def test_settings_storm_of_initial_windows(http: HttpStage) -> None:
    """Each change of INITIAL_WINDOW_SIZE touches all open streams."""
    http.server(stall)
    http.start()
    wire = http.wire2()
    for _ in range(100):
        wire.begin()
    raw = b"".join(settings_frame({Setting.INITIAL_WINDOW_SIZE: size}) for size in (1000, 60_000))
    push(wire, raw, 1000)
    other = http.wire2()
    other.fence()


def test_goaway_of_client_repeated(http: HttpStage) -> None:
    http.server(answer())
    http.start()
    wire = http.wire2()
    push(wire, raw_frame(7, 0, 0, struct.pack(">II", 0, 0)), 10_000)
    wire.close()
