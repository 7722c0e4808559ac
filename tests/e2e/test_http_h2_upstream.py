"""HTTP/2 servers that break the protocol: the proxy is their client, and must answer as RFC 9113 has it, and stay well."""

from __future__ import annotations

import pytest

from mosnpy.testing.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    MAX_WINDOW,
    PADDED,
    PING,
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
from mosnpy.testing.http2_server import Http2Server, Stream2, answer2
from mosnpy.testing.http_message import CutShort
from mosnpy.testing.http_stage import HttpStage, http_config
from mosnpy.testing.waiting import until

PROTOCOL, SIZE, FLOW, CLOSED, COMPRESSION = (
    Code.PROTOCOL_ERROR, Code.FRAME_SIZE_ERROR, Code.FLOW_CONTROL_ERROR, Code.STREAM_CLOSED, Code.COMPRESSION_ERROR,
)  # fmt: skip
OK = literals([(":status", "200")])
HEAD = raw_frame(HEADERS, END_HEADERS, 1, OK)

# name -> what the server sends when stream 1's request is there, codes of the GOAWAY that must answer it
CONNECTION: dict[str, tuple[bytes, tuple[Code, ...]]] = {
    "DATA on stream 0": (raw_frame(DATA, 0, 0, b"x"), (PROTOCOL,)),
    "DATA beyond the largest frame": (HEAD + raw_frame(DATA, 0, 1, b"x" * 16_385), (SIZE,)),
    "HEADERS on stream 0": (raw_frame(HEADERS, END_HEADERS, 0, OK), (PROTOCOL,)),
    "HEADERS on a stream nobody opened": (raw_frame(HEADERS, END_HEADERS, 2, OK), (PROTOCOL, CLOSED)),
    "HEADERS on a stream above ours": (raw_frame(HEADERS, END_HEADERS, 77, OK), (PROTOCOL, CLOSED)),
    "DATA on a stream above ours": (raw_frame(DATA, 0, 77, b"x"), (PROTOCOL, CLOSED)),
    "padding too long": (HEAD + raw_frame(DATA, PADDED, 1, b"\xffx"), (PROTOCOL,)),
    "CONTINUATION out of nowhere": (raw_frame(CONTINUATION, END_HEADERS, 1, OK), (PROTOCOL,)),
    "PING within a header block": (raw_frame(HEADERS, 0, 1, OK) + raw_frame(PING, 0, 0, b"12345678"), (PROTOCOL,)),
    "broken header block": (raw_frame(HEADERS, END_HEADERS, 1, b"\x80"), (COMPRESSION,)),
    "broken trailers": (
        HEAD + raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, b"\xff\xff\xff\xff\xff\xff\x7f"),
        (COMPRESSION,),
    ),
    "RST_STREAM of 3 bytes": (raw_frame(RST_STREAM, 0, 1, b"\0\0\0"), (SIZE,)),
    "RST_STREAM on stream 0": (rst_stream(0), (PROTOCOL,)),
    "SETTINGS on a stream": (raw_frame(SETTINGS, 0, 1), (PROTOCOL,)),
    "SETTINGS of 5 bytes": (raw_frame(SETTINGS, 0, 0, b"\0" * 5), (SIZE,)),
    "SETTINGS with ENABLE_PUSH 1": (settings_frame({Setting.ENABLE_PUSH: 1}), (PROTOCOL,)),
    "INITIAL_WINDOW_SIZE 2^31": (settings_frame({Setting.INITIAL_WINDOW_SIZE: 1 << 31}), (FLOW,)),
    "MAX_FRAME_SIZE 1": (settings_frame({Setting.MAX_FRAME_SIZE: 1}), (PROTOCOL,)),
    "PUSH_PROMISE": (raw_frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02" + OK), (PROTOCOL,)),
    "PING of 9 bytes": (raw_frame(PING, 0, 0, b"123456789"), (SIZE,)),
    "GOAWAY of 4 bytes": (raw_frame(GOAWAY, 0, 0, b"\0" * 4), (SIZE,)),
    "WINDOW_UPDATE 0": (window_update(0, 0), (PROTOCOL,)),
    "WINDOW_UPDATE of 5 bytes": (raw_frame(WINDOW_UPDATE, 0, 0, b"\0" * 5), (SIZE,)),
    "connection window over 2^31-1": (window_update(0, MAX_WINDOW), (FLOW,)),
    "garbage": (b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", (SIZE, PROTOCOL)),
}
# The same of one stream: RST_STREAM with one of these, the connection goes on (a connection error will do for the last column).
STREAM: dict[str, tuple[bytes, tuple[Code, ...], bool]] = {
    "stream window over 2^31-1": (window_update(1, MAX_WINDOW), (FLOW,), False),
    "WINDOW_UPDATE 0 of the stream": (window_update(1, 0), (PROTOCOL,), True),
    "DATA before HEADERS": (raw_frame(DATA, 0, 1, b"x"), (PROTOCOL,), True),
    "no status": (raw_frame(HEADERS, END_HEADERS, 1, literals([("x-a", "b")])), (PROTOCOL,), False),
    "1xx that ends the stream": (raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([(":status", "103")])), (PROTOCOL,), False),
}  # fmt: skip


def sends(raw: bytes) -> Http2Server:
    """Connection 1 gets `raw` for its first request, all others are answered well."""

    async def script(stream: Stream2) -> None:
        if stream.peer.number == 1 and stream.id == 1:
            await stream.peer.send(raw)
            await stream.gone()
        else:
            await answer2(b"well")(stream)

    return Http2Server(script).start()


def failed(http: HttpStage) -> None:
    """What the client sees of it: an error, or a body that is visibly not whole."""
    try:
        assert http.wire().exchange("POST", "/").status in (502, 503)
    except CutShort:
        pass  # its head was good and out already


@pytest.mark.parametrize("name", CONNECTION)
def test_connection_error(http: HttpStage, name: str) -> None:
    raw, codes = CONNECTION[name]
    server = sends(raw)
    http.servers.append(server)
    http.start(timeout="3s")
    failed(http)
    peer = server.all_peers[0]
    until(lambda: peer.goaways or peer.end, "GOAWAY")
    if peer.goaways:  # a RST may overtake it
        assert peer.goaways[0].error_code in codes
    until(lambda: peer.end, "the connection to end")
    assert http.wire().exchange("POST", "/").text == "well"
    assert server.accepted == 2


@pytest.mark.parametrize("name", STREAM)
def test_stream_error(http: HttpStage, name: str) -> None:
    raw, codes, connection_too = STREAM[name]
    server = sends(raw)
    http.servers.append(server)
    http.start(timeout="3s")
    failed(http)
    peer = server.all_peers[0]
    until(lambda: server.requests[0].message.reset is not None or peer.goaways or peer.end, "RST_STREAM")
    if server.requests[0].message.reset is not None:
        assert server.requests[0].message.reset in codes
    else:
        assert connection_too
    assert http.wire().exchange("POST", "/").text == "well"


@pytest.mark.parametrize(
    "first",
    [raw_frame(PING, 0, 0, b"12345678"), HEAD, b"HTTP/1.1 400 Bad Request\r\n\r\n"],
    ids=["PING", "HEADERS", "HTTP/1"],
)
def test_first_frame_is_settings(http: HttpStage, first: bytes) -> None:
    """RFC 9113 §3.4 binds servers too."""
    server = http.server2(answer2(b"well"))
    server.settings = None

    async def greet(peer: object) -> None:
        await peer.send(first)  # type: ignore[attr-defined]

    server.on_connect = greet  # type: ignore[assignment]
    http.start(timeout="3s")
    assert http.wire().exchange("POST", "/").status in (502, 503)
    server.settings, server.on_connect = {}, None
    assert http.wire().exchange("POST", "/").text == "well"


def test_an_http1_server_behind_an_http2_upstream(http: HttpStage) -> None:
    """A misconfiguration people make: told as a bad gateway, quickly."""
    one = http.server()
    config = http_config(http.server2(), timeout="3s")
    config["upstreams"]["back"]["endpoints"] = [one.endpoint]
    http.start_config(config)
    assert http.wire().exchange("POST", "/").status in (502, 503, 504)
    until(lambda: len(one.errors) == one.accepted, "the server to give up each: it can't read the preface, of course")
    one.errors.clear()
