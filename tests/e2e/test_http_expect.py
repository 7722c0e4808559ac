"""Expect: 100-continue, other 1xx, and responses that come before the request has ended (RFC 9110 §10.1.1, §15.2)."""

from __future__ import annotations

import time

import pytest

from mosnpy.testing.http_message import response, response_head
from mosnpy.testing.http_server import HttpPeer, Request, answer, canned, echo
from mosnpy.testing.http_stage import HttpStage, field_values, seen
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.waiting import until

HEAD = b"POST /up HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"


async def accept(peer: HttpPeer, request: Request) -> None:
    """What a server does that takes the request."""
    if request.get("expect").lower() == "100-continue":
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    await echo(peer, request)


def interim_then_body(wire: HttpWire, body: bytes = b"hello") -> None:
    assert wire.head().status == 100
    wire.send_raw(body)


class TestExpect:
    def test_accepted(self, http: HttpStage) -> None:
        server = http.server(accept)
        http.start()
        wire = http.wire()
        for _ in range(3):
            wire.send_raw(HEAD)
            interim_then_body(wire)
            assert seen(wire.response())["body"] == "hello"
        assert all(request.get("expect").lower() == "100-continue" for request in server.requests)

    def test_accepted_before_a_chunked_body(self, http: HttpStage) -> None:
        http.server(accept)
        http.start()
        wire = http.wire()
        wire.send_raw(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nexpect: 100-Continue\r\n\r\n")
        interim_then_body(wire, b"5\r\nhello\r\n0\r\n\r\n")
        assert seen(wire.response())["body"] == "hello"

    @pytest.mark.parametrize("status", [417, 401, 413, 200])
    def test_refused(self, http: HttpStage, status: int) -> None:
        """A final response instead of 100: the client need not send its body, and what it then sends is not a body."""
        http.server(canned(response(status, b"no"), read=False, then="close"))
        http.start()
        wire = http.wire()
        wire.send_raw(HEAD)
        answered = wire.response()
        assert (answered.status, answered.body, answered.interim) == (status, b"no", [])
        if answered.closes:
            assert wire.closed()
        else:
            wire.send_raw(b"hello")  # the connection is kept: then it must be for the body
            assert wire.exchange().status == status

    def test_body_sent_without_waiting(self, http: HttpStage) -> None:
        http.server(accept)
        http.start()
        wire = http.wire()
        wire.send_raw(HEAD + b"hello")
        assert seen(wire.response())["body"] == "hello"
        assert wire.exchange().status == 200

    def test_upstream_that_ignores_it(self, http: HttpStage) -> None:
        """It just waits for the body: a client that sends it after a while gets its answer."""
        server = http.server(echo)
        http.start()
        wire = http.wire()
        wire.send_raw(HEAD)
        server.until_requests(1)
        wire.send_raw(b"hello")
        assert seen(wire.response())["body"] == "hello"

    def test_no_100_for_http_1_0(self, http: HttpStage) -> None:
        """RFC 9110 §10.1.1: the expectation of an HTTP/1.0 client is ignored."""
        http.server(accept)
        http.start()
        wire = http.wire()
        wire.send_raw(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"hello")
        answered = wire.response()
        assert answered.status == 200
        assert answered.interim == []

    def test_no_route(self, http: HttpStage) -> None:
        """The proxy's own final answer: no 100, no wait for the body."""
        http.server()
        http.start(routes=[{"match": {"path": "/else"}, "to": "back"}])
        wire = http.wire()
        wire.send_raw(HEAD)
        answered = wire.response()
        assert (answered.status, answered.interim) == (404, [])

    @pytest.mark.parametrize("value", ["200-ok", "100-continue, x", "x"])
    def test_other_expectations(self, http: HttpStage, value: str) -> None:
        server = http.server()
        http.start()
        answered = http.wire().exchange("POST", "/", ("Expect", value), body=b"hello")
        assert answered.status in (417, 200)
        assert answered.status == 200 or not server.requests

    def test_on_a_request_without_body(self, http: HttpStage) -> None:
        http.server(echo)
        http.start()
        wire = http.wire()
        assert seen(wire.exchange("GET", "/", ("Expect", "100-continue")))["method"] == "GET"
        assert wire.exchange().status == 200


class TestInterim:
    @pytest.mark.parametrize("count", [1, 3, 20])
    def test_passed_on(self, http: HttpStage, count: int) -> None:
        hint = response_head(103, [("Link", "</a.css>; rel=preload")], reason="Early Hints")
        http.server(canned(hint * count + response(200, b"done")))
        http.start()
        wire = http.wire()
        for _ in range(2):
            answered = wire.exchange()
            assert answered.text == "done"
            assert [one.status for one in answered.interim] == [103] * count
            assert answered.interim[0]["link"] == "</a.css>; rel=preload"

    def test_at_once(self, http: HttpStage) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response_head(102, []))
            await peer.through(b"!")
            await peer.send(response(200, b"done"))

        http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n")
        assert wire.head().status == 102
        wire.send_raw(b"!")
        # The script took the body itself; nothing more is due of it.
        assert wire.response().text == "done"

    @pytest.mark.parametrize("two", [False, True], ids=["HTTP/1", "HTTP/2"])
    def test_no_end_of_them(self, http: HttpStage, two: bool) -> None:
        """A client that does not read gets the first ones and the response; what lies between is not kept for it."""
        hints = response_head(103, [("Link", "x" * 1000)]) * 60
        done: list[int] = []

        async def script(peer: HttpPeer, request: Request) -> None:
            for _ in range(200):
                await peer.send(hints)
            done.append(1)
            await peer.send(response(200, b"done"))

        http.server(script)
        proxy = http.start()
        wire = http.wire2() if two else http.wire(receive_buffer=4096)
        if isinstance(wire, HttpWire):
            wire.request()
        else:
            stream = wire.begin()
        until(lambda: done, "the server to have said it all")
        assert proxy.counts()["chunks"] < 200  # of 16 KiB; 750 were sent
        assert (
            wire.response().text if isinstance(wire, HttpWire) else bytes(wire.wait(stream).body).decode()
        ) == "done"

    def test_not_to_http_1_0(self, http: HttpStage) -> None:
        http.server(canned(response_head(103, [("Link", "x")]) + response(200, b"done")))
        http.start()
        answered = http.wire().exchange(version="HTTP/1.0")
        assert (answered.text, answered.interim) == ("done", [])

    def test_101_nobody_asked_for(self, http: HttpStage) -> None:
        server = http.server(
            canned(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nrest", then="stall")
        )
        http.start(timeout="2s")
        answered = http.wire().exchange()
        assert answered.status == 502
        until(lambda: server.all_peers[0].end, "the proxy to drop that connection")

    def test_unasked_100_before_the_body_ends(self, http: HttpStage) -> None:
        http.server(canned(b"HTTP/1.1 100 Continue\r\n\r\n" + response(200, b"done")))
        http.start()
        answered = http.wire().exchange("POST", "/", body=b"x")
        assert answered.text == "done"


class TestEarlyResponses:
    """The upstream answers before it has the whole request. The client may go on sending, or stop."""

    def test_and_the_request_goes_on(self, http: HttpStage) -> None:
        server = http.server(canned(response(200, b"early"), read=False))
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
        answered = wire.response()
        assert answered.text == "early"
        if not answered.closes:
            wire.send_raw(b"56789")
            assert wire.exchange().text == "early"
            assert server.requests[0].complete

    @pytest.mark.parametrize("gentle", [True, False], ids=["FIN", "RST"])
    def test_with_close_upstream(self, http: HttpStage, gentle: bool) -> None:
        """413 and the end while 50 MiB are on their way: the client sees the 413, not a broken pipe."""

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response(413, b"too much", ("Connection", "close")))
            if gentle:  # reads on until the other side has seen it (RFC 9112 §9.6)
                peer.finish()
                await peer.gone()
            else:  # bytes nobody read turn the close into a RST
                peer.close()

        http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 52428800\r\n\r\n")
        try:
            for _ in range(50):
                wire.send_raw(b"x" * (1 << 20))
        except OSError:
            pass  # closed as it may be, once the answer is there
        assert wire.response().status in ((413,) if gentle else (413, 502, 503))

    def test_slow_reader(self, http: HttpStage) -> None:
        """What waits for a client that was told to go is not thrown away while it reads. (2 s are what one has that does nothing.)"""

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response(200, bytes(int(request.target[1:]))))
            await peer.gone()

        http.server(script)
        http.start()
        crowd = []  # what the kernel takes at once is unknown: for some of them a part is left in the proxy
        for size in range(2_000_000, 7_000_000, 500_000):
            wire = http.wire(receive_buffer=4096)
            wire.send_raw(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\npart" % size)
            crowd.append((wire, wire.head()))
        end = time.monotonic() + 2.2
        while time.monotonic() < end:
            for wire, head in crowd:
                head.body += wire.exactly(100)
            time.sleep(0.05)
        for wire, head in crowd:
            assert head.length is not None
            head.body += wire.exactly(head.length - len(head.body))

    def test_the_rest_is_not_taken_for_a_request(self, http: HttpStage) -> None:
        """A body that looks like a request, sent behind an early answer, must stay a body."""
        server = http.server(canned(response(401, b"who?"), read=False))
        http.start()
        wire = http.wire()
        inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        wire.send_raw(b"POST /outer HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(inner))
        assert wire.response().status == 401
        try:
            wire.send_raw(inner + b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            wire.rest()
        except OSError:
            pass  # closed instead: right too
        assert "/smuggled" not in [request.target for request in server.requests]

    def test_upstream_connection_is_not_reused_half_way(self, http: HttpStage) -> None:
        """A request that was never sent whole leaves an upstream connection nobody else may use."""
        server = http.server(canned(response(200, b"early"), read=False))
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\npart")
        assert wire.response().text == "early"
        wire.close()
        until(lambda: server.all_peers[0].end, "the half-used connection to be dropped")
        server.script = answer(b"fine")
        assert http.wire().exchange("GET", "/other").text == "fine"
        assert field_values({"fields": server.last.fields}, "host") == ["a.test"]
        assert server.last.peer is not server.all_peers[0]
