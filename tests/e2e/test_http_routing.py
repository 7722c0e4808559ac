"""What rules see of HTTP requests, and what routes change in them and in their replies, through the whole proxy."""

from __future__ import annotations

from typing import Any

import pytest

from mosnpy.testing.http_stage import HttpStage, field_values, seen


def says(word: str) -> dict[str, Any]:
    return {"reply": {"status": 200, "body": word}}


ROUTES: list[dict[str, Any]] = [
    {"match": {"host": "*.example.com", "path": "/users/{id}"}, **says("user")},
    {"match": {"host": "*.example.com", "path": "/files/{path=**}"}, **says("file")},
    {"match": {"host": "*.example.com"}, **says("wild")},
    {
        "match": {"host": ["a.test", "b.test.", "[2001:DB8::1]"]},
        "routes": [
            {"match": {"path": "/exact"}, **says("exact")},
            {"match": {"path": "/api/*", "method": ["PUT", "POST"]}, **says("write")},
            {"match": {"path": "/api/*"}, **says("api")},
            {"match": {"path": "~^/v[0-9]+/"}, **says("version")},
            {"match": {"header.x-tenant": "acme"}, **says("tenant")},
            {"match": {"query.debug": "1 +"}, **says("debug")},
            {"match": {"cookie.beta": "yes"}, **says("beta")},
            {"match": {"content_type": "application/json*"}, **says("json")},
            {"match": {"scheme": "https"}, **says("secure")},
        ],
    },
    {"match": {"http.header.X-Tenant": "acme"}, **says("anywhere")},
]
CASES = (
    ("x.example.com", "/users/7", (), "user"),
    ("X.Example.COM:81", "/users/7", (), "user"),
    ("x.example.com.", "/users/7", (), "user"),
    ("x.example.com.:81", "/users/7", (), "user"),
    ("x.example.com..", "/users/7", (), ""),
    ("[2001:db8::1]:81", "/exact", (), "exact"),
    ("[2001:DB8::1]", "/exact", (), "exact"),
    ("x.example.com", "/users/", (), "wild"),
    ("x.example.com", "/users/7/8", (), "wild"),
    ("x.y.example.com", "/files/a/b", (), "file"),
    ("example.com", "/files/a", (), ""),
    ("a.test", "/exact?x", (), "exact"),
    ("a.test", "/exact/", (), ""),
    ("b.test", "/x/../exact", (), "exact"),
    ("b.test", "/api/1", (), "api"),
    ("b.test", "/v12/x", (), "version"),
    ("c.test", "/exact", (), ""),
    ("a.test", "/", (("X-TENANT", "acme"),), "tenant"),
    ("a.test", "/", (("x-tenant", "other"), ("X-Tenant", "acme")), "tenant"),
    ("a.test", "/", (("x-tenant", "acme2"),), ""),
    ("c.test", "/", (("x-tenant", "acme"),), "anywhere"),
    ("a.test", "/?debug=0&debug=1+%2b", (), "debug"),
    ("a.test", "/?%64ebug=1%20%2B", (), "debug"),
    ("a.test", "/?debug=1+", (), ""),
    ("a.test", "/", (("Cookie", "a=b; beta=yes"),), "beta"),
    ("a.test", "/", (("Cookie", "abeta=yes"),), ""),
    ("a.test", "/", (("Content-Type", "application/json; charset=utf-8"),), "json"),
)


@pytest.fixture(scope="module")
def front(shared_http: HttpStage) -> HttpStage:
    shared_http.start(shared_http.server(), routes=ROUTES)
    return shared_http


class TestMatching:
    @pytest.mark.parametrize(("host", "target", "fields", "word"), CASES)
    def test_http1(
        self, front: HttpStage, host: str, target: str, fields: tuple[tuple[str, str], ...], word: str
    ) -> None:
        answered = front.wire().exchange("GET", target, ("Host", host), *fields)
        assert (answered.text if answered.status == 200 else "") == word
        assert answered.status == (200 if word else 404)

    @pytest.mark.parametrize(("host", "target", "fields", "word"), CASES)
    def test_http2(
        self, front: HttpStage, host: str, target: str, fields: tuple[tuple[str, str], ...], word: str
    ) -> None:
        lower = [(name.lower(), value) for name, value in fields]
        answered = front.wire2().exchange("GET", target, (":authority", host), *lower)
        assert (bytes(answered.body).decode() if answered.status == 200 else "") == word
        assert answered.status == (200 if word else 404)


class TestChanges:
    def test_prefix_and_host(self, http: HttpStage) -> None:
        http.server()
        http.start(
            routes=[{"match": {"path": "/api/*"}, "to": "back", "rewrite": {"prefix": "/v2", "host": "in.test"}}]
        )
        for wire in (http.wire(), http.wire2()):
            found = seen(wire.exchange("GET", "/api/a/../b%20c?q=%41"))
            assert (found["target"], field_values(found, "host")) == ("/v2/b%20c?q=%41", ["in.test"])

    def test_path_of_attributes(self, http: HttpStage) -> None:
        http.server()
        http.start(routes=[{"to": "back", "rewrite": {"path": "/%http.host%/%query.f%%http.path%"}}])
        wire = http.wire()
        assert seen(wire.exchange("GET", "/x?f=a%2Fb%0d%0aX:%20y", ("Host", "A.test:9")))["target"] == (
            "/a.test/a%2Fb%0D%0AX%3A%20y/x?f=a%2Fb%0d%0aX:%20y"
        )
        assert wire.exchange("GET", "/x?f=..").status == 400

    def test_regular_expression(self, http: HttpStage) -> None:
        http.server()
        http.start(routes=[{"to": "back", "rewrite": {"regex": r"/u/(\d+)", "to": r"/users/\1"}}])
        assert seen(http.wire().exchange("GET", "/u/7/u/8?/u/9"))["target"] == "/users/7/users/8?/u/9"

    def test_fields_of_the_request(self, http: HttpStage) -> None:
        http.server()
        edits = {
            "set": {"X-A": "%client_ip% %http.method%", "x-b": "%header.x-c%"},
            "add": {"x-d": "2"},
            "remove": ["x-c"],
        }
        http.start(routes=[{"to": "back", "request_headers": edits}])
        fields = [("x-a", "mine"), ("x-c", "3"), ("x-c", "4"), ("x-d", "1")]
        for wire in (http.wire(), http.wire2()):
            found = seen(wire.exchange("GET", "/", *fields))
            got = [field_values(found, name) for name in ("x-a", "x-b", "x-c", "x-d")]
            assert got == [["127.0.0.1 GET"], ["3, 4"], [], ["1", "2"]]

    def test_fields_of_the_response(self, http: HttpStage) -> None:
        http.server()
        edits = {"set": {"content-type": "text/x", "x-q": "<%query.q%>"}, "remove": ["server"]}
        http.start(routes=[{"to": "back", "response_headers": edits}])
        for wire in (http.wire(), http.wire2()):
            answered = wire.exchange("GET", "/?q=a%0d%0aevil:%20yes")
            assert answered["content-type"] == "text/x"
            assert answered["x-q"] == "<aevil: yes>"
            assert "evil" not in answered

    def test_edits_also_change_what_the_proxy_answers(self, http: HttpStage) -> None:
        http.server()
        http.start(
            routes=[{"reply": {"status": 418, "body": "tea"}, "response_headers": {"set": {"x-p": "%http.path%"}}}]
        )
        answered = http.wire().exchange("GET", "/pot")
        assert (answered.status, answered.text, answered["x-p"]) == (418, "tea", "/pot")


class TestAnswers:
    @pytest.mark.parametrize(
        ("redirect", "target", "status", "location"),
        [
            ({"path": "/new"}, "/old?q", 301, "/new?q"),
            ({"path": "/new", "strip_query": True, "status": 302}, "/old?q", 302, "/new"),
            ({"scheme": "https", "status": 308}, "/x?q", 308, "https://a.test/x?q"),
            ({"scheme": "https", "port": 8443, "host": "b.test"}, "/x", 301, "https://b.test:8443/x"),
            ({"prefix": "/"}, "/old//evil.test", 301, "/evil.test"),
            ({"prefix": "/new"}, "/old/x", 301, "/new/x"),
        ],
    )
    def test_redirect(self, http: HttpStage, redirect: dict[str, Any], target: str, status: int, location: str) -> None:
        http.server()
        path = {"match": {"path": "/old/*"}} if "prefix" in redirect else {}
        http.start(routes=[{**path, "redirect": {"status": 301, **redirect}}])
        for wire, host in ((http.wire(), "Host"), (http.wire2(), ":authority")):
            answered = wire.exchange("GET", target, (host, "a.test:80"))
            assert (answered.status, answered["location"]) == (status, location)

    def test_reply(self, http: HttpStage) -> None:
        http.server()
        reply = {"status": 403, "body": "no\n", "headers": {"content-type": "text/plain"}}
        http.start(routes=[{"reply": reply}])
        wire = http.wire()
        answered = wire.exchange("GET", "/")
        assert (answered.status, answered.text, answered["content-type"]) == (403, "no\n", "text/plain")
        assert wire.exchange("HEAD", "/")["content-length"] == "3"
