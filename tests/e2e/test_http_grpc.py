"""gRPC through the proxy with grpcio on both ends, and on the wire: kinds of calls, deadlines, statuses, gRPC-Web."""

from __future__ import annotations

import base64
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from mosnpy.testing.http2_server import Http2Server, Stream2, stall2
from mosnpy.testing.http_message import chunk, response_head
from mosnpy.testing.http_server import HttpPeer, Request
from mosnpy.testing.http_stage import HttpStage, http_config
from mosnpy.testing.waiting import free_port, until


class Echo(grpc.GenericRpcHandler):
    """/test.Echo/…: messages are bytes; no schema is needed."""

    def __init__(self) -> None:
        self.seen: list[Any] = []
        self.release = threading.Event()
        self.slow_began = threading.Event()
        self.cancelled = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        self.seen.append(details)
        name = details.method.rsplit("/", 1)[1]
        return {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Late": grpc.unary_stream_rpc_method_handler(self.late),
            "Slow": grpc.unary_unary_rpc_method_handler(self.slow),
        }.get(name)

    def unary(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata((("x-initial", "i"),))
        context.set_trailing_metadata((("x-trailing", "t"), ("x-bin-bin", b"\0\xff")))
        return request[::-1]

    def down(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    def up(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(len(request) for request in requests)

    def both(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()

    def fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "no: é % \n")
        raise AssertionError

    def late(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield b"first"
        context.abort(grpc.StatusCode.DATA_LOSS, "half way")

    def slow(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        assert context.add_callback(self.cancelled.set)
        self.slow_began.set()
        self.release.wait(20)
        return b"slow"


@pytest.fixture
def echo() -> Iterator[tuple[Echo, str]]:
    handler, endpoint = Echo(), f"127.0.0.1:{free_port()}"
    server = grpc.server(ThreadPoolExecutor(16), handlers=[handler])
    server.add_insecure_port(endpoint)
    server.start()
    yield handler, endpoint
    handler.release.set()
    server.stop(0).wait()


def start(stage: HttpStage, endpoint: str, **options: Any) -> str:
    config = http_config(stage.server2(), **options)
    config["upstreams"]["back"]["endpoints"] = [endpoint]
    stage.start_config(config)
    assert isinstance(stage.address, tuple)
    return f"127.0.0.1:{stage.address[1]}"


@pytest.fixture
def channel(http: HttpStage, echo: tuple[Echo, str]) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(start(http, echo[1]), options=[("grpc.max_receive_message_length", 64 << 20)]) as one:
        yield one


def failed(call: Callable[[], object]) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


class TestCalls:
    def test_unary(self, channel: grpc.Channel, echo: tuple[Echo, str]) -> None:
        call = channel.unary_unary("/test.Echo/Unary")
        for size in (0, 5, 100_000, 3_000_000):
            body = bytes(range(256)) * (size // 256)
            reply, state = call.with_call(body, metadata=(("x-a", "b"), ("x-b-bin", b"\1\2")), timeout=10)
            assert reply == body[::-1]
        assert dict(state.initial_metadata())["x-initial"] == "i"
        assert dict(state.trailing_metadata()) == {"x-trailing": "t", "x-bin-bin": b"\0\xff"}
        sent = dict(echo[0].seen[-1].invocation_metadata)
        assert (sent["x-a"], sent["x-b-bin"]) == ("b", b"\1\2")

    def test_server_streams(self, channel: grpc.Channel) -> None:
        assert list(channel.unary_stream("/test.Echo/Down")(b"1000", timeout=10)) == [
            b"%d" % number for number in range(1000)
        ]

    def test_client_streams(self, channel: grpc.Channel) -> None:
        call = channel.stream_unary("/test.Echo/Up")
        assert call(iter([b"x" * 1000] * 500), timeout=10) == b"500000"
        assert call(iter([]), timeout=10) == b"0"

    def test_both_stream(self, channel: grpc.Channel) -> None:
        """Each reply is there before the next request is sent."""
        ready, words = threading.Semaphore(0), [f"word {number}".encode() for number in range(100)]

        def requests() -> Iterator[bytes]:
            for each in words:
                yield each
                ready.acquire()

        for number, reply in enumerate(channel.stream_stream("/test.Echo/Both")(requests(), timeout=10)):
            assert reply == words[number].upper()
            ready.release()

    def test_many_at_once(self, channel: grpc.Channel) -> None:
        call = channel.unary_unary("/test.Echo/Unary")
        futures = [call.future(b"%d" % number, timeout=20) for number in range(500)]
        assert [future.result() for future in futures] == [(b"%d" % number)[::-1] for number in range(500)]


class TestStatuses:
    def test_trailers_only(self, channel: grpc.Channel) -> None:
        error = failed(lambda: channel.unary_unary("/test.Echo/Fail")(b"x", timeout=10))
        assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "no: é % \n")

    def test_after_messages(self, channel: grpc.Channel) -> None:
        stream = channel.unary_stream("/test.Echo/Late")(b"x", timeout=10)
        assert next(stream) == b"first"
        error = failed(lambda: next(stream))
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "half way")

    def test_unknown_method(self, channel: grpc.Channel) -> None:
        assert (
            failed(lambda: channel.unary_unary("/test.Echo/Nothing")(b"x", timeout=10)).code()
            == grpc.StatusCode.UNIMPLEMENTED
        )

    def test_no_route(self, http: HttpStage, echo: tuple[Echo, str]) -> None:
        """The proxy's own failures are gRPC statuses too, with HTTP 200, not bare HTTP errors."""
        target = start(http, echo[1], routes=[{"match": {"grpc.service": "other.Service"}, "to": "back"}])
        with grpc.insecure_channel(target) as channel:
            error = failed(lambda: channel.unary_unary("/test.Echo/Unary")(b"x", timeout=10))
        assert error.code() in (grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.NOT_FOUND)

    def test_nobody_listens(self, http: HttpStage) -> None:
        with grpc.insecure_channel(start(http, f"127.0.0.1:{free_port()}")) as channel:
            error = failed(lambda: channel.unary_unary("/test.Echo/Unary")(b"x", timeout=10))
        assert error.code() == grpc.StatusCode.UNAVAILABLE

    def test_upstream_dies(self, http: HttpStage) -> None:
        async def die(stream: Stream2) -> None:
            stream.peer.reset()

        with Http2Server(die) as server, grpc.insecure_channel(start(http, server.endpoint)) as channel:
            error = failed(lambda: channel.unary_unary("/test.Echo/Unary")(b"x", timeout=10))
        assert error.code() == grpc.StatusCode.UNAVAILABLE

    def test_upstream_dies_between_messages(self, http: HttpStage) -> None:
        async def die(stream: Stream2) -> None:
            await stream.head(200, [("content-type", "application/grpc")])
            await stream.data(b"\0\0\0\0\1x")
            stream.peer.reset()

        with Http2Server(die) as server, grpc.insecure_channel(start(http, server.endpoint)) as channel:
            stream = channel.unary_stream("/test.Echo/Down")(b"x", timeout=10)
            error = failed(lambda: list(stream))
        assert error.code() in (
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.INTERNAL,
            grpc.StatusCode.CANCELLED,
            grpc.StatusCode.UNKNOWN,
        )


class TestDeadlines:
    def test_clients_deadline(self, channel: grpc.Channel, echo: tuple[Echo, str]) -> None:
        error = failed(lambda: channel.unary_unary("/test.Echo/Slow")(b"x", timeout=0.3))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert echo[0].cancelled.wait(5)

    def test_proxy_keeps_it_for_a_client_that_does_not(self, http: HttpStage) -> None:
        """grpc-timeout bounds the whole exchange; the upstream is cancelled, the client told with status 4."""
        server = http.server2(stall2)
        http.start(server)
        wire = http.wire2()
        got = wire.exchange(
            "POST",
            "/test.Echo/Slow",
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "150m"),
            body=b"\0\0\0\0\0",
        )
        assert got.status == 200
        assert {**dict(got.fields), **dict(got.trailers)}["grpc-status"] == "4"
        until(lambda: server.last.reset is not None, "the upstream to be cancelled")
        assert int(server.last["grpc-timeout"][:-1]) > 0

    def test_also_after_the_head(self, http: HttpStage) -> None:
        async def script(stream: Stream2) -> None:
            await stream.head(200, [("content-type", "application/grpc")])
            await stream.data(b"\0\0\0\0\1x")
            await stream.gone()

        server = http.server2(script)
        http.start(server)
        wire = http.wire2()
        got = wire.exchange(
            "POST",
            "/test.Echo/Down",
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", "200m"),
            body=b"\0\0\0\0\0",
        )
        assert got.reset is not None or dict(got.trailers).get("grpc-status") == "4"
        until(lambda: server.last.reset is not None, "the upstream to be cancelled")

    @pytest.mark.parametrize("value", ["", "x", "1", "-1S", "123456789S", "1X"])
    def test_malformed(self, http: HttpStage, value: str) -> None:
        """Ignored, or refused as gRPC would; not obeyed as something else."""

        async def script(stream: Stream2) -> None:
            await stream.read_body()
            await stream.respond(200, [("content-type", "application/grpc")], trailers=[("grpc-status", "0")])

        http.server2(script)
        http.start()
        got = http.wire2().exchange(
            "POST",
            "/a.B/C",
            ("content-type", "application/grpc"),
            ("te", "trailers"),
            ("grpc-timeout", value),
            body=b"\0\0\0\0\0",
        )
        found = {**dict(got.fields), **dict(got.trailers)}
        assert found[":status"] in ("200", "400")
        assert found.get("grpc-status", "0") in ("0", "3", "13")

    def test_cancel(self, channel: grpc.Channel, echo: tuple[Echo, str]) -> None:
        future = channel.unary_unary("/test.Echo/Slow").future(b"x")
        assert echo[0].slow_began.wait(10)
        future.cancel()
        assert echo[0].cancelled.wait(5)


def test_routes_by_service_and_method(http: HttpStage) -> None:
    async def named(stream: Stream2) -> None:
        name = b"one" if stream.peer.server is first else b"two"
        await stream.read_body()
        await stream.respond(200, [("content-type", "application/grpc")], name, trailers=[("grpc-status", "0")])

    first, second = http.server2(named), http.server2(named)
    http.start(
        {"one": first, "two": second},
        routes=[{"match": {"grpc.service": "pkg.A", "grpc.method": "X"}, "to": "one"}, {"to": "two"}],
    )
    wire = http.wire2()
    fields = (("content-type", "application/grpc"), ("te", "trailers"))
    got = [
        wire.exchange("POST", path, *fields, body=b"\0\0\0\0\0").text for path in ("/pkg.A/X", "/pkg.A/Y", "/pkg.AB/X")
    ]
    assert got == ["one", "two", "two"]


class TestWeb:
    """gRPC-Web: trailers are the last message of the body, flagged 0x80; the text form is base64."""

    FIELDS = (("Content-Type", "application/grpc-web+proto"), ("X-Grpc-Web", "1"))

    def message(self, data: bytes) -> bytes:
        return b"\0" + struct.pack(">I", len(data)) + data

    def frames(self, body: bytes) -> list[tuple[int, bytes]]:
        found, at = [], 0
        while at < len(body):
            size = struct.unpack(">I", body[at + 1 : at + 5])[0]
            found.append((body[at], body[at + 5 : at + 5 + size]))
            at += 5 + size
        return found

    def test_unary(self, http: HttpStage, echo: tuple[Echo, str]) -> None:
        start(http, echo[1], http={"grpc_web": True})
        for client in (1, 2):
            if client == 1:
                one = http.wire().exchange("POST", "/test.Echo/Unary", *self.FIELDS, body=self.message(b"abc"))
                kind, body = one["content-type"], one.body
            else:
                two = http.wire2().exchange(
                    "POST",
                    "/test.Echo/Unary",
                    *[(name.lower(), value) for name, value in self.FIELDS],
                    body=self.message(b"abc"),
                )
                kind, body = two["content-type"], bytes(two.body)
            assert kind.startswith("application/grpc-web")
            (first, reply), (last, trailers) = self.frames(body)
            assert (first, reply, last) == (0, b"cba", 0x80)
            assert b"grpc-status:0" in trailers.lower().replace(b": ", b":")

    def test_text(self, http: HttpStage, echo: tuple[Echo, str]) -> None:
        start(http, echo[1], http={"grpc_web": True})
        fields = (("Content-Type", "application/grpc-web-text"), ("Accept", "application/grpc-web-text"))
        got = http.wire().exchange("POST", "/test.Echo/Down", *fields, body=base64.b64encode(self.message(b"50")))
        assert got["content-type"].startswith("application/grpc-web-text")
        body = b"".join(base64.b64decode(part + b"=" * (-len(part) % 4)) for part in split_base64(got.body))
        frames = self.frames(body)
        assert [data for flag, data in frames if flag == 0] == [b"%d" % number for number in range(50)]
        assert b"grpc-status:0" in frames[-1][1].lower().replace(b": ", b":")

    def test_failure(self, http: HttpStage, echo: tuple[Echo, str]) -> None:
        start(http, echo[1], http={"grpc_web": True})
        got = http.wire().exchange("POST", "/test.Echo/Fail", *self.FIELDS, body=self.message(b"abc"))
        assert got.status == 200
        status = got.get("grpc-status") or self.frames(got.body)[-1][1].decode()
        assert "9" in status

    @pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text"])
    def test_failure_of_the_proxy(self, http: HttpStage, kind: str) -> None:
        """Its own answers are of the kind that was asked in: clients of gRPC-Web take no other."""
        server = http.server()
        server.refuse()
        http.start(server, http={"grpc_web": True})
        got = http.wire().exchange("POST", "/a.B/C", ("Content-Type", kind), body=base64.b64encode(self.message(b"")))
        assert (got.status, got["content-type"], got["grpc-status"]) == (200, kind, "14")

    def test_limit_of_text(self, http: HttpStage) -> None:
        """What is counted are the bytes of the client, each once, however many pieces they are decoded in."""
        server = http.server()
        http.start(server, http={"grpc_web": True, "limits": {"body": "50KiB"}})
        text = base64.b64encode(bytes(36_000))
        fields = ("Content-Type", "application/grpc-web-text")
        assert http.wire().exchange("POST", "/a.B/C", fields, body=text).status == 200
        assert server.last.body == bytes(36_000)
        pieces = [text[at : at + 30_000] for at in range(0, len(text), 30_000)]
        wire = http.wire()
        wire.request("POST", "/a.B/C", fields, pieces=[*pieces, text])
        refused = wire.response()
        assert (refused.get("grpc-status"), refused.closes) == ("8", True)
        assert len(server.requests) <= 2

    def test_text_that_breaks_midway(self, http: HttpStage) -> None:
        async def script(peer: HttpPeer, request: Request) -> None:
            await peer.send(response_head(200, [("Transfer-Encoding", "chunked")]))
            await peer.gone()

        http.server(script)
        http.start(http={"grpc_web": True})
        wire = http.wire()
        wire.request("POST", "/a.B/C", ("Content-Type", "application/grpc-web-text"), ("Transfer-Encoding", "chunked"))
        wire.send_raw(chunk(b"AAAA"))
        assert wire.head().status == 200
        wire.send_raw(chunk(b"!!!!") + chunk(b"AAAA") * 3)
        assert wire.closed()
        assert http.wire().silent()

    def test_not_without_the_option(self, http: HttpStage) -> None:
        server = http.server2()
        http.start(server)
        http.wire2().exchange(
            "POST", "/a.B/C", ("content-type", "application/grpc-web+proto"), body=self.message(b"abc")
        )
        assert server.last["content-type"] == "application/grpc-web+proto"


def split_base64(text: bytes) -> list[bytes]:
    """Padded pieces one after the other, as each message may be encoded alone."""
    parts, at = [], 0
    while at < len(text):
        end = text.find(b"=", at)
        if end < 0:
            parts.append(text[at:])
            break
        while end < len(text) and text[end : end + 1] == b"=":
            end += 1
        parts.append(text[at:end].rstrip(b"="))
        at = end
    return parts
