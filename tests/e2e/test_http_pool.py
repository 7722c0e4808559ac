"""Keep-alive towards the upstream: which connection is used again, when, and what happens when it has gone stale."""

from __future__ import annotations

import asyncio
import threading

import pytest

from mosnpy.testing.http_message import chunk, response, response_head
from mosnpy.testing.http_server import HttpPeer, HttpServer, Request, Script, answer, canned, echo, flood, stall
from mosnpy.testing.http_stage import HttpStage, http_config, seen
from mosnpy.testing.waiting import free_port, until


def connection_of(answered: object) -> int:
    return int(seen(answered)["connection"])


class TestReuse:
    def test_one_connection_serves_many_clients(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        for _ in range(5):
            wire = http.wire()
            for _ in range(5):
                assert wire.exchange().status == 200
            wire.close()
        assert server.accepted == 1

    def test_last_in_first_out(self, http: HttpStage) -> None:
        """The connection given back last is used next, so that those not needed grow old and end."""
        gates = {name: asyncio.Event() for name in ("/a", "/b", "/c")}

        async def script(peer: HttpPeer, request: Request) -> None:
            if request.target in gates:
                await gates[request.target].wait()
            await echo(peer, request)

        server = http.server(script)
        http.start()
        wires = {name: http.wire() for name in gates}
        for count, (name, wire) in enumerate(wires.items(), 1):
            wire.request("GET", name)
            server.until_requests(count)
        used = {}
        for name in ("/b", "/c", "/a"):
            server.release(gates[name])
            used[name] = connection_of(wires[name].response())
        assert sorted(used.values()) == [1, 2, 3]
        again = http.wire()
        for _ in range(4):
            assert connection_of(again.exchange()) == used["/a"]

    def test_after_each_kind_of_message(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        wire = http.wire()
        wire.exchange("POST", "/", body=b"x" * 1000)
        wire.exchange("POST", "/", pieces=[b"a", b"b"], trailers=[("x-t", "1")])
        wire.exchange("HEAD", "/")
        for raw in (
            response(204),
            b"HTTP/1.1 304 X\r\n\r\n",
            b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
            response(500, b"x"),
        ):
            server.script = canned(raw.replace(b"Content-Length: 0\r\n", b"") if b" 204 " in raw else raw)
            wire.exchange()
        server.script = echo
        assert connection_of(wire.exchange()) == 1

    @pytest.mark.parametrize(
        "raw",
        [response(200, b"ok", ("Connection", "close")), b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"],
        ids=["close", "1.0"],
    )
    def test_not_when_the_upstream_says_close(self, http: HttpStage, raw: bytes) -> None:
        """Even if it has not closed yet."""
        server = http.server(canned(raw))
        http.start()
        wire = http.wire()
        for _ in range(3):
            assert wire.exchange().text == "ok"
        assert server.accepted == 3

    @pytest.mark.parametrize(
        "extra", [b"x", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"\r\n\r\n"], ids=["byte", "response", "lines"]
    )
    def test_not_with_bytes_behind_the_response(self, http: HttpStage, extra: bytes) -> None:
        """What nobody asked for must not become the next client's answer."""
        server = http.server(canned(response(200, b"first") + extra))
        http.start()
        wire = http.wire()
        assert wire.exchange().text == "first"
        server.script = echo
        assert connection_of(wire.exchange()) == 2

    def test_not_with_unasked_bytes_while_idle(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        wire = http.wire()
        assert connection_of(wire.exchange()) == 1
        server.push(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate")
        until(lambda: server.all_peers[0].end, "the proxy to drop the connection")
        assert connection_of(wire.exchange()) == 2

    def test_closed_while_idle(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        wire = http.wire()
        for number in range(1, 6):
            assert connection_of(wire.exchange("POST", "/", body=b"x")) == number
            server.each(HttpPeer.close)
            server.until_quiet()


class TestReload:
    def test_upstream_that_is_gone_finishes_what_it_began(self, http: HttpStage) -> None:
        """Requests end under the plan they came with: one that waits for its response, one that waits for the rest of its own body."""
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await request.read_body()
            await gate.wait()
            await peer.send(response_head(200, [("Transfer-Encoding", "chunked")]))
            await peer.send(chunk(b"late") + b"0\r\nX-A: b\r\n\r\n")

        server, other = http.server(script), http.server(answer(b"other"))
        proxy = http.start(server)
        waiting, sending = http.wire(), http.wire()
        waiting.request("POST", "/", body=b"x")
        sending.send_raw(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
        server.until_requests(2)
        proxy.reload(http_config({"new": other}))
        until(lambda: http.wire().exchange().text == "other", "the new plan")
        sending.send_raw(b"0\r\n\r\n")
        server.release(gate)
        for wire in (waiting, sending):
            got = wire.response()
            assert (got.status, got.text, got.trailers) == (200, "late", [("X-A", "b")])
        server.until_quiet()

    def test_listener_that_is_gone(self, http: HttpStage) -> None:
        """Its clients get what they have asked for, and leave: told so where the response has not begun, else in a pause behind it."""
        gate = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            begun = request.target == "/begun"
            if begun:
                await peer.send(response_head(200, [("Content-Length", "4")]))
            await gate.wait()
            await peer.send(b"rest" if begun else response(200, b"all"))

        server = http.server(script)
        proxy = http.start(server)
        idle, waiting, reading = http.wire(), http.wire(), http.wire()
        waiting.request()
        reading.request("GET", "/begun")
        head = reading.head()
        proxy.reload(http_config(server, bind=f"127.0.0.1:{free_port()}"))
        assert idle.closed()
        server.release(gate)
        got = waiting.response()
        assert (got.text, got.closes) == ("all", True)
        assert waiting.closed()
        assert (reading.body(head), head.closes) == (b"rest", False)
        assert reading.closed()


class TestInLine:
    """max_connections: requests stand in line for a connection, each endpoint with a line of its own."""

    def test_a_place_that_one_leaves_is_the_next_ones(self, http: HttpStage) -> None:
        """One endpoint answers, the other never: whoever stood before the first is answered, with nobody to push from behind."""
        held = asyncio.Event()

        async def hold(peer: HttpPeer, request: Request) -> None:
            await held.wait()
            await echo(peer, request)

        quick, stuck = http.server(hold), http.server(stall)
        http.start({"back": [quick, stuck]}, pool={"max_connections": 1}, timeout="0s", lb="round_robin")
        wires = [http.wire() for _ in range(12)]
        for wire in wires:
            wire.request()
        until(lambda: http.proxy and http.proxy.counts()["streams"] == 12, "all to have come")
        quick.release(held)
        quick.until_requests(6)
        stuck.script = echo
        stuck.each(HttpPeer.close)
        assert sum(wire.response().status == 200 for wire in wires) >= 11
        assert quick.accepted == 1

    def test_endpoint_that_dies(self, http: HttpStage) -> None:
        """All that stood in line hear of it at once, not only the first."""
        server = http.server(stall)
        http.start(pool={"max_connections": 1}, timeout="0s", attempts=1)
        wires = [http.wire() for _ in range(5)]
        for wire in wires:
            wire.request("POST", "/", body=b"x")
        until(lambda: http.proxy and http.proxy.counts()["streams"] == 5, "all to have come")
        server.until_requests(1)
        server.refuse()
        server.each(HttpPeer.close)
        assert {wire.response().status for wire in wires} <= {502, 503}


def close_on_reuse(*, reset: bool) -> Script:
    """The first request of each connection is answered; at the second the connection ends unanswered."""

    async def script(peer: HttpPeer, request: Request) -> None:
        await request.read_body()
        if len(peer.requests) > 1:
            if reset:
                peer.reset()
            else:
                peer.close()
        else:
            await echo(peer, request)

    return script


class TestStale:
    """The connection ends just as a request goes out on it: sent again only if asking twice is asking once."""

    @pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
    def test_safe_and_idempotent_ones_are_retried(self, http: HttpStage, method: str, reset: bool) -> None:
        """Without a body there is nothing to be kept for a second attempt (RFC 9110 §9.2.2)."""
        server = http.server(close_on_reuse(reset=reset))
        http.start()
        wire = http.wire()
        assert wire.exchange().status == 200
        answered = wire.exchange(method, "/again")
        assert answered.status == 200
        assert [request.method for request in server.requests] == ["GET", method, method]
        assert server.accepted == 2

    @pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
    @pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
    def test_others_are_not(self, http: HttpStage, method: str, reset: bool) -> None:
        server = http.server(close_on_reuse(reset=reset))
        http.start()
        wire = http.wire()
        assert wire.exchange().status == 200
        answered = wire.exchange(method, "/once", body=b"money")
        assert answered.status in (502, 503)
        assert [request.method for request in server.requests] == ["GET", method]
        assert wire.exchange().status == 200

    def test_a_fresh_connection_that_ends_is_no_stale_one(self, http: HttpStage) -> None:
        """The server takes the request and dies of it: asking again and again would kill the next one too."""
        server = http.server(canned(b"", then="close"))
        http.start()
        assert http.wire().exchange().status in (502, 503)
        assert len(server.requests) <= 2

    def test_not_after_part_of_the_response(self, http: HttpStage) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            if len(peer.requests) > 1:
                await peer.send(b"HTTP/1.1 200 OK\r\nContent-")
                peer.close()
            else:
                await echo(peer, request)

        server = http.server(script)
        http.start()
        wire = http.wire()
        assert wire.exchange().status == 200
        assert wire.exchange().status == 502
        assert len(server.requests) == 2

    def test_race_under_load(self, http: HttpStage) -> None:
        """The server closes each connection after its third answer without saying so; GETs never fail for that."""

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response(200, request.target.encode()))
            if len(peer.requests) == 3:
                peer.close()

        http.server(script)
        http.start()
        wrong: list[object] = []

        def client(name: int) -> None:
            wire = http.wire()
            for number in range(50):
                answered = wire.exchange("GET", f"/{name}/{number}")
                if (answered.status, answered.text) != (200, f"/{name}/{number}"):
                    wrong.append(answered)

        threads = [threading.Thread(target=client, args=(name,)) for name in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


class TestPipelinedUpstream:
    """pipeline: n: bodyless idempotent requests of many clients share n connections."""

    def start(self, http: HttpStage, script: Script, connections: int = 2) -> HttpServer:
        server = http.server(script)
        http.start(server, pipeline=connections)
        return server

    def test_few_connections_for_many(self, http: HttpStage) -> None:
        server = self.start(http, echo)
        wires = [http.wire() for _ in range(40)]
        for number, wire in enumerate(wires):
            wire.request("GET", f"/{number}")
        for number, wire in enumerate(wires):
            assert seen(wire.response())["target"] == f"/{number}"
        assert server.accepted <= 2

    def test_post_does_not_join(self, http: HttpStage) -> None:
        """A request that must not be sent twice, or has a body, has a connection to itself."""
        held = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await request.read_body()
            if request.target == "/held":
                await held.wait()
            await echo(peer, request)

        server = self.start(http, script, 1)
        get, post = http.wire(), http.wire()
        get.request("GET", "/held")
        server.until_requests(1)
        assert connection_of(post.exchange("POST", "/x", body=b"b")) != 1
        server.release(held)
        assert get.response().status == 200

    def test_replayed_when_the_connection_dies(self, http: HttpStage) -> None:
        """Each connection answers three requests and drops the rest: all are answered in the end, each by its own answer."""

        async def script(peer: HttpPeer, request: Request) -> None:
            if len(peer.requests) == 4:
                peer.close()
            else:
                await peer.send(response(200, request.target.encode()))

        self.start(http, script)
        wires = [http.wire() for _ in range(20)]
        for number, wire in enumerate(wires):
            wire.request("GET", f"/{number}")
        assert [wire.response().text for wire in wires] == [f"/{number}" for number in range(20)]

    def test_client_that_leaves_does_not_shift_the_others(self, http: HttpStage) -> None:
        held = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await held.wait()
            await peer.send(response(200, request.target.encode()))

        server = self.start(http, script, 1)
        wires = [http.wire() for _ in range(6)]
        for number, wire in enumerate(wires):
            wire.request("GET", f"/{number}")
        server.until_requests(1)
        wires[1].reset()
        wires[3].close()
        server.release(held)
        for number in (0, 2, 4, 5):
            assert wires[number].response().text == f"/{number}"

    def test_client_that_leaves_its_response_unread(self, http: HttpStage) -> None:
        """Those behind it wait while it does not read, and no longer; who comes later goes elsewhere at once."""

        async def script(peer: HttpPeer, request: Request) -> None:
            await (flood(30_000_000) if request.target == "/flood" else echo)(peer, request)

        self.start(http, script, 1)
        proxy = http.proxy
        assert proxy is not None
        slow, behind, later = http.wire(receive_buffer=4096), http.wire(), http.wire()
        slow.request("GET", "/flood")
        assert slow.head().status == 200
        behind.request("GET", "/behind")
        received = [0]

        def stuck() -> bool:
            received.append(proxy.stats()["upstreams"]["back"]["bytes_received"])
            return len(set(received[-5:])) == 1

        until(stuck, "the flood to stop", pause=0.02)
        assert connection_of(later.exchange()) == 2
        slow.reset()
        assert seen(behind.response())["target"] == "/behind"

    def test_server_that_stalls(self, http: HttpStage) -> None:
        """After a timeout nobody else comes to wait behind the same request."""
        server = http.server(stall)
        http.start(server, pipeline=1, timeout="200ms")
        wire = http.wire()
        assert wire.exchange().status == 504
        server.script = echo
        assert connection_of(wire.exchange()) == 2
        until(lambda: len(server.peers) == 1, "the first connection to be given up")

    def test_more_than_may_wait_for_the_connection(self, http: HttpStage) -> None:
        """While it is opened the others stand in line; then it takes all of them."""
        server = http.server(echo)
        http.start(server, pipeline=1, pool={"max_pending": 5}, timeout="2s")
        wire = http.wire2()
        streams = [wire.begin() for _ in range(10)]
        assert [wire.wait(stream).status for stream in streams] == [200] * 10
        assert server.accepted == 1

    def test_others_need_a_place(self, http: HttpStage) -> None:
        """With as many shared connections as there may be, an idle one of them gives way, or the first that becomes so."""
        held = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await request.read_body()
            if request.target == "/held":
                await held.wait()
            await echo(peer, request)

        server = http.server(script)
        http.start(server, pipeline=1, pool={"max_connections": 1}, timeout="2s")
        get, post = http.wire(), http.wire()
        for wire, method in ((get, "GET"), (post, "POST"), (get, "GET")):
            assert wire.exchange(method, "/", body=b"b" if method == "POST" else None).status == 200
        get.request("GET", "/held")
        server.until_requests(4)
        post.request("POST", "/", body=b"b")
        assert post.silent()
        server.release(held)
        assert get.response().status == 200
        assert post.response().status == 200

    def test_off_by_default(self, http: HttpStage) -> None:
        held = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            await held.wait()
            await answer(b"x")(peer, request)

        server = http.server(script)
        http.start()
        wires = [http.wire() for _ in range(5)]
        for wire in wires:
            wire.request()
        server.until_requests(5)
        assert server.accepted == 5
        server.release(held)
        assert [wire.response().text for wire in wires] == ["x"] * 5
