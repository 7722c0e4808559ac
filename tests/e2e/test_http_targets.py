"""Request targets and hosts: the four forms of RFC 9112 §3.2, normalisation of paths, Host checks, CONNECT."""

from __future__ import annotations

import pytest

from mosnpy.testing.http_message import response
from mosnpy.testing.http_server import HttpPeer, Request
from mosnpy.testing.http_stage import HttpStage, field_values, seen


class TestAbsoluteForm:
    def test_its_authority_is_the_host(self, http: HttpStage) -> None:
        """RFC 9112 §3.2.2: a proxy that receives absolute-form must ignore Host and send one of its own making."""
        http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(b"GET http://b.test/path?q=1 HTTP/1.1\r\nHost: a.test\r\n\r\n")
        found = seen(wire.response())
        assert (found["target"], field_values(found, "host")) == ("/path?q=1", ["b.test"])

    @pytest.mark.parametrize(
        ("target", "path"), [("http://b.test", "/"), ("http://b.test?x=1", "/?x=1"), ("http://b.test:80/", "/")]
    )
    def test_empty_path(self, http: HttpStage, target: str, path: str) -> None:
        http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(f"GET {target} HTTP/1.1\r\nHost: b.test\r\n\r\n".encode())
        assert seen(wire.response())["target"] == path

    def test_routes_by_it(self, http: HttpStage) -> None:
        http.server()
        http.start(routes=[{"match": {"host": "b.test"}, "to": "back"}])
        wire = http.wire()
        wire.send_raw(b"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert seen(wire.response())["target"] == "/"
        wire.send_raw(b"GET http://a.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n")
        assert wire.response().status == 404

    @pytest.mark.parametrize(
        "target", ["http:///x", "http://user:pw@b.test/", "://b.test/", "x", "/a b", "http://b test/", "*x", "a/b"]
    )
    def test_malformed(self, http: HttpStage, target: str) -> None:
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(f"GET {target} HTTP/1.1\r\nHost: a.test\r\n\r\n".encode())
        assert wire.response().status == 400
        assert wire.closed()
        assert not server.requests


class TestAsteriskForm:
    def test_options(self, http: HttpStage) -> None:
        server = http.server()
        http.start()
        answered = http.wire().exchange("OPTIONS", "*")
        assert answered.status == 200
        if server.requests:
            assert server.last.target == "*"

    @pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
    def test_nothing_else(self, http: HttpStage, method: str) -> None:
        server = http.server()
        http.start()
        assert http.wire().exchange(method, "*", body=b"").status == 400
        assert not server.requests


class TestConnect:
    def test_without_a_route_for_it(self, http: HttpStage) -> None:
        """Nobody's open relay: CONNECT needs a route that says so."""
        http.server()
        http.start(routes=[{"match": {"method": ["GET"]}, "to": "back"}])
        wire = http.wire()
        wire.send_raw(b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n")
        assert wire.head().status // 100 == 4

    def test_tunnel(self, http: HttpStage) -> None:
        """Through a route it is a tunnel once the upstream says 2xx; Content-Length means nothing then."""

        async def script(peer: HttpPeer, request: Request) -> None:
            assert (request.method, request.target) == ("CONNECT", "b.test:443")
            await peer.send(b"HTTP/1.1 200 Established\r\n\r\n")
            while data := await peer.some():
                await peer.send(data.upper())

        server = http.server(script)
        http.start(routes=[{"match": {"method": ["CONNECT"]}, "to": "back"}])
        wire = http.wire()
        wire.send_raw(b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n")
        answered = wire.head()
        assert answered.status == 200
        assert "content-length" not in answered
        assert "transfer-encoding" not in answered
        for piece in (b"hello", b"GET / HTTP/1.1\r\n\r\n", b"x" * 100_000):
            wire.send_raw(piece)
            assert wire.exactly(len(piece)) == piece.upper()
        wire.close()
        server.until_quiet()

    def test_refused_by_the_upstream(self, http: HttpStage) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response(200 if request.method == "GET" else 403, b"no"))

        http.server(script)
        http.start()
        wire = http.wire()
        wire.send_raw(b"CONNECT b.test:443 HTTP/1.1\r\nHost: b.test:443\r\n\r\n")
        answered = wire.head()
        assert answered.status == 403
        assert wire.body(answered) == b"no"

    @pytest.mark.parametrize("target", ["/path", "http://b.test/", "*", "b.test", "b.test:", "b.test:x"])
    def test_authority_form_only(self, http: HttpStage, target: str) -> None:
        """RFC 9112 §3.2.3: host and port, nothing else; a port must be given."""
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(f"CONNECT {target} HTTP/1.1\r\nHost: b.test\r\n\r\n".encode())
        assert wire.head().status == 400
        assert not server.requests


class TestHost:
    @pytest.mark.parametrize(
        "hosts", ["", "Host: a.test\r\nHost: a.test\r\n", "Host: a.test\r\nHost: b.test\r\n", "Host: a test\r\n", "Host: a.test/x\r\n", "Host: u@a.test\r\n",
                  "Host: a.test, b.test\r\n", "Host: a.test?\r\n", "Host: a.test:port\r\n", "Host: [::1\r\n", "Host: a\\b\r\n", "Host: a.test#\r\n"],
    )  # fmt: skip
    def test_bad(self, http: HttpStage, hosts: str) -> None:
        """RFC 9112 §3.2: no Host, more than one, or an invalid one is 400."""
        server = http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(f"GET / HTTP/1.1\r\n{hosts}\r\n".encode())
        assert wire.response().status == 400
        assert wire.closed()
        assert not server.requests

    @pytest.mark.parametrize(
        "host",
        [
            "a.test",
            "A.Test:8080",
            "127.0.0.1:80",
            "[::1]:8080",
            "[2001:db8::1]",
            "a_b.test",
            "xn--e1aybc.test",
            "a.test.",
            "*.a",
        ],
    )
    def test_good(self, http: HttpStage, host: str) -> None:
        http.server()
        http.start()
        found = seen(http.wire(host=host).exchange())
        assert field_values(found, "host") == [host]

    def test_empty_is_allowed(self, http: HttpStage) -> None:
        """RFC 9112 §3.2: for targets without an authority the field is sent with an empty value."""
        http.server()
        http.start()
        assert http.wire().exchange("GET", "/", ("Host", "")).status in (200, 400)

    def test_http_1_0_needs_none(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(b"GET / HTTP/1.0\r\n\r\n")
        assert wire.response().status == 200


NORMAL = [
    ("/a/./b", "/a/b"), ("/a/../b", "/b"), ("/a/b/..", "/a/"), ("/a/b/.", "/a/b/"), ("/%61%62", "/ab"), ("/a%2e%2e/b", "/a../b"),
    ("/a/%2e%2e/b", "/b"), ("/a/%2E/b", "/a/b"), ("/%7euser", "/~user"), ("/a%20b", "/a%20b"), ("/a%2fb", "/a%2Fb"), ("/a//b", "/a//b"), ("/é".encode().decode("latin-1"), None),
    ("/a?x=../b", "/a?x=../b"), ("/a/../b?y=%2e", "/b?y=%2e"), ("/.../a", "/.../a"), ("/..a/.b", "/..a/.b"), ("/a;p=1/../b", "/b"), ("/", "/"), ("//", "//"),
]  # fmt: skip


class TestPaths:
    @pytest.mark.parametrize(("sent", "expected"), NORMAL)
    def test_normalised(self, shared_http: HttpStage, sent: str, expected: str | None) -> None:
        """RFC 3986 §6.2.2: dot segments resolved, unreserved characters decoded, hexadecimal digits upper case or kept."""
        if shared_http.proxy is None:
            shared_http.start(shared_http.server())
        got = seen(shared_http.wire().exchange("GET", sent))["target"]
        if expected is not None:
            assert got.replace("%2f", "%2F") == expected
        else:
            assert got in (sent, "/%C3%A9", "/%c3%a9")

    @pytest.mark.parametrize("target", ["/a/../b", "/%61//./x"])
    def test_not_touched_when_off(self, http: HttpStage, target: str) -> None:
        http.server()
        http.start(http={"path": {"normalize": False}})
        assert seen(http.wire().exchange("GET", target))["target"] == target

    def test_slashes_merged(self, http: HttpStage) -> None:
        http.server()
        http.start(http={"path": {"merge_slashes": True}})
        wire = http.wire()
        assert seen(wire.exchange("GET", "//a///b//?x=//"))["target"] == "/a/b/?x=//"

    def test_escaped_slashes_rejected(self, http: HttpStage) -> None:
        server = http.server()
        http.start(http={"path": {"escaped_slashes": "reject"}})
        for target in ("/a%2Fb", "/a%2fb", "/a%5Cb"):
            assert http.wire().exchange("GET", target).status == 400
        assert not server.requests
        assert http.wire().exchange("GET", "/a?x=%2F").status == 200

    def test_escaped_slashes_decoded(self, http: HttpStage) -> None:
        http.server()
        http.start(http={"path": {"escaped_slashes": "decode"}})
        assert seen(http.wire().exchange("GET", "/a%2fb"))["target"] == "/a/b"
        assert seen(http.wire().exchange("GET", "/a/..%2fb"))["target"] == "/b"

    def test_routes_see_the_normal_form(self, http: HttpStage) -> None:
        """Else /public/../admin would slip past a rule about /admin."""
        http.server()
        http.start(routes=[{"match": {"path": "/admin/*"}, "reply": {"status": 403, "body": "no"}}, {"to": "back"}])
        wire = http.wire()
        for target in ("/admin/x", "/public/../admin/x", "/public/%2e%2e/admin/x", "/%61dmin/x", "/./admin/x"):
            assert wire.exchange("GET", target).status == 403, target
        assert wire.exchange("GET", "/public/admin/x").status == 200

    def test_above_the_root(self, http: HttpStage) -> None:
        """There is nothing above it (RFC 3986 §5.2.4); who asks for that all the same may be refused."""
        server = http.server()
        http.start()
        for target in ("/../../x", "/%2e%2e/x", "/a/../../x"):
            answered = http.wire().exchange("GET", target)
            assert answered.status in (200, 400)
        assert all(request.target == "/x" for request in server.requests)

    @pytest.mark.parametrize("target", ["/a%00b", "/a%zz", "/a%2", "/%"])
    def test_bad_escapes(self, http: HttpStage, target: str) -> None:
        """Refused, or passed as they are; never decoded into something else."""
        server = http.server()
        http.start()
        answered = http.wire().exchange("GET", target)
        if answered.status == 200:
            assert server.last.target == target
        else:
            assert answered.status == 400
