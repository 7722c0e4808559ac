"""tcp: bytes through, both ways, with the ends of each direction kept apart."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.resp import Address, Wire
from mosnpy.testing.tcp_server import TcpServer, echo, flood, greet_then_listen, measure
from mosnpy.testing.waiting import MEMORY_FACTOR, free_port, has_ipv6, until

MIB = 1 << 20
Start = Callable[..., ProxyProcess]


@dataclass
class Line:
    """Where clients connect for each kind of server, straight or through the proxy."""

    addresses: dict[str, Address]
    servers: dict[str, TcpServer]
    proxy: ProxyProcess | None

    def wire(self, name: str, **options: Any) -> Wire:
        return Wire(self.addresses[name], **options)


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, TcpServer]]:
    running = {
        "echo": TcpServer(echo), "measure": TcpServer(measure), "greet": TcpServer(greet_then_listen), "flood": TcpServer(flood(100 * MIB)),
    }  # fmt: skip
    for server in running.values():
        server.start()
    yield running
    for server in running.values():
        server.stop()


@pytest.fixture(scope="module")
def proxied_line(built: None, servers: dict[str, TcpServer], short_tmp: Path) -> Iterator[Line]:
    ports = {name: free_port() for name in servers}
    config = {
        "listeners": {name: {"bind": f"127.0.0.1:{ports[name]}", "protocol": "tcp", "to": name} for name in servers},
        "upstreams": {name: {"protocol": "tcp", "endpoints": [server.endpoint]} for name, server in servers.items()},
    }
    with ProxyProcess(short_tmp / "tcp", config) as proxy:
        yield Line({name: ("127.0.0.1", port) for name, port in ports.items()}, servers, proxy)


@pytest.fixture(params=["direct", "proxy"])
def line(request: pytest.FixtureRequest, servers: dict[str, TcpServer]) -> Line:
    if request.param == "direct":
        return Line({name: server.address for name, server in servers.items()}, servers, None)
    proxied: Line = request.getfixturevalue("proxied_line")
    return proxied


@pytest.mark.parametrize("size", [1, 100, 16_384, 262_144, 262_145, 3 * MIB])
def test_bytes_come_back(line: Line, size: int) -> None:
    data = random.Random(size).randbytes(size)
    with line.wire("echo") as wire:
        sender = threading.Thread(target=wire.send_raw, args=(data,))
        sender.start()
        assert wire.exactly(size) == data
        sender.join()


def test_ping_pong(line: Line) -> None:
    with line.wire("echo") as wire:
        for number in range(500):
            data = os.urandom(number % 50 + 1)
            wire.send_raw(data)
            assert wire.exactly(len(data)) == data


def test_server_that_speaks_first(line: Line) -> None:
    with line.wire("greet") as wire:
        assert wire.exactly(6) == b"hello\n"


def test_client_half_closes(line: Line) -> None:
    """The answer comes after the client's FIN: the proxy must pass the FIN and keep the way back open."""
    with line.wire("measure") as wire:
        wire.send_raw(b"x" * 100_000)
        wire.half_close()
        assert wire.rest() == b"100000"


def test_server_half_closes(line: Line) -> None:
    """The server's FIN ends one direction; what the client still sends must be taken."""
    with line.wire("greet") as wire:
        assert wire.rest() == b"hello\n"
        for _ in range(20):
            wire.send_raw(b"y" * 10_000)
        wire.half_close()
    line.servers["greet"].until_quiet()


def test_half_close_behind_data_that_waits(line: Line) -> None:
    """FIN comes with bytes still queued in the proxy: they go first."""
    with line.wire("echo", receive_buffer=8192) as wire:
        data = os.urandom(2 * MIB)

        def send() -> None:
            wire.send_raw(data)
            wire.half_close()

        sender = threading.Thread(target=send)
        sender.start()
        assert wire.rest() == data
        sender.join()


def test_reset_of_the_client_reaches_the_server(line: Line) -> None:
    wire = line.wire("echo")
    wire.send_raw(b"x")
    assert wire.exactly(1) == b"x"
    wire.reset()
    line.servers["echo"].until_quiet()


def test_reset_of_the_server_reaches_the_client(line: Line) -> None:
    async def reset(reader: Any, writer: Any) -> None:
        await reader.readexactly(1)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    before, line.servers["echo"].serve = line.servers["echo"].serve, reset
    try:
        with line.wire("echo") as wire:
            wire.send_raw(b"x")
            assert wire.rest() == b""
    finally:
        line.servers["echo"].serve = before


def test_100_mib_through_bounded_memory(line: Line) -> None:
    before = line.proxy.worker_rss() if line.proxy else 0
    digest, count, peak = hashlib.sha256(), 0, before
    with line.wire("flood", timeout=30) as wire:
        wire.send_raw(b"!")
        while data := wire.socket.recv(1 << 20):
            digest.update(data)
            count += len(data)
            if line.proxy and count % (8 * MIB) < len(data):
                peak = max(peak, line.proxy.worker_rss())
    assert count == 100 * MIB
    assert digest.hexdigest() == hashlib.sha256(bytes(range(256)) * (100 * MIB // 256)).hexdigest()
    assert peak - before < 16 * MIB * MEMORY_FACTOR


def test_slow_reader_does_not_fill_the_proxy(line: Line) -> None:
    """100 MiB are offered, 64 KiB are read: back-pressure must reach the server."""
    before = line.proxy.worker_rss() if line.proxy else 0
    wires = [line.wire("flood", receive_buffer=8192) for _ in range(5)]
    for wire in wires:
        wire.send_raw(b"!")
        wire.exactly(65_536)
    with line.wire("echo") as other:
        for _ in range(200):
            other.send_raw(b"still here")
            assert other.exactly(10) == b"still here"
    if line.proxy:
        assert line.proxy.worker_rss() - before < 24 * MIB
    for wire in wires:
        wire.close()
    line.servers["flood"].until_quiet()


def test_many_connections_at_once(line: Line) -> None:
    wires = [line.wire("echo") for _ in range(300)]
    for number, wire in enumerate(wires):
        wire.send_raw(b"%6d" % number)
    for number, wire in enumerate(wires):
        assert wire.exactly(6) == b"%6d" % number
        wire.close()
    line.servers["echo"].until_quiet()


class TestOwnProxy:
    """Options that need a proxy of their own."""

    def start(
        self,
        start_proxy: Start,
        endpoints: list[str],
        *,
        bind: str = "",
        listener: dict[str, Any] | None = None,
        **upstream: Any,
    ) -> tuple[ProxyProcess, Address]:
        port = free_port()
        config = {
            "listeners": {
                "front": {"bind": bind or f"127.0.0.1:{port}", "protocol": "tcp", "to": "back", **(listener or {})}
            },
            "upstreams": {"back": {"protocol": "tcp", "endpoints": endpoints, **upstream}},
        }
        return start_proxy(config), ("127.0.0.1", port)

    def test_idle_connection_is_closed(self, start_proxy: Start, servers: dict[str, TcpServer]) -> None:
        _, address = self.start(start_proxy, [servers["echo"].endpoint], listener={"idle_timeout": "300ms"})
        idle, busy = Wire(address, timeout=5), Wire(address, timeout=5)
        done = threading.Event()

        def keep_busy() -> None:
            while not done.wait(0.05):
                busy.send_raw(b"x")
                busy.exactly(1)

        thread = threading.Thread(target=keep_busy)
        thread.start()
        try:
            assert idle.rest() == b""
            assert thread.is_alive()
        finally:
            done.set()
            thread.join()
        busy.send_raw(b"alive")
        assert busy.exactly(5) == b"alive"
        busy.close()

    def test_refused_connect_is_retried_on_the_next_endpoint(
        self, start_proxy: Start, servers: dict[str, TcpServer]
    ) -> None:
        dead = f"127.0.0.1:{free_port()}"
        _, address = self.start(start_proxy, [dead, servers["echo"].endpoint])
        for _ in range(20):
            with Wire(address) as wire:
                wire.send_raw(b"hello")
                assert wire.exactly(5) == b"hello"

    def test_no_endpoint_at_all_closes(self, start_proxy: Start) -> None:
        _, address = self.start(start_proxy, [f"127.0.0.1:{free_port()}"])
        with Wire(address) as wire:
            wire.send_raw(b"hello")
            assert wire.rest() == b""

    def test_connection_limit(self, start_proxy: Start, servers: dict[str, TcpServer]) -> None:
        _, address = self.start(start_proxy, [servers["echo"].endpoint], listener={"max_connections": 3})
        wires = [Wire(address) for _ in range(3)]
        for wire in wires:
            wire.send_raw(b"x")
            assert wire.exactly(1) == b"x"
        with Wire(address) as over:
            assert over.rest() == b""
        wires.pop().close()

        def admitted() -> bool:
            with Wire(address) as wire:
                wire.send_raw(b"x")
                return wire.exactly(1) == b"x"

        until(admitted, "a freed place to be given away")
        for wire in wires:
            wire.close()

    def test_unix_sockets_on_both_sides(self, start_proxy: Start, short_tmp: Path) -> None:
        front = str(short_tmp / "front.sock")
        with TcpServer(echo, path=str(short_tmp / "back.sock")) as server:
            self.start(start_proxy, [server.endpoint], bind=f"unix:{front}", listener={"socket_mode": "0600"})
            assert os.stat(front).st_mode & 0o777 == 0o600
            with Wire(front) as wire:
                wire.send_raw(b"through two sockets")
                assert wire.exactly(19) == b"through two sockets"
                wire.half_close()
                assert wire.rest() == b""

    @pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6 loopback")
    def test_ipv6_on_both_sides(self, start_proxy: Start) -> None:
        port = free_port("::1")
        with TcpServer(echo, host="::1") as server:
            self.start(start_proxy, [server.endpoint], bind=f"[::1]:{port}")
            with Wire(("::1", port)) as wire:
                wire.send_raw(b"six")
                assert wire.exactly(3) == b"six"

    def test_connections_are_spread_round_robin(self, start_proxy: Start) -> None:
        with TcpServer(echo) as first, TcpServer(echo) as second:
            _, address = self.start(start_proxy, [first.endpoint, second.endpoint], lb="round_robin")
            for _ in range(20):
                with Wire(address) as wire:
                    wire.send_raw(b"x")
                    wire.exactly(1)
            assert (first.accepted, second.accepted) == (10, 10)

    def test_connect_that_hangs_is_given_up(self, start_proxy: Start, servers: dict[str, TcpServer]) -> None:
        """A listener with a full backlog answers no SYN: after connect_timeout the next endpoint is tried."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", free_port()))
            full.listen(0)
            hogs = []
            for _ in range(4):
                hog = socket.socket()
                hog.setblocking(False)
                hog.connect_ex(full.getsockname())
                hogs.append(hog)
            host, port = full.getsockname()
            _, address = self.start(start_proxy, [f"{host}:{port}", servers["echo"].endpoint], connect_timeout="200ms")
            for _ in range(2):
                with Wire(address) as wire:
                    wire.send_raw(b"x")
                    assert wire.exactly(1) == b"x"
            for hog in hogs:
                hog.close()
