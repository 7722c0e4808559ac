"""Limits on what a client may send, and on how long it may take: each is refused with its own status, and nothing piles up."""

from __future__ import annotations

import socket
import time

import pytest

from mosnpy.testing.http_message import CutShort, response, response_head
from mosnpy.testing.http_server import HttpPeer, Request, answer, canned, stall
from mosnpy.testing.http_stage import HttpStage, seen
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.waiting import until


def status_of(wire: HttpWire, raw: bytes) -> int:
    try:
        wire.send_raw(raw)
    except OSError:
        pass  # refused while it was being sent
    return wire.response().status


class TestHead:
    def test_default_size(self, http: HttpStage) -> None:
        http.server(answer())
        http.start()
        assert http.wire().exchange("GET", "/", *[(f"X-{number}", "v" * 1000) for number in range(55)]).status == 200
        assert status_of(http.wire(), b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"v" * 70_000 + b"\r\n\r\n") == 431

    def test_size(self, http: HttpStage) -> None:
        http.server(answer())
        http.start(http={"limits": {"head": "2KiB"}})
        assert http.wire().exchange("GET", "/", ("X-A", "v" * 1900)).status == 200
        wire = http.wire()
        assert status_of(wire, b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"v" * 2100 + b"\r\n\r\n") == 431
        assert wire.closed()

    def test_refused_before_it_ends(self, http: HttpStage) -> None:
        """A head without end is refused at its limit, not held until the timeout."""
        http.server(answer())
        http.start(http={"limits": {"head": "2KiB"}})
        assert status_of(http.wire(), b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"v" * 3000) == 431
        assert status_of(http.wire(), b"GET / HTTP/1.1\r\n" + b"X-A: b\r\n" * 400) == 431

    def test_number_of_fields(self, http: HttpStage) -> None:
        http.server(answer())
        http.start(http={"limits": {"fields": 20}})
        assert http.wire().exchange("GET", "/", *[(f"X-{number}", "v") for number in range(19)]).status == 200
        wire = http.wire()
        wire.request("GET", "/", *[(f"X-{number}", "v") for number in range(21)])
        assert wire.response().status == 431
        assert wire.closed()

    def test_target(self, http: HttpStage) -> None:
        http.server(answer())
        http.start(http={"limits": {"target": "1KiB"}})
        assert http.wire().exchange("GET", "/" + "a" * 1000).status == 200
        wire = http.wire()
        wire.request("GET", "/" + "a" * 1100)
        assert wire.response().status == 414
        assert wire.closed()

    def test_target_without_end(self, http: HttpStage) -> None:
        http.server(answer())
        http.start(http={"limits": {"target": "1KiB"}})
        assert status_of(http.wire(), b"GET /" + b"a" * 2000) == 414

    def test_empty_lines_before_a_request(self, http: HttpStage) -> None:
        """RFC 9112 §2.2: at least one is ignored; a flood of them is no request."""
        http.server(answer())
        http.start()
        assert status_of(http.wire(), b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n") == 200
        wire = http.wire()
        try:
            wire.send_raw(b"\r\n" * 1000 + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        except OSError:
            return  # closed: right
        try:
            assert wire.response().status == 400
        except CutShort:
            pass  # closed without an answer: right

    @pytest.mark.parametrize("bad", [b"Bad Field\r\n", b"X-A: " + b"b" * 70_000 + b"\r\n"], ids=["400", "431"])
    def test_more_behind_a_refused_one(self, http: HttpStage, bad: bytes) -> None:
        """A client that goes on sending must be able to read why it should not: no RST overtakes the answer (RFC 9112 §9.6)."""
        http.server(answer())
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000000\r\n" + bad + b"\r\n")
        until(lambda: wire.socket.recv(1, socket.MSG_PEEK), "the answer")
        for _ in range(50):
            wire.send_raw(b"x" * 100_000)
        assert wire.response().status in (400, 431)
        assert wire.closed()
        assert not wire.was_reset


class TestBody:
    def test_announced(self, http: HttpStage) -> None:
        """Refused at the head: nobody needs to send what will not be taken."""
        server = http.server(answer())
        http.start(http={"limits": {"body": "1KiB"}})
        assert http.wire().exchange("POST", "/", body=b"x" * 1024).status == 200
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1025\r\n\r\n")
        assert wire.response().status == 413
        assert len(server.requests) == 1

    def test_counted(self, http: HttpStage) -> None:
        http.server(answer())
        http.start(http={"limits": {"body": "1KiB"}})
        assert http.wire().exchange("POST", "/", pieces=[b"x" * 512] * 2).status == 200
        wire = http.wire()
        assert status_of(wire, b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"200\r\n" + b"x" * 512 + b"\r\n" + b"201\r\n" + b"x" * 513 + b"\r\n0\r\n\r\n") == 413  # fmt: skip
        assert wire.closed()

    def test_counted_behind_the_responses_head(self, http: HttpStage) -> None:
        """It is too late for a status, and what still comes of the body belongs to nobody."""

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response_head(200, [("Transfer-Encoding", "chunked")]))
            await peer.gone()

        http.server(script)
        http.start(http={"limits": {"body": "10B"}})
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
        assert wire.head().status == 200
        wire.send_raw(b"a\r\n0123456789\r\n" + b"5\r\nhello\r\n" * 3 + b"0\r\n\r\n")
        assert wire.closed()
        assert wire.was_reset
        assert http.wire().silent()

    def test_no_limit_by_default(self, http: HttpStage) -> None:
        http.server()
        http.start()
        assert seen(http.wire().exchange("POST", "/", body=b"x" * 5_000_000))["size"] == 5_000_000

    def test_chunk_line(self, http: HttpStage) -> None:
        http.server(answer())
        http.start(http={"limits": {"chunk_line": "100B"}})
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert status_of(http.wire(), head + b"1;" + b"e" * 90 + b"\r\nx\r\n0\r\n\r\n") == 200
        assert status_of(http.wire(), head + b"1;" + b"e" * 120 + b"\r\nx\r\n0\r\n\r\n") == 400
        assert status_of(http.wire(), head + b"1;" + b"e" * 120) == 400

    def test_many_tiny_chunks(self, http: HttpStage) -> None:
        """100,000 chunks of a byte: slow to parse is no reason to fail, and what goes on is not 100,000 writes."""
        http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"
        )
        assert seen(wire.response())["size"] == 100_000

    def test_trailers(self, http: HttpStage) -> None:
        http.server(answer())
        http.start(http={"limits": {"trailers": "200B"}})
        head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
        assert status_of(http.wire(), head + b"X-A: " + b"b" * 100 + b"\r\n\r\n") == 200
        assert status_of(http.wire(), head + b"X-A: " + b"b" * 300 + b"\r\n\r\n") in (400, 431)
        assert status_of(http.wire(), head + b"X-A: " + b"b" * 300) in (400, 431)


class TestUpstreamsReplies:
    """What the upstream may not send either: the client gets a 502, not the trouble."""

    @pytest.mark.parametrize(
        "raw", [
            b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nBad Field\r\n\r\n", b"HTTP/1.1 20 OK\r\n\r\n", b"HTTP/1.1 2000 OK\r\n\r\n", b"HTTP/3.0 200 OK\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A: b\0\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 0\r\n\r\n", b"\0\0\0\0\0", b"HTTP/1.1 099 X\r\n\r\n",
        ],
    )  # fmt: skip
    def test_malformed(self, http: HttpStage, raw: bytes) -> None:
        server = http.server(canned(raw, then="close"))
        http.start(timeout="3s")
        wire = http.wire()
        assert wire.exchange().status in (
            502,
            200 if b"\r\n c" in raw else 502,
        )  # obs-fold may be mended (RFC 9112 §5.2)
        server.script = answer(b"fine")
        assert wire.exchange().text == "fine"

    def test_head_too_large(self, http: HttpStage) -> None:
        server = http.server(canned(response(200, b"", ("X-A", "v" * 2_000_000))))
        http.start()
        wire = http.wire()
        assert wire.exchange().status == 502
        server.script = canned(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 5000 + b"\r\n", then="close")
        assert wire.exchange().status == 502

    def test_interims_without_end(self, http: HttpStage) -> None:
        """A flood of 1xx is passed or cut off, and never buffered whole."""
        http.server(canned(response_head(103, []) * 5000 + response(200, b"done")))
        http.start()
        try:
            assert http.wire().exchange().status in (200, 502)
        except CutShort:
            pass  # cut off, as a limit may do

    def test_no_room_for_the_routes_fields(self, http: HttpStage) -> None:
        """What the proxy itself can't make of a response leaves no connection behind either."""
        server = http.server(canned(response_head(204, [(f"X-{number}", "v") for number in range(1024)])))
        names = {f"y-{number}": "v" for number in range(64)}
        route = {"to": "back", "response_headers": {"add": names, "set": {"z": "v"}}}
        http.start(server, routes=[route], limits={"fields": 1024})
        assert http.wire().exchange("POST", "/").status == 502
        server.until_quiet()


class TestTime:
    """Slowloris: a client may be slow, not for ever."""

    @pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b"])
    def test_head_that_stops(self, http: HttpStage, part: bytes) -> None:
        http.server()
        http.start(protocol="http1", http={"head_timeout": "200ms"})
        wire = http.wire(timeout=5)
        wire.send_raw(part)
        raw = wire.rest()
        assert raw == b"" or raw.startswith(b"HTTP/1.1 408 ")

    def test_head_that_drips(self, http: HttpStage) -> None:
        """The clock runs from the head's first byte, not from its last."""
        http.server()
        http.start(protocol="http1", http={"head_timeout": "300ms"})
        wire, begun = http.wire(timeout=0.03), time.monotonic()
        wire.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\n")
        ended = False
        for _ in range(100):
            try:
                wire.send_raw(b"X-A: b\r\n")
                ended = not wire._more() or b" 408 " in wire._buffer
            except TimeoutError:
                continue
            except OSError:
                ended = True
            if ended:
                break
        assert ended
        assert time.monotonic() - begun < 2.5

    def test_detection_does_not_wait_for_ever(self, http: HttpStage) -> None:
        """Too few bytes to tell HTTP/1 from HTTP/2, and silence."""
        http.server()
        http.start(http={"head_timeout": "200ms"})
        wire = http.wire(timeout=5)
        wire.send_raw(b"P")
        raw = wire.rest()
        assert raw == b"" or raw.startswith(b"HTTP/1.1 408 ")

    def test_idle_between_requests_is_no_head(self, http: HttpStage) -> None:
        """head_timeout begins with a request's first byte; a keep-alive pause is idle_timeout's business."""
        http.server(answer())
        http.start(http={"head_timeout": "100ms"})
        wire, begun = http.wire(), time.monotonic()
        assert wire.exchange().status == 200
        until(lambda: time.monotonic() - begun > 0.35, "a pause between two requests")
        assert wire.exchange().status == 200

    @pytest.mark.parametrize(
        "raw",
        [b"Content-Length: 100\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n64\r\nabc"],
        ids=["sized", "chunked"],
    )
    def test_body_that_stops(self, http: HttpStage, raw: bytes) -> None:
        server = http.server(answer())
        http.start(http={"body_timeout": "200ms"})
        wire = http.wire(timeout=5)
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\n" + raw)
        answered = wire.response()
        assert answered.status == 408
        assert wire.closed()
        until(lambda: not server.peers or server.all_peers[0].end, "the upstream to be told")

    def test_body_that_is_slow_but_moves(self, http: HttpStage) -> None:
        """A second more per 500 bytes: what comes fast enough is not timed out however long it takes."""
        http.server()
        http.start(http={"body_timeout": "200ms"})
        wire, begun = http.wire(), time.monotonic()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6000\r\n\r\n")
        for step in range(6):
            wire.send_raw(b"x" * 1000)
            until(lambda at=step: time.monotonic() - begun > 0.1 * (at + 1), "the pace")  # type: ignore[misc]
        assert seen(wire.response())["size"] == 6000

    def test_upstream_that_does_not_answer(self, http: HttpStage) -> None:
        server = http.server(stall)
        http.start(timeout="200ms")
        wire = http.wire()
        assert wire.exchange().status == 504
        until(lambda: server.all_peers[0].end, "the request to be given up")
        server.script = answer(b"later")
        assert wire.exchange().text == "later"

    def test_route_timeout_is_to_the_head(self, http: HttpStage) -> None:
        """A download that has begun may take its time."""
        http.server(canned(response_head(200, [("Content-Length", "10")]) + b"01234", then="stall"))
        http.start(timeout="150ms")
        wire, begun = http.wire(), time.monotonic()
        wire.request()
        assert wire.head().status == 200
        assert wire.exactly(5) == b"01234"
        until(lambda: time.monotonic() - begun > 0.4, "longer than the timeout")
        assert wire.silent(0.01)

    def test_silent_exchange(self, http: HttpStage) -> None:
        """stream_idle: no byte in either direction."""
        server = http.server(canned(response_head(200, [("Content-Length", "10")]) + b"01234", then="stall"))
        http.start(http={"stream_idle": "200ms"})
        wire = http.wire(timeout=5)
        with pytest.raises(CutShort):
            wire.exchange()
        until(lambda: server.all_peers[0].end, "the upstream to be let go")
