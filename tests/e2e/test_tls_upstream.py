"""TLS towards servers: whom the proxy believes, what it shows, and what becomes of handshakes that fail."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.tcp_server import TcpServer, echo, measure
from mosnpy.testing.tls import V12, V13, dial, echoed, read, read_all
from mosnpy.testing.waiting import FACTOR, free_port, until

pytestmark = pytest.mark.usefixtures("built")
MIB = 1 << 20


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def before(server: TcpServer, tls: dict[str, Any], listener: dict[str, Any] | None = None, **upstream: Any) -> Any:
    return {
        "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "tcp", "to": "main", **(listener or {})}},
        "upstreams": {"main": {"protocol": "tcp", "endpoints": [server.endpoint], "tls": tls, **upstream}},
    }


def plain(proxy: EmbeddedProxy) -> socket.socket:
    address = proxy.address()
    assert not isinstance(address, str)
    return socket.create_connection(address, 10 * FACTOR)


def works(proxy: EmbeddedProxy) -> bool:
    """Whether a client's bytes come back. One that gets nothing sees the connection end."""
    with plain(proxy) as wire:
        try:
            wire.sendall(b"ping")
            return read(wire, 4) == b"ping"
        except ConnectionError:
            return False


def stats(proxy: EmbeddedProxy) -> dict[str, Any]:
    found: dict[str, Any] = proxy.stats()["upstreams"]["main"]
    return found


@pytest.mark.parametrize("version", [V12, V13])
def test_64_mib_both_ways(authority: Authority, version: ssl.TLSVersion) -> None:
    block = os.urandom(MIB)
    tls = authority.server(authority.issue("localhost"), version=version)
    with TcpServer(echo, tls=tls) as server:
        with EmbeddedProxy(before(server, {"ca": str(authority.file), "sni": "localhost"})) as proxy:
            assert echoed(proxy.address(), None, block, 64) == hashlib.sha256(block * 64).digest()
            assert works(proxy)
            assert stats(proxy)["tls_handshakes_total"] == 2


def test_both_sides(authority: Authority) -> None:
    mine, block = authority.issue("localhost"), os.urandom(MIB)
    with TcpServer(echo, tls=authority.server(mine)) as server:
        config = before(server, {"ca": str(authority.file), "sni": "localhost"}, {"tls": mine.config})
        with EmbeddedProxy(config) as proxy:
            assert echoed(proxy.address(), authority.client(), block, 32) == hashlib.sha256(block * 32).digest()
            proxy.quiet()


class TestVerification:
    @pytest.mark.parametrize(
        ("names", "settings", "good"),
        [
            (["localhost"], {"sni": "localhost"}, True),
            (["other"], {"sni": "localhost"}, False),
            (["*.example.com"], {"sni": "a.example.com"}, True),
            (["*.example.com"], {"sni": "a.b.example.com"}, False),
            (["127.0.0.1"], {"names": ["127.0.0.1"]}, True),
            (["127.0.0.2"], {"names": ["127.0.0.1"]}, False),
            (["127.0.0.1"], {"sni": "localhost"}, False),
            (["127.0.0.1"], {"sni": "localhost", "names": ["127.0.0.1"]}, True),
            (["spiffe://td/ns/db/sa/x"], {"names": ["spiffe://td/ns/db/*"]}, True),
            (["spiffe://td/ns/web"], {"names": ["spiffe://td/ns/db/*"]}, False),
            (["spiffe://td/a"], {"names": ["spiffe://td/a"]}, True),
            ([], {"sni": "localhost"}, False),
            (["other"], {"verify": False}, True),
        ],
    )
    def test_names(self, authority: Authority, names: list[str], settings: dict[str, Any], good: bool) -> None:
        tls = authority.server(authority.issue(*names, subject="localhost"))
        trust = {"ca": str(authority.file)} if settings.get("verify", True) else {}
        with TcpServer(echo, tls=tls) as server, EmbeddedProxy(before(server, {**trust, **settings})) as proxy:
            assert works(proxy) == good
            assert (stats(proxy)["tls_handshakes_failed"] == 0) == good

    @pytest.mark.parametrize("version", [V12, V13])
    def test_of_a_stranger(self, authority: Authority, stranger: Authority, version: ssl.TLSVersion) -> None:
        tls = stranger.server(stranger.issue("localhost"), version=version)
        with TcpServer(echo, tls=tls) as server:
            with EmbeddedProxy(before(server, {"ca": str(authority.file), "sni": "localhost"})) as proxy:
                assert not works(proxy)
            with EmbeddedProxy(before(server, {"sni": "localhost"})) as proxy:  # the system's authorities
                assert not works(proxy)

    def test_expired(self, authority: Authority) -> None:
        tls = authority.server(authority.issue("localhost", days=-0.5))
        with TcpServer(echo, tls=tls) as server:
            with EmbeddedProxy(before(server, {"ca": str(authority.file), "sni": "localhost"})) as proxy:
                assert not works(proxy)


class TestClientCertificate:
    @pytest.mark.parametrize("version", [V12, V13])
    def test_shown(self, authority: Authority, version: ssl.TLSVersion) -> None:
        tls = authority.server(authority.issue("localhost"), version=version, ask=True)
        settings = {"ca": str(authority.file), "sni": "localhost", **authority.issue("me").config}
        with TcpServer(echo, tls=tls) as server, EmbeddedProxy(before(server, settings)) as proxy:
            assert works(proxy)

    @pytest.mark.parametrize("version", [V12, V13])
    def test_missing(self, authority: Authority, version: ssl.TLSVersion) -> None:
        """With TLS 1.3 the server says so only when the proxy thinks that all is well: it counts as a failed connection."""
        tls = authority.server(authority.issue("localhost"), version=version, ask=True)
        settings = {"ca": str(authority.file), "sni": "localhost"}
        with TcpServer(echo, tls=tls) as server, EmbeddedProxy(before(server, settings)) as proxy:
            assert not works(proxy)
            assert sum(one["connect_failures"] for one in stats(proxy)["endpoints"].values()) == 1


def test_resumption(authority: Authority) -> None:
    for version in (V12, V13):
        tls = authority.server(authority.issue("localhost"), version=version)
        with TcpServer(echo, tls=tls) as server:
            with EmbeddedProxy(before(server, {"ca": str(authority.file), "sni": "localhost"})) as proxy:
                for _ in range(5):
                    assert works(proxy)
                assert stats(proxy)["tls_handshakes_total"] == 5
                assert stats(proxy)["tls_handshakes_resumed"] == 4


def test_a_changed_verification_forgets_sessions(authority: Authority, stranger: Authority) -> None:
    """A session begun without verification must not help past it."""
    with TcpServer(echo, tls=stranger.server(stranger.issue("localhost"))) as server:
        with EmbeddedProxy(before(server, {"verify": False, "sni": "localhost"})) as proxy:
            assert works(proxy)
            proxy.reload(before(server, {"ca": str(authority.file), "sni": "localhost"}))
            assert not works(proxy)
            proxy.reload(before(server, {"ca": str(stranger.file), "sni": "localhost"}))
            assert works(proxy)


def test_a_bad_server_is_left_out(authority: Authority, stranger: Authority) -> None:
    """Handshakes that fail are connections that fail: the next endpoint is tried, the bad one ejected."""
    with (
        TcpServer(echo, tls=authority.server(authority.issue("localhost"))) as good,
        TcpServer(echo, tls=stranger.server(stranger.issue("localhost"))) as bad,
    ):
        config = before(
            good,
            {"ca": str(authority.file), "sni": "localhost"},
            endpoints=[bad.endpoint, good.endpoint],
            ejection={"failures": 2, "base": "60s", "max": "60s"},
        )
        with EmbeddedProxy(config) as proxy:
            for _ in range(20):
                assert works(proxy)
            assert bad.accepted <= 3
            assert stats(proxy)["tls_handshakes_failed"] >= 2


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x16\x03\x03\x00\x04junk", b"\x15\x03\x03\x00\x02\x02\x28"]
)
def test_servers_without_tls(authority: Authority, answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(answer)
        await writer.drain()

    with TcpServer(serve) as server:
        with EmbeddedProxy(before(server, {"ca": str(authority.file), "sni": "localhost"})) as proxy:
            assert not works(proxy)


def test_a_server_that_never_answers_the_handshake(authority: Authority) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1000):
            pass

    with TcpServer(serve) as server:
        config = before(server, {"ca": str(authority.file), "sni": "localhost"}, connect_timeout="200ms")
        with EmbeddedProxy(config) as proxy:
            assert not works(proxy)


def test_half_close_travels(authority: Authority) -> None:
    """A plaintext client's FIN is close_notify to the server, whose answer comes after it."""

    async def total(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(1 << 16):
            pass
        writer.close()

    with TcpServer(total, tls=authority.server(authority.issue("localhost"))) as server:
        with EmbeddedProxy(before(server, {"ca": str(authority.file), "sni": "localhost"})) as proxy:
            with plain(proxy) as wire:
                wire.sendall(b"x" * 100_000)
                wire.shutdown(socket.SHUT_WR)
                assert read_all(wire) == b""
            proxy.quiet()


def test_half_close_from_tls_to_plaintext(authority: Authority) -> None:
    """close_notify from a client is FIN to the server, whose count comes back in records."""
    with TcpServer(measure) as server:
        config = before(server, {}, {"tls": authority.issue("localhost").config})
        del config["upstreams"]["main"]["tls"]
        with EmbeddedProxy(config) as proxy:
            context, incoming, outgoing = authority.client(), ssl.MemoryBIO(), ssl.MemoryBIO()
            tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
            with plain(proxy) as wire:
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        wire.sendall(outgoing.read())
                        incoming.write(wire.recv(1 << 16))
                wire.sendall(outgoing.read())
                tls.write(b"x" * 10_000)
                with pytest.raises(ssl.SSLWantReadError):
                    tls.unwrap()
                wire.sendall(outgoing.read())
                records = read_all(wire)
            # the tickets, b"10000" and close_notify; Python's SSLObject reads nothing after its own close_notify
            assert records[-24:][:3] == b"\x17\x03\x03"
            assert len(records) > 24 + 5 + 5 + 17
            proxy.quiet()


def test_openssl_s_server(authority: Authority) -> None:
    """Beside Python's there are other servers; this one echoes reversed lines."""
    pair, port = authority.issue("localhost"), free_port()
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(pair.certificate), "-key", str(pair.key),
               "-rev", "-quiet"]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, "s_server to listen")
            config = before(TcpServer(echo), {"ca": str(authority.file), "sni": "localhost"})
            config["upstreams"]["main"]["endpoints"] = [f"127.0.0.1:{port}"]
            with EmbeddedProxy(config) as proxy, plain(proxy) as wire:
                wire.sendall(b"hello\n")
                assert read(wire, 6) == b"olleh\n"
        finally:
            process.terminate()


class TestRedis:
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, authority: Authority, short_tmp: Path) -> Iterator[tuple[RedisServer, int]]:
        port, pair = free_port(), authority.issue("redis.example.com")
        options = ["--tls-port", str(port), "--tls-cert-file", str(pair.certificate), "--tls-key-file", str(pair.key),
                   "--tls-ca-cert-file", str(authority.file), "--tls-auth-clients", "yes"]  # fmt: skip
        server = RedisServer(short_tmp / "tls-redis", options=options)
        yield server, port
        server.stop()

    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls, authority: Authority, server: tuple[RedisServer, int]) -> Iterator[EmbeddedProxy]:
        mine = authority.issue("localhost", "127.0.0.1")
        tls = {"ca": str(authority.file), "sni": "redis.example.com", **authority.issue("proxy").config}
        config = {
            "listeners": {
                "front": {"bind": "127.0.0.1:0", "protocol": "redis", "tls": {**mine.config, "mode": "permissive"}, "to": "main"}
            },
            "upstreams": {"main": {"protocol": "redis", "endpoints": [f"127.0.0.1:{server[1]}"], "tls": tls}},
        }  # fmt: skip
        with EmbeddedProxy(config) as proxy:
            yield proxy
            proxy.quiet()

    def client(self, proxy: EmbeddedProxy, authority: Authority, **options: Any) -> redis.Redis:
        host, port = proxy.address()
        assert isinstance(port, int)
        return redis.Redis(host=str(host), port=port, ssl=True, ssl_ca_certs=str(authority.file), **options)

    def test_redis_py(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        with self.client(proxy, authority) as client:
            assert client.set("key", "value")
            assert client.get("key") == b"value"
            big = os.urandom(3 * MIB)
            assert client.set("big", big)
            assert client.get("big") == big

    def test_pipelines(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        with self.client(proxy, authority) as client:
            pipe = client.pipeline(transaction=False)
            for i in range(2000):
                pipe.set(f"k{i}", f"v{i}" * (i % 50))
                pipe.get(f"k{i}")
            assert pipe.execute()[1::2] == [(f"v{i}" * (i % 50)).encode() for i in range(2000)]

    def test_subscription(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        with self.client(proxy, authority) as client, client.pubsub() as listening:
            listening.subscribe("news")
            assert listening.get_message(timeout=5)["type"] == "subscribe"  # type: ignore[index]
            client.publish("news", "x")
            assert until(lambda: listening.get_message(timeout=1), "the message")["data"] == b"x"

    def test_plaintext_on_the_same_port(self, proxy: EmbeddedProxy) -> None:
        host, port = proxy.address()
        assert isinstance(port, int)
        with redis.Redis(host=str(host), port=port) as client:
            assert client.ping()

    def test_redis_cli(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        host, port = proxy.address()
        command = [
            "redis-cli",
            "-h",
            str(host),
            "-p",
            str(port),
            "--tls",
            "--cacert",
            str(authority.file),
            "ECHO",
            "hello",
        ]
        assert subprocess.run(command, capture_output=True, timeout=20, check=True).stdout == b"hello\n"

    def test_servers_that_restart(
        self, proxy: EmbeddedProxy, authority: Authority, server: tuple[RedisServer, int]
    ) -> None:
        with self.client(proxy, authority) as client:
            client.set("before", "1")
            server[0].restart()
            until(lambda: _answers(client), "the server to be reached again")


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_reached_by_name_only(authority: Authority) -> None:
    """The endpoint's host name is what is asked for and expected, unless something else is said."""
    with TcpServer(echo, tls=authority.server(authority.issue("localhost"))) as server:
        config = before(server, {"ca": str(authority.file)}, endpoints=[f"localhost:{server.port}"])
        with EmbeddedProxy(config) as proxy:
            assert works(proxy)


def test_dial_is_for_tls(authority: Authority) -> None:
    """The proxy in plaintext, TLS passed through it to the server: nobody in between."""
    with TcpServer(echo, tls=authority.server(authority.issue("localhost"))) as server:
        config = before(server, {})
        del config["upstreams"]["main"]["tls"]
        with EmbeddedProxy(config) as proxy, dial(proxy.address(), authority.client()) as wire:
            wire.sendall(b"ping")
            assert read(wire, 4) == b"ping"
