"""HTTP/2 requests and responses as messages (RFC 9113 §8): what is malformed, pseudo-fields, lengths, trailers, fields."""

from __future__ import annotations

import pytest

from mosnpy.testing.http2_frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    Code,
    literal,
    literals,
    raw_frame,
)
from mosnpy.testing.http2_server import Http2Server, Stream2
from mosnpy.testing.http2_wire import Http2Wire
from mosnpy.testing.http_stage import HttpStage, field_values, seen

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/bad")]
POST = [(":method", "POST"), *GET[1:]]


def without(name: str) -> list[tuple[str, str]]:
    return [pair for pair in GET if pair[0] != name]


def change(name: str, value: str) -> list[tuple[str, str]]:
    return [(key, value if key == name else old) for key, old in GET]


# Each is malformed: RST_STREAM PROTOCOL_ERROR, or a 400 (§8.1.1); nothing reaches the upstream.
MALFORMED: dict[str, list[tuple[str, str]]] = {
    "no :method": without(":method"),
    "no :scheme": without(":scheme"),
    "no :path": without(":path"),
    "empty :path": change(":path", ""),
    ":path without slash": change(":path", "bad"),
    ":path with space": change(":path", "/a b"),
    ":path with fragment": change(":path", "/a#b"),
    ":path * of GET": change(":path", "*"),
    "two :method": [*GET, (":method", "GET")],
    "two :path": [*GET, (":path", "/x")],
    "two :authority": [*GET, (":authority", "a.test")],
    "two :scheme": [*GET, (":scheme", "http")],
    "unknown pseudo-field": [*GET, (":unknown", "x")],
    "response's pseudo-field": [*GET, (":status", "200")],
    "pseudo-field behind fields": [*GET[:3], ("x-a", "b"), GET[3]],
    "name in upper case": [*GET, ("X-A", "b")],
    "name partly in upper case": [*GET, ("x-aA", "b")],
    "empty name": [*GET, ("", "b")],
    "name with space": [*GET, ("x a", "b")],
    "name with colon": [*GET, ("x:a", "b")],
    "name with NUL": [*GET, ("x\0a", "b")],
    "name with LF": [*GET, ("x\na", "b")],
    "name above ASCII": [*GET, ("x\xe4", "b")],
    "value with NUL": [*GET, ("x-a", "b\0c")],
    "value with CR": [*GET, ("x-a", "b\rc")],
    "value with LF": [*GET, ("x-a", "b\nc")],
    "value with a whole request": [*GET, ("x-a", "b\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n")],
    "value begins with space": [*GET, ("x-a", " b")],
    "value ends with tab": [*GET, ("x-a", "b\t")],
    ":path with CRLF": change(":path", "/a HTTP/1.1\r\nhost: b\r\n\r\n"),
    ":method with space": change(":method", "GET /smuggled"),
    ":method with CRLF": change(":method", "GET\r\n"),
    ":method empty": change(":method", ""),
    ":authority with user": change(":authority", "u@a.test"),
    ":authority with space": change(":authority", "a test"),
    ":authority with CRLF": change(":authority", "a.test\r\nx: y"),
    "connection": [*GET, ("connection", "close")],
    "keep-alive": [*GET, ("keep-alive", "5")],
    "proxy-connection": [*GET, ("proxy-connection", "close")],
    "transfer-encoding": [*GET, ("transfer-encoding", "chunked")],
    "upgrade": [*GET, ("upgrade", "h2c")],
    "te other than trailers": [*GET, ("te", "gzip")],
    "host differs from :authority": [*GET, ("host", "b.test")],
    "two hosts": [*without(":authority"), ("host", "a.test"), ("host", "a.test")],
    "two content-lengths": [*POST, ("content-length", "0"), ("content-length", "1")],
    "bad content-length": [*POST, ("content-length", "+0")],
    "content-length and no body": [*POST, ("content-length", "5")],
    "CONNECT with :path": [(":method", "CONNECT"), (":authority", "a.test:443"), (":path", "/")],
    "CONNECT with :scheme": [(":method", "CONNECT"), (":authority", "a.test:443"), (":scheme", "http")],
    "CONNECT without :authority": [(":method", "CONNECT")],
    ":protocol nobody offered": [(":method", "GET"), *GET[1:], (":protocol", "websocket")],
    "no fields at all": [],
}

# name -> frames behind HEADERS of stream 1 (a POST without END_STREAM)
BODIES: dict[str, tuple[list[tuple[str, str]], bytes]] = {
    "longer than content-length": ([*POST, ("content-length", "3")], raw_frame(DATA, END_STREAM, 1, b"hello")),
    "longer, in pieces": (
        [*POST, ("content-length", "3")],
        raw_frame(DATA, 0, 1, b"hel") + raw_frame(DATA, END_STREAM, 1, b"lo"),
    ),
    "shorter than content-length": ([*POST, ("content-length", "9")], raw_frame(DATA, END_STREAM, 1, b"hello")),
    "shorter, before trailers": (
        [*POST, ("content-length", "9")],
        raw_frame(DATA, 0, 1, b"hello") + raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([("x-t", "1")])),
    ),
    "pseudo-field in trailers": (POST, raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([(":path", "/x")]))),
    "upper case in trailers": (POST, raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([("X-T", "1")]))),
    "CR in trailers": (POST, raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([("x-t", "1\r2")]))),
    "connection in trailers": (
        POST,
        raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, literals([("connection", "close")])),
    ),
}


@pytest.fixture
def stage(shared_http: HttpStage) -> HttpStage:
    if shared_http.proxy is None:
        one, two = shared_http.server(), shared_http.server2()
        shared_http.start(
            {"one": one, "two": two}, routes=[{"match": {"header.x-two": "1"}, "to": "two"}, {"to": "one"}]
        )
    for server in shared_http.servers:
        server.requests.clear()
    return shared_http


def refused(wire: Http2Wire, stream: int = 1) -> None:
    answered = wire.wait(stream)
    if answered.reset is not None:
        assert answered.reset == Code.PROTOCOL_ERROR or answered.fields, Code(answered.reset)
    if answered.fields:
        assert answered.status == 400
    wire.next_id = stream + 2
    assert seen(wire.exchange("GET", "/good"))["target"] == "/good"


def none_arrived(stage: HttpStage) -> None:
    """Complete requests upstream: the good one alone."""
    whole = []
    for server in stage.servers:
        if isinstance(server, Http2Server):
            whole += [stream.path for stream in server.requests if stream.message.ended]
        else:
            whole += [request.target for request in server.requests if request.complete]
    assert whole == ["/good"]


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_head(stage: HttpStage, name: str) -> None:
    wire = stage.wire2()
    block = b"".join(literal(key, value) for key, value in MALFORMED[name])
    wire.send_raw(raw_frame(HEADERS, END_HEADERS | END_STREAM, 1, block))
    refused(wire)
    none_arrived(stage)


@pytest.mark.parametrize("two", [False, True], ids=["to HTTP/1", "to HTTP/2"])
@pytest.mark.parametrize("name", BODIES)
def test_malformed_body(stage: HttpStage, name: str, two: bool) -> None:
    wire = stage.wire2()
    fields, behind = BODIES[name]
    if two:
        fields = [*fields, ("x-two", "1")]
    wire.send_raw(raw_frame(HEADERS, END_HEADERS, 1, literals(fields)) + behind)
    refused(wire)
    none_arrived(stage)


@pytest.mark.parametrize("two", [False, True], ids=["to HTTP/1", "to HTTP/2"])
class TestGood:
    def ask(self, stage: HttpStage, two: bool, fields: list[tuple[str, str]]) -> dict[str, object]:
        wire = stage.wire2()
        block = literals([*fields, *([("x-two", "1")] if two else [])])
        wire.send_raw(
            raw_frame(HEADERS, END_STREAM, 1, block[:10]) + raw_frame(CONTINUATION, END_HEADERS, 1, block[10:])
        )
        return seen(wire.wait(1))

    def test_host_instead_of_authority(self, stage: HttpStage, two: bool) -> None:
        found = self.ask(stage, two, [*without(":authority"), ("host", "h.test")])
        assert field_values(found, "host") + field_values(found, ":authority") == ["h.test"]

    def test_host_equal_to_authority(self, stage: HttpStage, two: bool) -> None:
        found = self.ask(stage, two, [*GET, ("host", "a.test")])
        assert field_values(found, "host") + field_values(found, ":authority") == ["a.test"]

    def test_te_trailers(self, stage: HttpStage, two: bool) -> None:
        assert field_values(self.ask(stage, two, [*GET, ("te", "trailers")]), "te") in ([], ["trailers"])

    def test_cookies_are_one_field_again(self, stage: HttpStage, two: bool) -> None:
        """§8.2.3: crumbs are joined with "; " before they leave HTTP/2."""
        found = self.ask(stage, two, [*GET, ("cookie", "a=1"), ("x-a", "b"), ("cookie", "b=2; c=3")])
        if two:
            assert "; ".join(field_values(found, "cookie")) == "a=1; b=2; c=3"
        else:
            assert field_values(found, "cookie") == ["a=1; b=2; c=3"]

    def test_empty_and_odd_values(self, stage: HttpStage, two: bool) -> None:
        found = self.ask(
            stage,
            two,
            [
                *GET,
                ("x-empty", ""),
                ("x-tab", "a\tb"),
                ("x-latin", "\xe9"),
                ("x_under", "1"),
                ("x-a", "1"),
                ("x-a", "2"),
            ],
        )
        assert field_values(found, "x-empty") == [""]
        assert field_values(found, "x-tab") == ["a\tb"]
        assert field_values(found, "x-latin") == ["\xe9"]
        assert field_values(found, "x-a") == ["1", "2"]

    def test_other_methods(self, stage: HttpStage, two: bool) -> None:
        for method in ("OPTIONS", "PROPFIND", "x-custom!", "TRACE"):
            assert self.ask(stage, two, change(":method", method))["method"] == method

    def test_path_as_it_is(self, stage: HttpStage, two: bool) -> None:
        assert self.ask(stage, two, change(":path", "/a;b=1/%20?q=%2F&r"))["target"] == "/a;b=1/%20?q=%2F&r"


# What an HTTP/2 upstream may not answer: the client gets a 502.
BAD_ANSWERS: dict[str, list[tuple[str, str]]] = {
    "no :status": [("x-a", "b")],
    "two :status": [(":status", "200"), (":status", "200")],
    "request's pseudo-field": [(":status", "200"), (":path", "/")],
    "status of two digits": [(":status", "20")],
    "status with text": [(":status", "200 OK")],
    "101": [(":status", "101")],
    "upper case": [(":status", "200"), ("X-A", "b")],
    "connection": [(":status", "200"), ("connection", "close")],
    "transfer-encoding": [(":status", "200"), ("transfer-encoding", "chunked")],
    "value with CR": [(":status", "200"), ("x-a", "b\r\nset-cookie: evil=1")],
    "value with NUL": [(":status", "200"), ("x-a", "\0")],
    "content-length and no body": [(":status", "200"), ("content-length", "5")],
    "pseudo behind field": [("x-a", "b"), (":status", "200")],
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_malformed_response(http: HttpStage, name: str) -> None:
    raw = literals(BAD_ANSWERS[name])

    async def script(stream: Stream2) -> None:
        await stream.peer.send(raw_frame(HEADERS, END_HEADERS | END_STREAM, stream.id, raw))

    http.server2(script)
    http.start()
    wire = http.wire()
    assert wire.exchange().status == 502
    answered = http.wire2().exchange()
    assert answered.reset is not None or answered.status == 502


def test_response_shorter_than_its_length(http: HttpStage) -> None:
    """The head is out already: the client must see that the body is not whole."""

    async def script(stream: Stream2) -> None:
        await stream.head(200, [("content-length", "10")])
        await stream.data(b"hello", end=True)

    http.server2(script)
    http.start()
    answered = http.wire2().exchange()
    assert answered.reset is not None
    assert not answered.ended


def test_huge_header_list(http: HttpStage) -> None:
    """Refused by its decoded size, whatever it is compressed to; the connection and its tables survive."""
    http.server()
    http.start()
    wire = http.wire2()
    answered = wire.exchange("GET", "/", *[(f"x-{number}", "v" * 1000) for number in range(90)])
    assert answered.status == 431
    assert seen(wire.exchange("GET", "/fine"))["target"] == "/fine"
    answered = wire.exchange("GET", "/", *[(f"x-{number}", "v") for number in range(150)])
    assert answered.status == 431
    assert seen(wire.exchange("GET", "/fine"))["target"] == "/fine"
