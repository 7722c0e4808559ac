"""What rules see of HTTP requests, and what routes change in them and in their replies, through the whole proxy."""

from __future__ import annotations

from typing import Any

import pytest

from mosnpy.testing.http_stage import HttpStage, field_values, seen

ANSWER = {"to": "back"}


def says(word: str) -> dict[str, Any]:
    return {"reply": {"status": 200, "body": word}}


class TestMatching:
    ROUTES: list[dict[str, Any]] = [
        {"match": {"host": "*.example.com", "path": "/users/{id}"}, **says("user")},
        {"match": {"host": "*.example.com", "path": "/files/{path=**}"}, **says("file")},
        {"match": {"host": "*.example.com"}, **says("wild")},
        {
            "match": {"host": ["a.test", "b.test"]},
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

    @pytest.fixture(scope="class")
    def front(self, shared_http: HttpStage) -> HttpStage:
        shared_http.start(shared_http.server(), routes=self.ROUTES)
        return shared_http

    @pytest.mark.parametrize(("host", "target", "fields", "word"), CASES)
    def test_http1(
        self, front: HttpStage, host: str, target: str, fields: tuple[tuple[str, str], ...], word: str
    ) -> None:
        answered = front.wire().exchange("GET", target, *fields, host=host)
        assert (answered.text if answered.status == 200 else "") == word
        assert answered.status == (200 if word else 404)

    @pytest.mark.parametrize(("host", "target", "fields", "word"), CASES)
    def test_http2(
        self, front: HttpStage, host: str, target: str, fields: tuple[tuple[str, str], ...], word: str
    ) -> None:
        lower = [(name.lower(), value) for name, value in fields]
        answered = front.wire2().exchange("GET", target, *lower, authority=host)
        assert (bytes(answered.body).decode() if answered.status == 200 else "") == word
