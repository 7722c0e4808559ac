"""What a proxy adds, changes and takes away: hop-by-hop fields, X-Forwarded-*, Forwarded, Via, request ids."""

from __future__ import annotations

import re

import pytest

from mosnpy.testing.http_message import response
from mosnpy.testing.http_server import answer, canned
from mosnpy.testing.http_stage import HttpStage, field_values, seen


class TestHopByHop:
    """RFC 9110 §7.6.1: what is meant for one connection goes no further than that."""

    def test_fields_that_connection_names(self, http: HttpStage) -> None:
        http.server()
        http.start()
        found = seen(
            http.wire().exchange(
                "GET", "/", ("Connection", "X-One, keep-alive ,x-two"), ("X-One", "1"), ("X-TWO", "2"), ("X-Three", "3")
            )
        )
        assert (field_values(found, "x-one"), field_values(found, "x-two")) == ([], [])
        assert field_values(found, "x-three") == ["3"]

    def test_several_connection_fields(self, http: HttpStage) -> None:
        http.server()
        http.start()
        found = seen(
            http.wire().exchange(
                "GET", "/", ("Connection", "x-one"), ("X-One", "1"), ("connection", "x-two"), ("X-Two", "2")
            )
        )
        assert (field_values(found, "x-one"), field_values(found, "x-two")) == ([], [])

    @pytest.mark.parametrize("name", ["Keep-Alive", "Proxy-Connection", "TE", "Upgrade"])
    def test_known_ones_even_unnamed(self, http: HttpStage, name: str) -> None:
        http.server()
        http.start()
        assert field_values(seen(http.wire().exchange("GET", "/", (name, "h2c"))), name) == []

    @pytest.mark.parametrize("name", ["Host", "Content-Length", "X-Forwarded-For", "Cookie", "Authorization"])
    def test_connection_can_not_take_what_the_proxy_needs(self, http: HttpStage, name: str) -> None:
        """A client that names end-to-end fields in Connection must not be able to un-frame or anonymise its request."""
        server = http.server()
        http.start()
        answered = http.wire().exchange(
            "POST", "/", ("Connection", name), ("Cookie", "a=b"), ("Authorization", "x"), body=b"abc"
        )
        if answered.status == 400:
            return
        found = seen(answered)
        assert found["body"] == "abc"
        assert len(server.last.values("host")) == 1
        if name in ("Host", "Content-Length", "X-Forwarded-For"):
            assert len(field_values(found, name)) == 1

    def test_in_replies(self, http: HttpStage) -> None:
        fields = [
            ("Connection", "X-One, close"),
            ("X-One", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "close"),
            ("X-Two", "2"),
        ]
        http.server(canned(response(200, b"ok", *fields), then="close"))
        http.start()
        wire = http.wire()
        for _ in range(2):
            answered = wire.exchange()
            assert "x-one" not in answered
            assert "keep-alive" not in answered
            assert "proxy-connection" not in answered
            assert answered["x-two"] == "2"
            assert not answered.closes

    def test_te_trailers_may_pass(self, http: HttpStage) -> None:
        http.server()
        http.start()
        found = seen(http.wire().exchange("GET", "/", ("TE", "trailers, deflate;q=0.5"), ("Connection", "TE")))
        assert field_values(found, "te") in ([], ["trailers"])


class TestFieldsPass:
    def test_names_values_and_order(self, http: HttpStage) -> None:
        http.server()
        http.start()
        sent = [
            ("X-b", "2"),
            ("X-a", "1"),
            ("x-B", "3"),
            ("X-Empty", ""),
            ("X-Quoted", '"a, \\"b"'),
            ("X-Tab", "a\tb"),
            ("X-Latin", "\xe9\xff"),
        ]
        found = seen(http.wire().exchange("GET", "/", *sent))
        got = [(name.lower(), value) for name, value in found["fields"] if name.lower().startswith("x-") and "forwarded" not in name.lower() and "request-id" not in name.lower()]  # fmt: skip
        assert got == [(name.lower(), value) for name, value in sent]

    def test_white_space_around_values_is_no_part_of_them(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire()
        wire.send_raw(b"GET / HTTP/1.1\r\nHost:a.test\r\nX-A: \t b c\t \r\nX-B:d\r\n\r\n")
        found = seen(wire.response())
        assert (field_values(found, "x-a"), field_values(found, "x-b")) == (["b c"], ["d"])

    def test_long_values(self, http: HttpStage) -> None:
        http.server()
        http.start()
        value = "v" * 30_000
        assert field_values(seen(http.wire().exchange("GET", "/", ("X-Long", value), ("Cookie", value))), "x-long") == [
            value
        ]

    def test_reply_keeps_date_and_server(self, http: HttpStage) -> None:
        """They are the origin's to say; a proxy adds Date only where it is missing (RFC 9110 §6.6.1)."""
        server = http.server(answer(b"", ("Date", "Mon, 01 Jan 2024 00:00:00 GMT"), ("Server", "origin")))
        http.start()
        wire = http.wire()
        answered = wire.exchange()
        assert answered.values("date") == ["Mon, 01 Jan 2024 00:00:00 GMT"]
        assert answered.values("server") == ["origin"]
        server.script = answer(b"")
        assert len(wire.exchange().values("date")) <= 1

    def test_own_replies_have_a_date(self, http: HttpStage) -> None:
        http.server()
        http.start(routes=[{"match": {"path": "/known"}, "to": "back"}])
        answered = http.wire().exchange("GET", "/unknown")
        assert answered.status == 404
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", answered["date"])


class TestForwardedFor:
    def ask(self, http: HttpStage, options: dict[str, object], *fields: tuple[str, str]) -> dict[str, list[str]]:
        http.server()
        http.start(http={"forwarded": options})
        found = seen(http.wire(host="a.test:8080").exchange("GET", "/", *fields))
        return {
            name: field_values(found, name)
            for name in ("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "via")
        }

    def test_append(self, http: HttpStage) -> None:
        got = self.ask(http, {"x_forwarded": "append"}, ("X-Forwarded-For", "203.0.113.9"))
        assert ", ".join(got["x-forwarded-for"]) == "203.0.113.9, 127.0.0.1"

    def test_append_to_nothing(self, http: HttpStage) -> None:
        got = self.ask(http, {})
        assert got["x-forwarded-for"] == ["127.0.0.1"]
        assert got["x-forwarded-proto"] == ["http"]
        assert got["forwarded"] == got["via"] == []

    def test_append_to_several(self, http: HttpStage) -> None:
        got = self.ask(http, {}, ("X-Forwarded-For", "1.1.1.1"), ("X-Forwarded-For", "2.2.2.2, 3.3.3.3"))
        assert ", ".join(got["x-forwarded-for"]) == "1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1"

    def test_set(self, http: HttpStage) -> None:
        got = self.ask(
            http,
            {"x_forwarded": "set"},
            ("X-Forwarded-For", "6.6.6.6"),
            ("X-Forwarded-Proto", "https"),
            ("X-Forwarded-Host", "evil"),
        )
        assert got["x-forwarded-for"] == ["127.0.0.1"]
        assert got["x-forwarded-proto"] == ["http"]
        assert got["x-forwarded-host"] in ([], ["a.test:8080"], ["a.test"])

    def test_keep(self, http: HttpStage) -> None:
        got = self.ask(http, {"x_forwarded": "keep"}, ("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"))
        assert (got["x-forwarded-for"], got["x-forwarded-proto"]) == (["6.6.6.6"], ["https"])

    def test_keep_adds_nothing(self, http: HttpStage) -> None:
        got = self.ask(http, {"x_forwarded": "keep"})
        assert got["x-forwarded-for"] == []

    def test_off(self, http: HttpStage) -> None:
        got = self.ask(http, {"x_forwarded": "off"}, ("X-Forwarded-For", "6.6.6.6"))
        assert got["x-forwarded-for"] == []

    def test_forwarded(self, http: HttpStage) -> None:
        """RFC 7239 §4: a new element at the end, `for` with the address it came from."""
        got = self.ask(http, {"forwarded": "append"}, ("Forwarded", 'for="[2001:db8::1]";proto=https'))
        elements = ", ".join(got["forwarded"]).split(", ")
        assert elements[0] == 'for="[2001:db8::1]";proto=https'
        parts = dict(part.split("=", 1) for part in elements[1].lower().split(";"))
        assert parts["for"].strip('"').startswith("127.0.0.1")
        assert parts["proto"] == "http"
        assert parts.get("host", '"a.test:8080"').strip('"') == "a.test:8080"

    def test_via(self, http: HttpStage) -> None:
        """RFC 9110 §7.6.3: the version it came with and our pseudonym, behind those before us; on the reply too."""
        server = http.server()
        http.start(http={"forwarded": {"via": "edge-1"}})
        wire = http.wire()
        assert (
            ", ".join(field_values(seen(wire.exchange("GET", "/", ("Via", "1.0 fred"))), "via"))
            == "1.0 fred, 1.1 edge-1"
        )
        server.script = answer(b"", ("Via", "1.1 back"))
        assert wire.exchange().get("via").endswith("1.1 edge-1")


class TestRequestId:
    UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|[0-9a-f]{32}")

    def test_made_when_absent(self, http: HttpStage) -> None:
        http.server()
        http.start()
        wire = http.wire()
        ids = {field_values(seen(wire.exchange()), "x-request-id")[0] for _ in range(50)}
        assert len(ids) == 50
        assert all(self.UUID.fullmatch(each) for each in ids)

    def test_kept(self, http: HttpStage) -> None:
        http.server()
        http.start()
        assert field_values(seen(http.wire().exchange("GET", "/", ("X-Request-ID", "mine"))), "x-request-id") == [
            "mine"
        ]

    def test_always(self, http: HttpStage) -> None:
        http.server()
        http.start(http={"request_id": "always"})
        (own,) = field_values(seen(http.wire().exchange("GET", "/", ("X-Request-ID", "mine"))), "x-request-id")
        assert self.UUID.fullmatch(own)

    def test_off(self, http: HttpStage) -> None:
        http.server()
        http.start(http={"request_id": "off"})
        assert field_values(seen(http.wire().exchange()), "x-request-id") == []
