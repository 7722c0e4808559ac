"""The PROXY protocol, versions 1 and 2, taken from clients and given to upstreams.

Spec: https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any

import pytest

from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.resp import Wire
from mosnpy.testing.tcp_server import TcpServer, echo, remember
from mosnpy.testing.waiting import free_port

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
Start = Callable[..., ProxyProcess]


def v2(source: tuple[str, int], target: tuple[str, int], *, command: int = 1, extra: bytes = b"") -> bytes:
    """A version 2 header for TCP over IPv4 (command 1 = PROXY, 0 = LOCAL)."""
    addresses = (
        socket.inet_aton(source[0]) + socket.inet_aton(target[0]) + struct.pack("!HH", source[1], target[1]) + extra
    )
    return SIGNATURE + bytes([0x20 | command, 0x11]) + struct.pack("!H", len(addresses)) + addresses


def v2_ipv6(source: tuple[str, int], target: tuple[str, int]) -> bytes:
    addresses = (
        socket.inet_pton(socket.AF_INET6, source[0])
        + socket.inet_pton(socket.AF_INET6, target[0])
        + struct.pack("!HH", source[1], target[1])
    )
    return SIGNATURE + b"\x21\x21" + struct.pack("!H", len(addresses)) + addresses


def start(
    start_proxy: Start, endpoint: str, protocol: str = "tcp", listener: dict[str, Any] | None = None, **upstream: Any
) -> tuple[str, int]:
    port = free_port()
    start_proxy({
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": protocol, "to": "back", **(listener or {})}},
        "upstreams": {"back": {"protocol": protocol, "endpoints": [endpoint], **upstream}},
    })  # fmt: skip
    return "127.0.0.1", port


def test_version_1_is_sent(start_proxy: Start) -> None:
    seen: list[bytes] = []
    with TcpServer(remember(seen, 20)) as server:
        address = start(start_proxy, server.endpoint, proxy_protocol="v1")
        with Wire(address) as wire:
            host, port = wire.socket.getsockname()
            wire.send_raw(b"payload")
            assert wire.exactly(3) == b"ok\n"
        header, _, rest = seen[0].partition(b"\r\n")
        assert header == f"PROXY TCP4 {host} {address[0]} {port} {address[1]}".encode()
        assert rest in (b"payload", b"")


def test_version_2_is_sent(start_proxy: Start) -> None:
    seen: list[bytes] = []
    with TcpServer(remember(seen, 28)) as server:
        address = start(start_proxy, server.endpoint, proxy_protocol="v2")
        with Wire(address) as wire:
            source = wire.socket.getsockname()
            wire.send_raw(b"payload")
            assert wire.exactly(3) == b"ok\n"
        assert seen[0][:28] == v2(source, address)


def test_header_is_sent_for_a_server_that_speaks_first(start_proxy: Start) -> None:
    """It leaves with the connection, not with the client's first byte."""
    seen: list[bytes] = []
    with TcpServer(remember(seen, 10)) as server:
        with Wire(start(start_proxy, server.endpoint, proxy_protocol="v1")) as wire:
            assert wire.exactly(3) == b"ok\n"
        assert seen[0].startswith(b"PROXY TCP4 ")


class TestAccepting:
    @pytest.fixture
    def chain(self, start_proxy: Start) -> Any:
        """A listener that takes headers before an upstream that gets them: what arrives shows what was understood."""
        seen: list[bytes] = []
        with TcpServer(remember(seen, 30)) as server:
            yield start(start_proxy, server.endpoint, listener={"proxy_protocol": "accept"}, proxy_protocol="v1"), seen

    @pytest.mark.parametrize(
        ("header", "shown"),
        [
            (b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n", b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n", b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443"),
            (v2(("203.0.113.7", 4711), ("198.51.100.1", 443)), b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443"),
            (
                v2(("203.0.113.7", 4711), ("198.51.100.1", 443), extra=b"\x04\x00\x03abc"),
                b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443",
            ),
            (v2_ipv6(("2001:db8::7", 4711), ("2001:db8::1", 443)), b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443"),
        ],
        ids=["v1 IPv4", "v1 IPv6", "v2 IPv4", "v2 with TLV", "v2 IPv6"],
    )
    @pytest.mark.parametrize("pieces", [1000, 1])
    def test_header_is_understood(self, chain: Any, header: bytes, shown: bytes, pieces: int) -> None:
        address, seen = chain
        with Wire(address) as wire:
            data = header + b"payload"
            for at in range(0, len(data), pieces):
                wire.send_raw(data[at : at + pieces])
            assert wire.exactly(3) == b"ok\n"
        assert seen[0].startswith(shown + b"\r\n")

    @pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
                                        v2(("0.0.0.0", 0), ("0.0.0.0", 0), command=0), SIGNATURE + b"\x20\x00\x00\x00"])  # fmt: skip
    def test_unknown_and_local_keep_the_connections_own_addresses(self, chain: Any, header: bytes) -> None:
        address, seen = chain
        with Wire(address) as wire:
            host, port = wire.socket.getsockname()
            wire.send_raw(header + b"payload that is long enough to be noticed")
            assert wire.exactly(3) == b"ok\n"
        assert seen[0].startswith(f"PROXY TCP4 {host} {address[0]} {port} {address[1]}\r\n".encode())

    @pytest.mark.parametrize(
        "bytes_", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1.2.3.4\r\n", b"PROXY TCP4 999.0.0.1 1.1.1.1 1 2\r\n", b"PROXY " + b"x" * 200,
                   b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n", SIGNATURE + b"\x31\x11\x00\x0c" + b"\0" * 12, SIGNATURE + b"\x21\x11\x00\x04" + b"\0" * 4,
                   b"\r\n\r\n\x00\r\nQUIX\n" + b"\0" * 20],
    )  # fmt: skip
    def test_anything_else_is_refused(self, chain: Any, bytes_: bytes) -> None:
        address, seen = chain
        with Wire(address) as wire:
            wire.send_raw(bytes_)
            assert wire.rest() == b""
        assert seen == []

    def test_client_that_closes_before_its_header(self, chain: Any) -> None:
        address, seen = chain
        with Wire(address) as wire:
            wire.send_raw(b"PROXY TC")
            wire.half_close()
            assert wire.rest() == b""
        assert seen == []


def test_redis_listener_takes_the_clients_address_from_the_header(start_proxy: Start, main_server: Any) -> None:
    main_server.clean()
    address = start(start_proxy, main_server.endpoint, "redis", {"proxy_protocol": "accept"})
    with Wire(address) as wire:
        wire.send_raw(b"PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n*1\r\n$4\r\nPING\r\n")
        assert wire.reply() == b"+PONG\r\n"
        assert b"addr=203.0.113.7:4711" in wire.ask("CLIENT", "INFO")


def test_echo_behind_both(start_proxy: Start) -> None:
    """Two proxies in a row: the outer tells, the inner takes and strips."""
    with TcpServer(echo) as server:
        inner = start(start_proxy, server.endpoint, listener={"proxy_protocol": "accept"})
        for version in ("v1", "v2"):
            outer = start(start_proxy, f"{inner[0]}:{inner[1]}", proxy_protocol=version)
            with Wire(outer) as wire:
                wire.send_raw(b"clean")
                assert wire.exactly(5) == b"clean"
