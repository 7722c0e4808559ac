"""Every error a client can provoke with frames (RFC 9113 §3–§6) or header blocks (RFC 7541), and what must answer it.

A case is bytes behind a good preface. Connection errors: GOAWAY with one of these codes, then the connection ends. Stream
errors: RST_STREAM with one of these codes, and the connection serves the next request.
"""

from __future__ import annotations

import struct

import pytest

from mosnpy.testing.http2_frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Code,
    Setting,
    literals,
    raw_frame,
    rst_stream,
    settings_frame,
    window_update,
)
from mosnpy.testing.http2_wire import Ended, Http2Wire
from mosnpy.testing.http_server import HttpPeer, Request, answer, stall
from mosnpy.testing.http_stage import HttpStage

PROTOCOL, SIZE, FLOW, CLOSED, COMPRESSION = (
    Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR, Code.STREAM_CLOSED, Code.COMPRESSION_ERROR,
)  # fmt: skip
GET = literals([(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/hold")])
POST = literals([(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/hold")])


def headers(stream: int, block: bytes = GET, flags: int = END_HEADERS | END_STREAM) -> bytes:
    return raw_frame(HEADERS, flags, stream, block)


OPEN = headers(1, POST, END_HEADERS)  # stream 1, its body still to come
HELD = headers(1)  # stream 1, half-closed (remote), its response not yet there

# name -> bytes, codes
CONNECTION: dict[str, tuple[bytes, tuple[Code, ...]]] = {
    # §4.1, §4.2: frame sizes
    "DATA beyond the largest frame": (OPEN + raw_frame(DATA, 0, 1, b"x" * 16_385), (SIZE,)),
    "HEADERS beyond the largest frame": (raw_frame(HEADERS, END_HEADERS, 1, b"x" * 16_385), (SIZE,)),
    "announced 16 MiB": (OPEN + raw_frame(DATA, 0, 1, b"x", length=0xFFFFFF), (SIZE,)),
    "unknown type beyond the largest frame": (raw_frame(0xBB, 0, 0, b"x" * 16_385), (SIZE,)),
    # §4.3, §6.10: header blocks are contiguous
    "DATA within a header block": (headers(1, GET[:5], 0) + raw_frame(DATA, 0, 1, b"x"), (PROTOCOL,)),
    "PING within a header block": (headers(1, GET[:5], 0) + raw_frame(PING, 0, 0, b"12345678"), (PROTOCOL,)),
    "HEADERS within a header block": (headers(1, GET[:5], 0) + headers(3), (PROTOCOL,)),
    "SETTINGS within a header block": (headers(1, GET[:5], 0) + settings_frame(), (PROTOCOL,)),
    "unknown type within a header block": (headers(1, GET[:5], 0) + raw_frame(0xBB, 0, 1, b"x"), (PROTOCOL,)),
    "CONTINUATION of another stream": (
        headers(1, GET[:5], 0) + raw_frame(CONTINUATION, END_HEADERS, 3, GET[5:]),
        (PROTOCOL,),
    ),
    "CONTINUATION out of nowhere": (raw_frame(CONTINUATION, END_HEADERS, 1, GET), (PROTOCOL,)),
    "CONTINUATION behind END_HEADERS": (OPEN + raw_frame(CONTINUATION, END_HEADERS, 1, b""), (PROTOCOL,)),
    "CONTINUATION on stream 0": (
        headers(1, GET[:5], 0) + raw_frame(CONTINUATION, END_HEADERS, 0, GET[5:]),
        (PROTOCOL,),
    ),
    # §5.1: idle streams
    "DATA on an idle stream": (raw_frame(DATA, 0, 1, b"x"), (PROTOCOL,)),
    "RST_STREAM on an idle stream": (rst_stream(1), (PROTOCOL,)),
    "WINDOW_UPDATE on an idle stream": (window_update(1, 1), (PROTOCOL,)),
    # §5.1.1: stream numbers
    "even stream": (headers(2), (PROTOCOL,)),
    "stream number falls": (headers(5) + headers(3), (PROTOCOL, CLOSED)),
    "HEADERS on a closed stream": (HELD + rst_stream(1) + headers(3) + rst_stream(3) + headers(1), (PROTOCOL, CLOSED)),
    # §6.1, §6.2: stream 0, padding
    "DATA on stream 0": (raw_frame(DATA, 0, 0, b"x"), (PROTOCOL,)),
    "DATA padding as long as the frame": (OPEN + raw_frame(DATA, PADDED, 1, b"\x05xxxxx"[:5]), (PROTOCOL,)),
    "DATA padding longer than the frame": (OPEN + raw_frame(DATA, PADDED, 1, b"\xffx"), (PROTOCOL,)),
    "DATA padded and empty": (OPEN + raw_frame(DATA, PADDED, 1, b""), (PROTOCOL, SIZE)),
    "HEADERS on stream 0": (headers(0), (PROTOCOL,)),
    "HEADERS padding longer than the frame": (raw_frame(HEADERS, END_HEADERS | PADDED, 1, b"\xff" + GET), (PROTOCOL,)),
    "HEADERS padded and empty": (raw_frame(HEADERS, END_HEADERS | PADDED, 1, b""), (PROTOCOL, SIZE)),
    "HEADERS too short for its priority": (
        raw_frame(HEADERS, END_HEADERS | PRIORITIZED, 1, b"\0\0\0"),
        (PROTOCOL, SIZE),
    ),
    # §6.3, §6.4
    "PRIORITY on stream 0": (raw_frame(PRIORITY, 0, 0, b"\0\0\0\0\0"), (PROTOCOL,)),
    "RST_STREAM on stream 0": (rst_stream(0), (PROTOCOL,)),
    "RST_STREAM of 3 bytes": (OPEN + raw_frame(RST_STREAM, 0, 1, b"\0\0\0"), (SIZE,)),
    "RST_STREAM of 5 bytes": (OPEN + raw_frame(RST_STREAM, 0, 1, b"\0\0\0\0\0"), (SIZE,)),
    # §6.5
    "SETTINGS on a stream": (raw_frame(SETTINGS, 0, 1, b""), (PROTOCOL,)),
    "SETTINGS of 5 bytes": (raw_frame(SETTINGS, 0, 0, b"\0\0\0\0\0"), (SIZE,)),
    "SETTINGS ack with settings": (raw_frame(SETTINGS, ACK, 0, b"\0\x03\0\0\0\x01"), (SIZE,)),
    "ENABLE_PUSH 2": (settings_frame({Setting.ENABLE_PUSH: 2}), (PROTOCOL,)),
    "INITIAL_WINDOW_SIZE 2^31": (settings_frame({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), (FLOW,)),
    "MAX_FRAME_SIZE too small": (settings_frame({Setting.MAX_FRAME_SIZE: 16_383}), (PROTOCOL,)),
    "MAX_FRAME_SIZE too large": (settings_frame({Setting.MAX_FRAME_SIZE: 1 << 24}), (PROTOCOL,)),
    "ENABLE_CONNECT_PROTOCOL 2": (settings_frame({Setting.ENABLE_CONNECT_PROTOCOL: 2}), (PROTOCOL,)),
    # §6.6: clients don't push
    "PUSH_PROMISE": (OPEN + raw_frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + GET), (PROTOCOL,)),
    # §6.7, §6.8
    "PING on a stream": (raw_frame(PING, 0, 1, b"12345678"), (PROTOCOL,)),
    "PING of 7 bytes": (raw_frame(PING, 0, 0, b"1234567"), (SIZE,)),
    "PING of 9 bytes": (raw_frame(PING, 0, 0, b"123456789"), (SIZE,)),
    "GOAWAY on a stream": (raw_frame(GOAWAY, 0, 1, b"\0" * 8), (PROTOCOL,)),
    "GOAWAY of 7 bytes": (raw_frame(GOAWAY, 0, 0, b"\0" * 7), (SIZE,)),
    # §6.9
    "WINDOW_UPDATE 0 of the connection": (window_update(0, 0), (PROTOCOL,)),
    "WINDOW_UPDATE of 3 bytes": (raw_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0"), (SIZE,)),
    "WINDOW_UPDATE of 5 bytes": (raw_frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\0\x01"), (SIZE,)),
    "connection window over 2^31-1": (window_update(0, MAX_WINDOW), (FLOW,)),
    "stream window over 2^31-1 by SETTINGS": (
        OPEN + window_update(1, MAX_WINDOW - 65_535) + settings_frame({Setting.INITIAL_WINDOW_SIZE: 65_536}),
        (FLOW,),
    ),
    # RFC 7541: what can't be decoded is the connection's end, for both sides' tables are lost
    "index 0": (headers(1, b"\x80"), (COMPRESSION,)),
    "index beyond the tables": (headers(1, GET + b"\xff\xff\x03"), (COMPRESSION,)),
    "index of an empty dynamic table": (headers(1, GET + b"\xbe"), (COMPRESSION,)),
    "integer without end": (headers(1, GET + b"\x00\x7f" + b"\xff" * 10 + b"\x01x"), (COMPRESSION,)),
    "integer cut off": (headers(1, GET + b"\x7f\xff"), (COMPRESSION,)),
    "string longer than the block": (headers(1, GET + b"\x00\x7fabc"), (COMPRESSION,)),
    "name without value": (headers(1, GET + b"\x00\x01a"), (COMPRESSION,)),
    "Huffman with EOS": (headers(1, GET + b"\x00\x01a\x84\xff\xff\xff\xfc"), (COMPRESSION,)),
    "Huffman padding of 8 bits": (headers(1, GET + b"\x00\x01a\x82\x1f\xff"), (COMPRESSION,)),
    "Huffman padding of zeros": (headers(1, GET + b"\x00\x01a\x81\x18"), (COMPRESSION,)),
    "table update above the limit": (headers(1, b"\x3f\xe2\x1f" + GET), (COMPRESSION,)),
    "table update behind a field": (headers(1, GET + b"\x20"), (COMPRESSION,)),
    "broken block in trailers": (OPEN + headers(1, b"\x80"), (COMPRESSION,)),
    "broken block of a refused stream": (headers(1, b"\xff\xff\xff\xff\xff\xff\xff"), (COMPRESSION,)),
}

# name -> bytes (the stream is 1), codes, whether a connection error will do as well
STREAM: dict[str, tuple[bytes, tuple[Code, ...], bool]] = {
    # §5.1: half-closed (remote), closed
    "DATA behind END_STREAM": (HELD + raw_frame(DATA, 0, 1, b"x"), (CLOSED,), True),
    "HEADERS behind END_STREAM": (HELD + headers(1), (CLOSED,), True),
    # §6.3
    "PRIORITY of 4 bytes": (HELD + raw_frame(PRIORITY, 0, 1, b"\0\0\0\0"), (SIZE,), True),
    # §6.9
    "WINDOW_UPDATE 0": (HELD + window_update(1, 0), (PROTOCOL,), True),
    "stream window over 2^31-1": (HELD + window_update(1, MAX_WINDOW), (FLOW,), False),
    # §8.1: a second HEADERS is trailers, and those end the stream
    "trailers without END_STREAM": (OPEN + headers(1, literals([("x-t", "1")]), END_HEADERS), (PROTOCOL,), False),
}

# What looks odd and must be served: padding, priorities, unknown things, reserved bits.
FINE: dict[str, bytes] = {
    "unknown frame type": raw_frame(0xBB, 0xFF, 0, b"whatever"),
    "unknown frame type on a stream": raw_frame(0xBB, 0xFF, 77, b"whatever"),
    "unknown setting": settings_frame({0x7777: 0xFFFFFFFF}),
    "unknown flags": raw_frame(PING, 0xFE, 0, b"12345678"),
    "reserved bit": raw_frame(PING, 0, 0x80000000, b"12345678"),
    "window update's reserved bit": raw_frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 0x80000001)),
    "PRIORITY on an idle stream": raw_frame(PRIORITY, 0, 33, b"\0\0\0\0\x10"),
    "PRIORITY on itself": raw_frame(PRIORITY, 0, 33, b"\0\0\0\x21\x10"),
    "PING ack nobody asked for": raw_frame(PING, ACK, 0, b"12345678"),
    "padded HEADERS with priority": raw_frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITIZED, 1, b"\x03\x80\0\0\x05\xff" + GET + b"\0\0\0"),
    "HEADERS in one-byte pieces": headers(1, GET[:1], END_STREAM) + b"".join(raw_frame(CONTINUATION, END_HEADERS if at == len(GET) - 1 else 0, 1, GET[at : at + 1]) for at in range(1, len(GET))),
    "empty CONTINUATIONs": headers(1, GET, END_STREAM) + raw_frame(CONTINUATION, 0, 1) * 3 + raw_frame(CONTINUATION, END_HEADERS, 1),
    "padded DATA": OPEN + raw_frame(DATA, PADDED, 1, b"\x02hi\0\0") + raw_frame(DATA, PADDED | END_STREAM, 1, b"\xff" + b"\0" * 255),
    "empty DATA": OPEN + raw_frame(DATA, 0, 1) + raw_frame(DATA, END_STREAM, 1),
    "numbers skipped": headers(101, GET) + rst_stream(101),
    "frames on a stream just reset": OPEN + rst_stream(1) + window_update(1, 1) + raw_frame(PRIORITY, 0, 1, b"\0\0\0\0\x10"),
    "RST_STREAM twice": HELD + rst_stream(1) + rst_stream(1),
    "window to the very top": window_update(0, MAX_WINDOW - 65_535),
    "GOAWAY NO_ERROR with text": b"",
    "table size to zero and back": headers(1, b"\x20\x3f\xe1\x1f" + GET),
    "dynamic table used": headers(1, GET + b"\x40\x03x-a\x01b") + rst_stream(1) + headers(3, GET + b"\xbe") + rst_stream(3),
    "Huffman": headers(1, GET + b"\x00\x81\x1f\x81\x1f") + rst_stream(1),
}  # fmt: skip


async def hold(peer: HttpPeer, request: Request) -> None:
    await (stall if request.target == "/hold" else answer(b"next"))(peer, request)


@pytest.fixture
def wire(shared_http: HttpStage) -> Http2Wire:
    if shared_http.proxy is None:
        shared_http.start(shared_http.server(hold))
    return shared_http.wire2()


def send(wire: Http2Wire, raw: bytes) -> None:
    try:
        wire.send_raw(raw)
    except OSError:
        pass  # the peer ended it while this was going out


@pytest.mark.parametrize("name", CONNECTION)
def test_connection_error(wire: Http2Wire, name: str) -> None:
    raw, codes = CONNECTION[name]
    send(wire, raw)
    assert wire.error() in codes


@pytest.mark.parametrize("name", ["HELD", *STREAM])
def test_stream_error(wire: Http2Wire, name: str) -> None:
    raw, codes, connection_too = STREAM.get(name, (HELD + rst_stream(1), (), False))
    send(wire, raw)
    wire.next_id = 3
    try:
        if codes:
            wire.until(lambda: wire.link.stream(1).reset is not None, "RST_STREAM")
            assert wire.link.stream(1).reset in codes
    except Ended:
        assert connection_too
        assert wire.link.goaway is not None
        assert wire.link.goaway[1] in codes
        return
    assert wire.exchange("GET", "/next").text == "next"


@pytest.mark.parametrize("name", FINE)
def test_no_error(wire: Http2Wire, name: str) -> None:
    wire.send_raw(FINE[name])
    wire.fence()
    wire.next_id = 1001
    assert wire.exchange("GET", "/next").text == "next"
    assert wire.link.goaway is None
    assert wire.link.stream(1).reset is None


@pytest.mark.parametrize(
    "first",
    [raw_frame(PING, 0, 0, b"12345678"), headers(1), raw_frame(SETTINGS, ACK, 0), window_update(0, 1)],
    ids=["PING", "HEADERS", "ack", "WINDOW_UPDATE"],
)
def test_first_frame_is_settings(shared_http: HttpStage, wire: Http2Wire, first: bytes) -> None:
    """RFC 9113 §3.4."""
    other = shared_http.wire2(start=False)
    send(other, PREFACE + first)
    assert other.error() in (PROTOCOL, None)


@pytest.mark.parametrize(
    "preface", [b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", b"PRI / HTTP/2.0\r\n\r\n"]
)
def test_bad_preface(shared_http: HttpStage, wire: Http2Wire, preface: bytes) -> None:
    """No GOAWAY is due; the connection ends, or it is an HTTP/1 request and a bad one."""
    other = shared_http.wire2(start=False)
    send(other, preface + settings_frame() + headers(1))
    other.socket.settimeout(5)
    other.rest()


def test_goaway_tells_the_last_stream(wire: Http2Wire) -> None:
    """RFC 9113 §6.8: what the peer may send again elsewhere is above it."""
    assert wire.exchange("GET", "/next").text == "next"
    held = wire.begin("GET", "/hold")
    wire.fence()
    wire.send_raw(raw_frame(DATA, 0, 0, b"x"))
    assert wire.error() == PROTOCOL
    assert wire.link.goaway is not None
    assert wire.link.goaway[0] == held
