"""HTTP within TLS: ALPN decides, curl agrees; and several protocols beside one another on a port, with and without TLS."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.tcp_server import TcpServer
from mosnpy.testing.tls import ask, dial, read
from mosnpy.testing.waiting import FACTOR, free_port

pytestmark = pytest.mark.usefixtures("built")
PAGE = b"x" * 70_000


async def site(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1: every GET is answered with a page, every POST with the length of what came."""
    while head := await reader.readuntil(b"\r\n\r\n"):
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        body = PAGE
        if head.startswith(b"POST"):
            body = b"%d" % len(await reader.readexactly(length))
        if head.startswith(b"GET /cut "):  # a body that ends with the connection, which ends without close_notify
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"half")
            await writer.drain()
            writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
            await reader.read()
            return
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def proxy(authority: Authority) -> Iterator[EmbeddedProxy]:
    """`front` is spoken to by clients; behind `far` it meets itself again, over HTTP/2 and over HTTP/1 within TLS."""
    pair, inner, old = authority.issue("localhost", "127.0.0.1"), free_port(), free_port()
    trust = {"ca": str(authority.file), "sni": "localhost"}
    with TcpServer(site) as plain, TcpServer(site, tls=authority.server(pair)) as secured:
        routes = [
            {"match": {"path": "/h2/*"}, "to": "inner"},
            {"match": {"path": ["/tls/*", "/cut"]}, "to": "secured"},
            {"to": "plain"},
        ]
        base: dict[str, Any] = {"bind": "127.0.0.1:0", "routes": routes, "tls": pair.config}
        config = {
            "listeners": {
                "front": {**base, "protocol": "http"},
                "old": {**base, "bind": f"127.0.0.1:{old}", "protocol": "http1"},
                "inner": {**base, "bind": f"127.0.0.1:{inner}", "protocol": "http2", "routes": [{"to": "plain"}]},
                "any": {**base, "protocol": ["tls", "http2", "http1"]},
            },
            "upstreams": {
                "plain": {"protocol": "http1", "endpoints": [plain.endpoint]},
                "secured": {"protocol": "http1", "endpoints": [secured.endpoint], "tls": trust},
                "inner": {"protocol": "http2", "endpoints": [f"127.0.0.1:{inner}"], "tls": trust},
                "wrong": {"protocol": "http2", "endpoints": [f"127.0.0.1:{old}"], "tls": trust},
            },
        }
        config["listeners"]["front"]["routes"] = [{"match": {"path": "/wrong"}, "to": "wrong"}, *routes]
        with EmbeddedProxy(config) as proxy:
            yield proxy


def curl(
    proxy: EmbeddedProxy, authority: Authority, path: str, *more: str, listener: str = "front"
) -> tuple[str, bytes]:
    """(HTTP version and status, body)"""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed (Debian: apt install curl)")
    port = proxy.address(listener)[1]
    told = subprocess.run(
        ["curl", "-s", "--cacert", str(authority.file), "-w", "%{stderr}%{http_version} %{http_code}", *more,
         f"https://localhost:{port}{path}"],
        capture_output=True, timeout=20 * FACTOR, check=False,
        env={name: value for name, value in os.environ.items() if name != "LD_PRELOAD"},  # curl hangs under ASan
    )  # fmt: skip
    return told.stderr.decode(), told.stdout


@pytest.mark.parametrize("path", ["/", "/h2/x", "/tls/x"])
@pytest.mark.parametrize(("flag", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_curl(proxy: EmbeddedProxy, authority: Authority, path: str, flag: str, version: str) -> None:
    assert curl(proxy, authority, path, flag) == (f"{version} 200", PAGE)


@pytest.mark.parametrize("path", ["/", "/h2/x", "/tls/x"])
@pytest.mark.parametrize("flag", ["--http2", "--http1.1"])
def test_an_upload(proxy: EmbeddedProxy, authority: Authority, path: str, flag: str, tmp_path: Path) -> None:
    file = tmp_path / "upload"
    file.write_bytes(b"y" * 3_000_000)
    status, body = curl(proxy, authority, path, flag, "-H", "expect:", "--data-binary", f"@{file}")
    assert status.endswith(" 200")
    assert body == b"3000000"


def test_a_server_that_does_not_speak_http2(proxy: EmbeddedProxy, authority: Authority) -> None:
    """HTTP/2 was not agreed on in the handshake: a connection that failed, not one that is tried anyway."""
    assert curl(proxy, authority, "/wrong", "--http1.1")[0] == "1.1 503"


def test_a_body_cut_short_does_not_look_whole(proxy: EmbeddedProxy, authority: Authority) -> None:
    seen = b""
    with dial(proxy.address(), authority.client()) as wire, pytest.raises(OSError):  # noqa: PT012
        wire.sendall(b"GET /cut HTTP/1.1\r\nhost: localhost\r\n\r\n")
        while part := wire.recv(1000):
            seen += part
    assert not seen.endswith(b"0\r\n\r\n")  # the end of a chunked body


@pytest.mark.parametrize(("flag", "version"), [("--http2", "2"), ("--http1.1", "1.1")])
def test_one_port_for_all(proxy: EmbeddedProxy, authority: Authority, flag: str, version: str) -> None:
    assert curl(proxy, authority, "/", flag, listener="any") == (f"{version} 200", PAGE)
    address = proxy.address("any")
    assert not isinstance(address, str)
    with socket.create_connection(address, 10) as wire:
        wire.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert read(wire, 15) == b"HTTP/1.1 200 OK"
    with dial(address, authority.client()) as tls:  # no ALPN: the first bytes tell
        assert ask(tls, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")[:15] == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize("flag", ["--http2", "--http1.1"])
def test_a_guarded_host_asked_for_through_an_open_chain(authority: Authority, flag: str) -> None:
    """Who shook hands without certificate as somebody else's client does not reach what a chain guards, by whatever Host."""
    pair, mine = authority.issue("*.example.com"), authority.issue("me")
    guard = {**pair.config, "client_certificate": "required", "client_ca": str(authority.file)}
    front = {
        "bind": "127.0.0.1:0", "protocol": "http", "tls": {**pair.config, "mode": "permissive"},
        "routes": [{"match": {"host": "admin.example.com"}, "reply": {"status": 200, "body": "secret"}},
                   {"reply": {"status": 200, "body": "open"}}],
    }  # fmt: skip
    chain = {"sni": ["admin.example.com"], "tls": guard, "routes": front["routes"]}
    front["chains"] = [{"name": "admin", **chain}, {"name": "other", "sni": ["ops.example.com"], "tls": guard, "routes": front["routes"]}]  # fmt: skip
    with EmbeddedProxy({"listeners": {"front": front}}) as proxy:
        port = proxy.address()[1]

        def get(name: str, host: str, *more: str, scheme: str = "https") -> bytes:
            command = ["curl", "-s", "--cacert", str(authority.file), "--resolve", f"{name}:{port}:127.0.0.1", flag,
                       "-H", f"host: {host}", "-w", " %{http_code}", *more, f"{scheme}://{name}:{port}/"]  # fmt: skip
            env = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
            return subprocess.run(command, capture_output=True, timeout=20 * FACTOR, check=False, env=env).stdout

        me = ("--cert", str(mine.certificate), "--key", str(mine.key))
        assert get("www.example.com", "www.example.com") == b"open 200"
        for host in ("admin.example.com", "Admin.Example.Com.", f"admin.example.com:{port}"):
            assert get("www.example.com", host).endswith(b" 421"), host
        assert get("www.example.com", "admin.example.com", *me).endswith(b" 421")  # nobody asked for it there
        assert get("www.example.com", "admin.example.com", scheme="http").endswith(b" 421")
        assert get("admin.example.com", "admin.example.com", *me) == b"secret 200"
        assert get("ops.example.com", "admin.example.com", *me) == b"secret 200"  # the same was asked for
        assert get("admin.example.com", "www.example.com", *me) == b"open 200"
        assert proxy.stats()["listeners"]["front"]["failures"]["DENIED"] >= 4
