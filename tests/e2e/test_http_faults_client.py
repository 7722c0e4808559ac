"""Clients that leave, half-close, never read or come in crowds: what was done for them is undone, and counters return to zero.

Every test here ends with the stage's own look: no stream, no client connection, nothing leaked.
"""

from __future__ import annotations

import asyncio

import pytest

from mosnpy.testing.http2_frames import Code
from mosnpy.testing.http2_server import Http2Server, stall2
from mosnpy.testing.http_message import response, response_head
from mosnpy.testing.http_server import HttpPeer, HttpServer, Request, answer, echo, flood, stall
from mosnpy.testing.http_stage import HttpStage, seen
from mosnpy.testing.waiting import until

LEAVE = ["close", "reset"]
STATES = {
    "nothing sent": b"",
    "half a method": b"GE",
    "half a head": b"GET / HTTP/1.1\r\nHost: a\r\nX-",
    "waiting": b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n",
    "half a sized body": b"POST /stall HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + b"x" * 50_000,
    "half a chunk": b"POST /stall HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",
    "within trailers": b"POST /stall HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX-A",
    "waiting for 100": b"POST /stall HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    "pipeline": b"GET /stall HTTP/1.1\r\nHost: a\r\n\r\n" * 20,
    "a flood unread": b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n",
    "refused": b"GET / HTTP/1.1\r\n\r\n",
    "no route": b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n",
}


async def many_ways(peer: HttpPeer, request: Request) -> None:
    if request.target == "/flood":
        await flood(30_000_000)(peer, request)
    elif request.target == "/stall":
        await stall(peer, request)
    else:
        await echo(peer, request)


class TestLeaving:
    @pytest.mark.parametrize("how", LEAVE)
    @pytest.mark.parametrize("state", STATES)
    def test_in_every_state(self, http: HttpStage, state: str, how: str) -> None:
        server = http.server(many_ways)
        # FIN may come from a client that still wants its answer; then it is the route's timeout that ends the wait for one.
        limit = {"timeout": "300ms"} if how == "close" else {}
        http.start(routes=[{"match": {"path": "/none"}, "reply": {"status": 404}}, {"to": "back", **limit}])
        for wait in (False, True):
            for _ in range(5):
                wire = http.wire(receive_buffer=8192)
                wire.send_raw(STATES[state])
                if wait and "flood" in state:
                    wire.head()
                elif wait and b"/stall" in STATES[state] and "pipeline" not in state:
                    server.until_requests(1)
                getattr(wire, how)()
        other = http.wire()
        assert seen(other.exchange("GET", "/still"))["target"] == "/still"
        other.close()
        http.quiet()
        until(lambda: not [peer for peer in server.peers if peer.requests and peer.requests[-1].target != "/still"], "upstream connections of those who left to be ended")  # fmt: skip

    def test_upstream_is_told(self, http: HttpStage) -> None:
        """HTTP/1 has one way to say it: the connection ends."""
        server = http.server(stall)
        http.start()
        wire = http.wire()
        wire.request()
        server.until_requests(1)
        wire.reset()
        until(lambda: server.all_peers[0].end, "the upstream connection to end")

    def test_http2_upstream_is_told(self, http: HttpStage) -> None:
        """RST_STREAM CANCEL; the connection is for the others."""
        server = http.server2(stall2)
        http.start()
        wire = http.wire()
        wire.request()
        server.until_requests(1)
        wire.reset()
        until(lambda: server.last.reset is not None, "RST_STREAM")
        assert server.last.reset in (Code.CANCEL, Code.NO_ERROR)
        assert server.peers

    @pytest.mark.parametrize("how", LEAVE)
    @pytest.mark.parametrize("two", [False, True], ids=["HTTP/1 upstream", "HTTP/2 upstream"])
    def test_http2_client(self, http: HttpStage, two: bool, how: str) -> None:
        """No half-closed connections in HTTP/2: whoever can't send WINDOW_UPDATE any more has gone."""
        server: HttpServer | Http2Server = http.server2(stall2) if two else http.server(stall)
        http.start(server)
        wire = http.wire2()
        for _ in range(5):
            wire.begin("GET", "/")
        server.until_requests(5)
        getattr(wire, how)()
        if isinstance(server, Http2Server):
            until(lambda: all(one.message.reset is not None for one in server.requests), "RST_STREAM of all")
        else:
            until(lambda: not server.peers, "the upstream connections to end")

    def test_paused_upstream_is_let_go(self, http: HttpStage) -> None:
        """The upstream is held back for a client that doesn't read; then that client leaves without ever having read."""
        server = http.server(flood(100_000_000))
        http.start()
        for _ in range(3):
            wire = http.wire(receive_buffer=8192)
            wire.request()
            wire.head()
            wire.reset()
        until(lambda: not server.peers, "the floods to end")

    def test_upload_abandoned(self, http: HttpStage) -> None:
        server = http.server(answer(b"never"))
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)
        server.until_requests(1)
        wire.close()
        until(lambda: server.all_peers[0].end, "the upstream to be told")
        assert not server.last.complete


class TestHalfClosed:
    """FIN behind a request says "no more requests"; the answer is still wanted (RFC 9112 §9.6 lets servers finish)."""

    def test_request_and_fin(self, http: HttpStage) -> None:
        http.server(answer(b"late but there"))
        http.start()
        for _ in range(10):
            wire = http.wire()
            wire.request()
            wire.half_close()
            assert wire.response().text == "late but there"
            assert wire.closed()

    def test_body_and_fin(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire()
        wire.request("POST", "/", body=b"x" * 300_000)
        wire.half_close()
        assert seen(wire.response())["size"] == 300_000
        assert wire.closed()

    def test_pipeline_and_fin(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire()
        for number in range(30):
            wire.request("GET", f"/{number}")
        wire.half_close()
        assert [seen(wire.response())["target"] for _ in range(30)] == [f"/{number}" for number in range(30)]
        assert wire.closed()

    def test_large_response_and_fin(self, http: HttpStage) -> None:
        http.server(flood(5_000_000))
        http.start()
        wire = http.wire()
        wire.request()
        wire.half_close()
        assert len(wire.response().body) == 5_000_000

    def test_fin_while_the_upstream_thinks(self, http: HttpStage) -> None:
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await gate.wait()
            await peer.send(response(200, b"thought"))

        server = http.server(script)
        http.start()
        wire = http.wire()
        wire.request()
        server.until_requests(1)
        wire.half_close()
        assert wire.silent()
        server.release(gate)
        assert wire.response().text == "thought"

    def test_fin_behind_a_stream_of_events(self, http: HttpStage) -> None:
        """That nobody reads a stream without end after FIN says nothing of the request behind it."""
        server = http.server(answer(b"data: x\n\n", ("Content-Type", "text/event-stream")))
        http.start()
        wire = http.wire()
        assert wire.exchange().status == 200
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await gate.wait()
            await peer.send(response(200, b"thought"))

        server.script = script
        wire.request()
        wire.half_close()
        server.until_requests(2)
        assert wire.silent()
        server.release(gate)
        assert wire.response().text == "thought"

    def test_fin_within_a_head(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(b"GET / HTTP/1.1\r\nHost: a\r\n")
        wire.half_close()
        raw = wire.rest()
        assert raw == b"" or raw.startswith(b"HTTP/1.1 400 ")
        assert not server.requests

    def test_fin_within_a_body(self, http: HttpStage) -> None:
        """An incomplete request is nobody's request: the upstream must not take it for a whole one."""
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        server.until_requests(1)
        wire.half_close()
        raw = wire.rest()
        assert raw == b"" or raw.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 408 "))
        until(lambda: server.all_peers[0].end, "the upstream to be told")
        assert not server.last.complete


class TestSlowReaders:
    def test_are_waited_for(self, http: HttpStage) -> None:
        """Back-pressure reaches the upstream; the body arrives whole all the same."""
        http.server(flood(8_000_000, framing="chunked"))
        http.start()
        wire = http.wire(receive_buffer=8192)
        wire.request()
        wire.head()
        others = http.wire()
        others.request()
        assert len(others.response().body) == 8_000_000
        total = 0
        while piece := wire.chunk():
            total += len(piece)
        assert total == 8_000_000

    def test_do_not_slow_the_others(self, http: HttpStage) -> None:
        server = http.server(flood(20_000_000))
        http.start()
        slow = [http.wire(receive_buffer=8192) for _ in range(10)]
        for wire in slow:
            wire.request()
            wire.head()
        server.script = answer(b"quick")
        other = http.wire()
        for _ in range(100):
            assert other.exchange().text == "quick"


class TestCrowds:
    def test_connection_limit(self, http: HttpStage) -> None:
        http.server(answer(b"ok"))
        http.start(listener={"max_connections": 5})
        wires = [http.wire() for _ in range(5)]
        assert {wire.exchange().text for wire in wires} == {"ok"}
        over = http.wire()
        raw = over.rest()
        assert raw == b"" or raw.startswith(b"HTTP/1.1 503 ")
        wires.pop().close()

        def admitted() -> bool:
            wire = http.wire(timeout=2)
            return wire.exchange().text == "ok"

        until(admitted, "a freed place to be given away")

    def test_500_clients(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        wires = [http.wire() for _ in range(500)]
        for number, wire in enumerate(wires):
            wire.request("POST", f"/{number}", body=b"%d" % number)
        for number, wire in enumerate(wires):
            assert seen(wire.response())["body"] == str(number)
        assert isinstance(server, HttpServer)

    def test_each_leaves_at_another_byte(self, http: HttpStage) -> None:
        """One request, abandoned behind each of its bytes; one response, abandoned behind each of its bytes."""
        server = http.server(answer(b"hello", ("X-A", "b")))
        http.start()
        raw = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: t\r\n\r\n"
        for at in range(len(raw)):
            wire = http.wire()
            wire.send_raw(raw[:at])
            (wire.reset if at % 2 else wire.close)()
        for at in range(0, 50, 3):
            wire = http.wire()
            wire.send_raw(raw)
            wire.exactly(at)
            (wire.reset if at % 2 else wire.close)()
        assert http.wire().exchange("GET", "/end").text == "hello"
        assert all(request.complete for request in server.requests if request.target == "/end")

    def test_response_head_with_no_reader(self, http: HttpStage) -> None:
        """The client is gone when its answer comes: that is no error of anybody's, and the upstream connection is free again."""
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await gate.wait()
            await peer.send(response_head(200, [("Content-Length", "2")]) + b"ok")

        server = http.server(script)
        http.start()
        for count in range(1, 11):
            wire = http.wire()
            wire.request()
            server.until_requests(count)
            wire.reset()
        server.release(gate)
        assert http.wire().exchange().text == "ok"
