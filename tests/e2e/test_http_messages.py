"""HTTP/1 messages through the proxy: framing of bodies, trailers, HEAD, replies without a body, versions, pipelining."""

from __future__ import annotations

import asyncio

import pytest

from mosnpy.testing.http_message import chunked, response, response_head
from mosnpy.testing.http_server import HttpPeer, Request, answer, canned, echo, mirror
from mosnpy.testing.http_stage import HttpStage, field_values, seen

BODIES = [b"x", b"0123456789", bytes(range(256)) * 16, b"\r\n0\r\n\r\n", b"y" * 70_000, b"z" * 1_500_000]


class TestRequestBodies:
    @pytest.mark.parametrize("body", BODIES, ids=len)
    def test_sized(self, http: HttpStage, body: bytes) -> None:
        server = http.server()
        http.start()
        assert seen(http.wire().exchange("POST", "/", body=body))["size"] == len(body)
        assert server.last.body == body[: 1 << 20]
        assert server.last.length == len(body)

    @pytest.mark.parametrize("body", BODIES, ids=len)
    def test_chunked(self, http: HttpStage, body: bytes) -> None:
        server = http.server()
        http.start()
        pieces = [body[at : at + 100_000] for at in range(0, len(body), 100_000)]
        assert seen(http.wire().exchange("POST", "/", pieces=pieces))["size"] == len(body)
        assert server.last.body == body[: 1 << 20]
        assert server.last.chunked

    def test_empty_ones(self, http: HttpStage) -> None:
        """Content-Length: 0 says there is a body of no bytes, which a POST should keep saying (RFC 9110 §8.6)."""
        server = http.server()
        http.start()
        wire = http.wire()
        assert seen(wire.exchange("POST", "/", body=b""))["size"] == 0
        assert server.last.length == 0
        assert seen(wire.exchange("POST", "/", pieces=[]))["size"] == 0
        assert seen(wire.exchange("GET", "/"))["size"] == 0
        assert "content-length" not in server.last
        assert "transfer-encoding" not in server.last

    def test_get_with_a_body(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire()
        assert seen(wire.exchange("GET", "/", body=b"odd"))["body"] == "odd"
        assert seen(wire.exchange("DELETE", "/", pieces=[b"od", b"d"]))["body"] == "odd"

    def test_byte_by_byte(self, http: HttpStage) -> None:
        """A head and a chunked body that come in the smallest pieces."""
        http.server()
        http.start()
        wire = http.wire()
        raw = (
            b"POST /slow HTTP/1.1\r\nHost: a.test\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5;ext=1\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-T: t\r\n\r\n"
        )
        for at in range(len(raw)):
            wire.send_raw(raw[at : at + 1])
        found = seen(wire.response())
        assert found["body"] == "hello0123456789"
        assert [(name.lower(), value) for name, value in found["trailers"]] == [("x-t", "t")]

    def test_streams_before_it_ends(self, http: HttpStage) -> None:
        """The upstream gets each piece when it comes, and its reply comes back while the request goes on."""
        http.server(mirror)
        http.start()
        wire = http.wire()
        wire.send_raw(b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n")
        head = wire.head()
        assert head.chunked
        for piece in (b"one", b"two", b"three"):
            wire.send_raw(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert wire.chunk() == piece
        wire.send_raw(b"0\r\nX-End: yes\r\n\r\n")
        assert wire.chunk() == b""
        assert wire.exactly(len(b"X-End: yes\r\n\r\n")).lower() == b"x-end: yes\r\n\r\n"

    def test_chunk_extensions_go_no_further(self, http: HttpStage) -> None:
        """RFC 9112 §7.1.1: recipients ignore extensions they don't know; a proxy that re-chunks drops them."""
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(
            b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n"
            b'3;a=b;c="d;e"\r\nabc\r\n0;last\r\n\r\n'
        )
        assert seen(wire.response())["body"] == "abc"
        assert b";" not in bytes(server.last.peer.received).partition(b"\r\n\r\n")[2]

    def test_trailers(self, http: HttpStage) -> None:
        http.server()
        http.start()
        found = seen(
            http.wire().exchange(
                "POST", "/", ("TE", "trailers"), pieces=[b"a"], trailers=[("X-Sum", "1"), ("x-b", "2")]
            )
        )
        assert [(name.lower(), value) for name, value in found["trailers"]] == [("x-sum", "1"), ("x-b", "2")]

    @pytest.mark.parametrize("name", ["Content-Length", "Transfer-Encoding", "Host", "Connection", "TE"])
    def test_trailers_that_frame_or_route_are_dropped(self, http: HttpStage, name: str) -> None:
        """RFC 9110 §6.5.1: such fields must not be merged into the head, so they must not get on as trailers either."""
        http.server()
        http.start()
        answered = http.wire().exchange("POST", "/", pieces=[b"a"], trailers=[(name, "5"), ("x-ok", "1")])
        if answered.status == 200:
            assert [key.lower() for key, _ in seen(answered)["trailers"]] == ["x-ok"]
        else:
            assert answered.status == 400


class TestResponseBodies:
    @pytest.mark.parametrize("body", [b"", *BODIES], ids=len)
    @pytest.mark.parametrize("framing", ["sized", "chunked", "eof"])
    def test_each_framing(self, http: HttpStage, framing: str, body: bytes) -> None:
        if framing == "sized":
            http.server(canned(response(200, body)))
        elif framing == "chunked":
            raw = response_head(200, [("Transfer-Encoding", "chunked")])
            http.server(canned(raw + chunked(*[body[at : at + 50_000] for at in range(0, len(body), 50_000)])))
        else:
            http.server(canned(response_head(200, []) + body, then="close"))
        http.start()
        wire = http.wire()
        for _ in range(2):
            answered = wire.exchange()
            assert answered.body == body
            assert not answered.closes, "a client's connection needn't end with its upstream's"
        if framing == "sized":
            assert answered.length == len(body)

    def test_dripping_upstream(self, http: HttpStage) -> None:
        raw = response_head(200, [("Transfer-Encoding", "chunked"), ("X-A", "b")]) + chunked(
            b"abc", b"defg", trailers=[("X-T", "t")]
        )

        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.drip(raw)

        http.server(script)
        http.start()
        answered = http.wire().exchange("GET", "/", ("TE", "trailers"))
        assert (answered.body, answered["x-a"]) == (b"abcdefg", "b")

    def test_trailers(self, http: HttpStage) -> None:
        raw = response_head(200, [("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")])
        http.server(canned(raw + chunked(b"abc", trailers=[("X-Sum", "9")])))
        http.start()
        answered = http.wire().exchange("GET", "/", ("TE", "trailers"), ("Connection", "TE"))
        assert [(name.lower(), value) for name, value in answered.trailers] == [("x-sum", "9")]

    @pytest.mark.parametrize("status", [204, 304])
    def test_statuses_without_a_body(self, http: HttpStage, status: int) -> None:
        """No framing, and none invented (RFC 9110 §15.3.5, RFC 9112 §6.1); a 304 may tell the length there would be."""
        extra = [("ETag", '"1"')] + ([("Content-Length", "1234")] if status == 304 else [])
        http.server(canned(response_head(status, extra)))
        http.start()
        wire = http.wire()
        for _ in range(3):
            answered = wire.exchange()
            assert (answered.status, answered["etag"]) == (status, '"1"')
            assert "transfer-encoding" not in answered
        if status == 204:
            assert "content-length" not in answered

    @pytest.mark.parametrize("framing", ["Content-Length: 12345", "Transfer-Encoding: chunked", "X-None: 1"])
    def test_head(self, http: HttpStage, framing: str) -> None:
        """The reply to HEAD has the head a GET would get, and no body whatever that says."""
        server = http.server(canned(b"HTTP/1.1 200 OK\r\n" + framing.encode() + b"\r\n\r\n"))
        http.start()
        wire = http.wire()
        for _ in range(3):
            answered = wire.exchange("HEAD", "/x")
            assert answered.status == 200
        if framing.startswith("Content-Length"):
            assert answered["content-length"] == "12345"
        assert {request.method for request in server.requests} == {"HEAD"}
        assert wire.silent()

    def test_reason_phrase_and_unknown_status(self, http: HttpStage) -> None:
        server = http.server(canned(response(299, b"x", reason="Odd But Legal")))
        http.start()
        wire = http.wire()
        assert wire.exchange().status == 299
        server.script = canned(b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\nx")
        assert wire.exchange().text == "x"
        server.script = canned(b"HTTP/1.1 599\r\nContent-Length: 1\r\n\r\nx")
        assert wire.exchange().status in (599, 502), "no space behind the status: tolerated or refused"

    def test_repeated_fields_keep_their_order(self, http: HttpStage) -> None:
        http.server(answer(b"", ("Set-Cookie", "a=1; Path=/"), ("X-A", "1"), ("Set-Cookie", "b=2"), ("x-a", "2")))
        http.start()
        answered = http.wire().exchange()
        assert answered.values("set-cookie") == ["a=1; Path=/", "b=2"]
        assert answered.values("x-a") == ["1", "2"]


class TestVersions:
    def test_http_1_0_client(self, http: HttpStage) -> None:
        """It can't read chunks, and its connection ends unless it asked otherwise."""
        server = http.server(canned(response_head(200, [("Transfer-Encoding", "chunked")]) + chunked(b"abc", b"def")))
        http.start()
        wire = http.wire()
        answered = wire.exchange(version="HTTP/1.0")
        assert (answered.text, answered.chunked) == ("abcdef", False)
        assert wire.closed()
        assert server.last.version == "HTTP/1.1"

    def test_http_1_0_keep_alive(self, http: HttpStage) -> None:
        http.server(answer(b"abc"))
        http.start()
        wire = http.wire()
        for _ in range(3):
            answered = wire.exchange("GET", "/", ("Connection", "keep-alive"), version="HTTP/1.0")
            assert (answered.text, answered.get("connection").lower()) == ("abc", "keep-alive")

    def test_http_1_0_upstream(self, http: HttpStage) -> None:
        """Its connection is not used again; the client's own goes on."""
        server = http.server(canned(b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", then="close"))
        http.start()
        wire = http.wire()
        for _ in range(3):
            answered = wire.exchange()
            assert (answered.text, answered.version) == ("abc", "HTTP/1.1")
        assert server.accepted == 3

    @pytest.mark.parametrize(
        "version", ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/11.1", "HTTP/1", "http/1.1", "HTTQ/1.1"]
    )
    def test_other_versions(self, http: HttpStage, version: str) -> None:
        """A minor version above 1 may be answered as 1.1 (RFC 9112 §2.3); everything else is refused."""
        server = http.server()
        http.start(protocol="http1")
        wire = http.wire()
        wire.send_raw(f"GET / {version}\r\nHost: a.test\r\n\r\n".encode())
        status = wire.response().status
        if version == "HTTP/1.2" and status == 200:
            assert server.last.version == "HTTP/1.1"
            return
        assert status in (400, 505)
        assert wire.closed()
        assert not server.requests


class TestPipelining:
    def test_replies_come_in_order(self, http: HttpStage) -> None:
        """The first of three is answered last by the upstream; the client still sees its own order."""
        held = asyncio.Event()

        async def script(peer: HttpPeer, request: Request) -> None:
            if request.target == "/1":
                await held.wait()
            await peer.send(response(200, request.target.encode()))

        server = http.server(script)
        http.start()
        wire = http.wire()
        for number in (1, 2, 3):
            wire.request("GET", f"/{number}")
        server.until_requests(1)
        assert wire.silent()
        server.release(held)
        assert [wire.response().text for _ in range(3)] == ["/1", "/2", "/3"]

    def test_many_in_one_write(self, http: HttpStage) -> None:
        http.server(echo)
        http.start()
        wire = http.wire()
        raw = b"".join(b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n" % number for number in range(300))
        wire.send_raw(raw)
        assert [seen(wire.response())["target"] for _ in range(300)] == [f"/{number}" for number in range(300)]

    def test_mixed_with_bodies_heads_and_errors(self, http: HttpStage) -> None:
        """Nothing behind a body belongs to it, nothing of HEAD's reply stays in the way."""
        http.server(echo)
        http.start()
        wire = http.wire()
        for number in range(20):
            wire.request("POST", f"/{number}a", body=b"b" * number)
            wire.request("HEAD", f"/{number}b")
            wire.request("POST", f"/{number}c", pieces=[b"c" * number, b"d"])
        for number in range(20):
            assert seen(wire.response())["body"] == "b" * number
            assert wire.response("HEAD").body == b""
            found = seen(wire.response())
            assert (found["target"], found["body"]) == (f"/{number}c", "c" * number + "d")

    def test_a_bad_one_ends_it_behind_the_good_ones(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(
            b"GET /1 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /2 HTTP/1.1\r\nHost : a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        assert seen(wire.response())["target"] == "/1"
        refused = wire.response()
        assert (refused.status, refused.closes) == (400, True)
        assert wire.closed()
        assert [request.target for request in server.requests] == ["/1"]

    def test_client_asks_to_close(self, http: HttpStage) -> None:
        """Connection: close ends the connection behind its reply; what was pipelined behind it is not looked at."""
        server = http.server()
        http.start()
        wire = http.wire()
        wire.request("GET", "/1")
        wire.request("GET", "/2", ("Connection", "close"))
        wire.request("GET", "/3")
        assert seen(wire.response())["target"] == "/1"
        last = wire.response()
        assert (seen(last)["target"], last.closes) == ("/2", True)
        assert wire.closed()
        assert [request.target for request in server.requests] == ["/1", "/2"]
        assert field_values(seen(last), "connection") in ([], ["keep-alive"])
