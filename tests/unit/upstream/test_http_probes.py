"""Health checks over HTTP/1, HTTP/2, gRPC and TLS, against servers that answer as told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from mosnpy.testing.certificates import Authority
from mosnpy.testing.http2_server import Http2Server, Stream2
from mosnpy.upstream.dialing import Target, TlsSettings
from mosnpy.upstream.health import Check, HealthChecks
from mosnpy.upstream.http_probes import GrpcAsk, HttpAsk, probe_grpc, probe_http1, probe_http2
from mosnpy.upstream.probes import probe_tcp

ASK = HttpAsk("", "/healthz", "GET", ("2xx", "304"))


async def http1(answer: bytes, ask: HttpAsk = ASK, endpoint: str = "web:80") -> tuple[str, bytes]:
    """(the verdict, the request)"""
    got = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        got = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        target = Target("ipv4", *server.sockets[0].getsockname())
        return await asyncio.wait_for(probe_http1(target, ask, endpoint), 10), got


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204\r\n\r\n", ""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", ""),
        (b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.1 503 Down\r\n\r\n", "answered 503 to GET /healthz, not 2xx or 304"),
        (b"HTTP/2 200\r\n\r\n", "answered something that is not HTTP/1: b'HTTP/2 200\\r\\n'"),
        (b"-ERR what\r\n", "answered something that is not HTTP/1: b'-ERR what\\r\\n'"),
        (b"", "closed the connection without an answer"),
        (b"HTTP/1.1 2", "closed the connection after b'HTTP/1.1 2'"),
        (b"x" * 100_000, "answered something that is not HTTP/1"),
    ],
)
def test_http1(answer: bytes, verdict: str) -> None:
    found, got = asyncio.run(http1(answer))
    assert found == verdict
    assert got.startswith(b"GET /healthz HTTP/1.1\r\nhost: web:80\r\n")


def test_http1_asks_for_the_host_and_with_the_method_it_is_told() -> None:
    _, got = asyncio.run(http1(b"", HttpAsk("shop.example.com", "/x?y=1", "HEAD", ("200",))))
    assert got.startswith(b"HEAD /x?y=1 HTTP/1.1\r\nhost: shop.example.com\r\n")


def http2(script: Callable[[Stream2], Awaitable[None]], probe: Callable[[Target], Awaitable[str]]) -> str:
    with Http2Server(script) as server:
        return asyncio.run(asyncio.wait_for(probe_at(server.address, probe), 10))


async def probe_at(address: tuple[str, int], probe: Callable[[Target], Awaitable[str]]) -> str:
    return await probe(Target("ipv4", *address))


def test_http2() -> None:
    seen: list[str] = []

    async def script(stream: Stream2) -> None:
        seen.append(f"{stream.method} {stream.message[':authority']} {stream.path}")
        await stream.respond(200 if stream.path == "/healthz" else 500, [], b"x" * 100_000)

    assert http2(script, lambda target: probe_http2(target, ASK, "web:80")) == ""
    sad = replace(ASK, path="/sad", host="h", method="HEAD")
    assert (
        http2(script, lambda target: probe_http2(target, sad, "web:80")) == "answered 500 to HEAD /sad, not 2xx or 304"
    )
    assert seen == ["GET web:80 /healthz", "HEAD h /sad"]


def test_http2_reset() -> None:
    async def script(stream: Stream2) -> None:
        await stream.reset(2)

    assert http2(script, lambda target: probe_http2(target, ASK, "")) == "reset the request (code 2)"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [(b"", "closed the connection without an answer"), (b"HTTP/1.1 400 Bad\r\n\r\n" * 3, "not HTTP/2")],
)
def test_http2_against_another_protocol(answer: bytes, verdict: str) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    async def run() -> str:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await probe_http2(Target("ipv4", *server.sockets[0].getsockname()), ASK, "")

    assert verdict in asyncio.run(run())


@pytest.fixture
def grpc_server() -> object:
    """A real one, whose answers follow the service's name."""

    def check(request: bytes, context: grpc.ServicerContext) -> bytes:
        name = request[2:].decode()
        if name == "gone":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return {"": b"\x08\x01", "down": b"\x08\x02"}.get(name, b"")

    handler = grpc.method_handlers_generic_handler(
        "grpc.health.v1.Health", {"Check": grpc.unary_unary_rpc_method_handler(check)}
    )
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield ("127.0.0.1", port)
    server.stop(0).wait()


@pytest.mark.parametrize(
    ("service", "verdict"),
    [
        ("", ""),
        ("down", "says NOT_SERVING"),
        ("other", "says UNKNOWN"),
        ("gone", "grpc-status 5: it does not know 'gone'"),
    ],
)
def test_grpc(grpc_server: tuple[str, int], service: str, verdict: str) -> None:
    ask = GrpcAsk("", service)
    found = asyncio.run(probe_at(grpc_server, lambda target: probe_grpc(target, ask, "x:1")))
    assert found == verdict


def test_grpc_without_a_health_service() -> None:
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    found = asyncio.run(probe_at(("127.0.0.1", port), lambda target: probe_grpc(target, GrpcAsk("", ""), "x:1")))
    server.stop(0).wait()
    assert found == "grpc-status 12: it has no health service"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


class TestTls:
    def settings(
        self, authority: Authority, *names: str, sni: str | None = None, ca: Path | None = None
    ) -> TlsSettings:
        return TlsSettings(str(ca or authority.file), None, sni, names, None, None, True, 0x0303, 0x0304, ("http/1.1",))

    async def ask(self, context: ssl.SSLContext, settings: TlsSettings, type: str = "http") -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            writer.close()

        async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (OSError, asyncio.IncompleteReadError):
                pass

        server = await asyncio.start_server(quiet, "127.0.0.1", 0, ssl=context)
        async with server:
            target = Target("ipv4", *server.sockets[0].getsockname(), settings)
            check = Check("u", "e:1", target, 0, type, 60.0, 5.0, 1, 1, protocol="http1", ask=ASK)
            if type == "tcp":
                return await probe_tcp(target)
            return await HealthChecks(memoryview(bytearray(1)), lambda *_: None)._once(check)

    @pytest.mark.parametrize(
        ("names", "verdict"),
        [
            (("api.example.com",), ""),
            (("x.wild.example.com",), ""),
            (
                ("a.b.wild.example.com",),
                "its certificate is for api.example.com, *.wild.example.com, spiffe://td/ns/api",
            ),
            (("other", "spiffe://td/*"), ""),
            (("spiffe://td/ns/api",), ""),
            (
                ("*/ns/*.com", "*td/nobody", "spiffe*"),  # the last is for host names
                "its certificate is for api.example.com, *.wild.example.com, spiffe://td/ns/api",
            ),
            (("*",), ""),
            ((), ""),
        ],
    )
    def test_names(self, authority: Authority, names: tuple[str, ...], verdict: str) -> None:
        pair = authority.issue("api.example.com", "*.wild.example.com", "spiffe://td/ns/api")
        assert asyncio.run(self.ask(authority.server(pair), self.settings(authority, *names))) == verdict

    def test_an_unknown_authority(self, authority: Authority, tmp_path: Path) -> None:
        pair = authority.issue("a")
        found = asyncio.run(
            self.ask(authority.server(pair), self.settings(authority, "a", ca=Authority(tmp_path).file))
        )
        assert found.startswith("TLS: ")

    def test_revoked(self, authority: Authority) -> None:
        pair = authority.issue("a")
        settings = replace(self.settings(authority, "a"), crl=str(authority.revoke()))
        assert asyncio.run(self.ask(authority.server(pair), settings)) == ""
        settings = replace(settings, crl=str(authority.revoke(pair, file="later")))
        assert "revoked" in asyncio.run(self.ask(authority.server(pair), settings))

    def test_addresses_are_compared_as_such(self, authority: Authority) -> None:
        pair = authority.issue("127.0.0.1")
        assert asyncio.run(self.ask(authority.server(pair), self.settings(authority, "127.0.0.1"), "tcp")) == ""

    def test_a_certificate_of_our_own(self, authority: Authority) -> None:
        context = authority.server(authority.issue("a"), ask=True, version=ssl.TLSVersion.TLSv1_2)
        settings = self.settings(authority, "a", sni="a")
        assert asyncio.run(self.ask(context, settings)) != ""
        mine = authority.issue("proxy")
        shown = replace(settings, certificate=str(mine.certificate), key=str(mine.key))
        assert asyncio.run(self.ask(context, shown)) == ""

    def test_http2_must_be_agreed_on(self, authority: Authority) -> None:
        async def run() -> str:
            context = authority.server(authority.issue("a"))
            server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
            async with server:
                target = Target("ipv4", *server.sockets[0].getsockname(), self.settings(authority, "a"))
                return await probe_http2(target, ASK, "")

        assert asyncio.run(run()) == "does not speak HTTP/2 in TLS (ALPN)"
