"""Clients that stall, drip, never read, vanish or come in crowds: memory stays bounded and the others don't notice."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Address, Wire, encode
from mosnpy.testing.waiting import free_port, until

Start = Callable[..., ProxyProcess]
MIB = 1 << 20


def begin(
    start_proxy: Start, server: RedisServer, wrap: tuple[str, ...] = (), **listener: Any
) -> tuple[Address, ProxyProcess]:
    server.clean()
    port = free_port()
    proxy = start_proxy({
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main", **listener}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [server.endpoint]}},
    }, wrap=wrap)  # fmt: skip
    return ("127.0.0.1", port), proxy


class TestSlowWriters:
    def test_half_a_request_is_timed_out(self, start_proxy: Start, main_server: RedisServer) -> None:
        address, _ = begin(start_proxy, main_server, idle_timeout="300ms")
        with Wire(address, timeout=5) as wire:
            wire.send_raw(encode("SET", "a", "12345")[:-4])
            assert wire.rest() == b""

    def test_silent_client_is_timed_out(self, start_proxy: Start, main_server: RedisServer) -> None:
        address, _ = begin(start_proxy, main_server, idle_timeout="300ms")
        with Wire(address, timeout=5) as wire:
            assert wire.rest() == b""

    def test_client_that_drips_is_timed_out(self, start_proxy: Start, main_server: RedisServer) -> None:
        """A byte now and then keeps a connection open for ever unless whole requests are what counts."""
        address, _ = begin(start_proxy, main_server, idle_timeout="400ms")
        request = encode("SET", "key", "v" * 200)
        begun = time.monotonic()
        with Wire(address, timeout=0.05) as wire:
            for at in range(len(request)):
                try:
                    wire.send_raw(request[at : at + 1])
                    if wire.socket.recv(1) == b"":
                        break
                except TimeoutError:
                    continue
                except OSError:
                    break
            else:
                pytest.fail("the whole request was dripped in over many times the idle timeout")
        assert time.monotonic() - begun < 4

    def test_busy_and_subscribed_clients_are_not(self, start_proxy: Start, main_server: RedisServer) -> None:
        address, _ = begin(start_proxy, main_server, idle_timeout="300ms")
        with (
            Wire(address) as subscribed,
            Wire(address) as waiting,
            Wire(address, timeout=5) as idle,
            Wire(address) as other,
        ):
            subscribed.ask("SUBSCRIBE", "ch")
            waiting.send("BLPOP", "q", 0)
            done = threading.Event()

            def stay_busy() -> None:
                while not done.wait(0.05):
                    other.ask("PING")

            thread = threading.Thread(target=stay_busy)
            thread.start()
            assert idle.rest() == b""
            done.set()
            thread.join()
            assert other.ask("PUBLISH", "ch", "x") == b":1\r\n"
            assert b"message" in subscribed.reply()
            other.ask("RPUSH", "q", "x")
            assert waiting.reply().endswith(b"$1\r\nx\r\n")


class TestClientsThatNeverRead:
    def test_slow_client_is_disconnected_beyond_its_buffer(self, start_proxy: Start, main_server: RedisServer) -> None:
        """A subscriber can't be held back by back-pressure alone: what it doesn't read piles up, to a limit."""
        address, proxy = begin(start_proxy, main_server, client_buffer="1MiB")
        with Wire(address, receive_buffer=8192) as slow, Wire(address, timeout=30) as other:
            slow.ask("SUBSCRIBE", "ch")
            before = proxy.worker_rss()
            data = "x" * 100_000
            until(
                lambda: other.ask("PUBLISH", "ch", data) == b":0\r\n",
                "the slow subscriber to be disconnected",
                timeout=30,
            )
            assert proxy.worker_rss() - before < 32 * MIB
            assert other.ask("PING") == b"+PONG\r\n"

    def test_pipelining_client_that_never_reads_is_held_back(
        self, start_proxy: Start, main_server: RedisServer
    ) -> None:
        address, proxy = begin(start_proxy, main_server)
        with Wire(address, receive_buffer=8192) as slow, Wire(address) as other:
            other.ok("SET", "v", "x" * 1000)
            before = proxy.worker_rss()
            slow.socket.settimeout(0.5)
            request, sent = encode("GET", "v") * 1000, 0
            try:
                while sent < 200 * MIB // 30:
                    sent += slow.socket.send(request)
            except TimeoutError:
                pass  # the proxy stopped reading: just what it should do
            assert proxy.worker_rss() - before < 160 * MIB
            for number in range(1, 200):
                assert other.ask("INCR", "n") == b":%d\r\n" % number

    def test_ten_clients_that_never_read_do_not_slow_the_others(self, front: Front) -> None:
        other = front.wire()
        other.ok("SET", "v", "x" * 100_000)
        for _ in range(10):
            slow = front.wire(receive_buffer=8192)
            slow.send_raw(encode("GET", "v") * 20)
        begun = time.monotonic()
        for number in range(1, 200):
            assert other.ask("INCR", "n") == b":%d\r\n" % number
        assert time.monotonic() - begun < 3


class TestClientsThatVanish:
    @pytest.mark.parametrize("how", ["close", "reset", "half_close"])
    def test_in_the_middle_of_a_pipeline(self, front: Front, how: str) -> None:
        other = front.wire()
        for _ in range(30):
            leaving = front.wire()
            leaving.send_raw(b"".join(encode("INCR", "n") + encode("GET", "n") for _ in range(50)))
            getattr(leaving, how)()
            assert other.ask("ECHO", "mine") == b"$4\r\nmine\r\n"
        assert other.ask_all(["SET", "a", "1"], ["GET", "a"]) == [b"+OK\r\n", b"$1\r\n1\r\n"]

    def test_port_scan(self, front: Front) -> None:
        other = front.wire()
        for _ in range(300):
            probe = Wire(front.address)
            probe.reset()
        assert other.ask("PING") == b"+PONG\r\n"

    def test_nothing_is_left_of_them(self, start_proxy: Start, main_server: RedisServer) -> None:
        """Gauges go back to zero: no stream, no buffer, no client connection survives its client."""
        address, proxy = begin(start_proxy, main_server)
        for number in range(40):
            wire = Wire(address, receive_buffer=8192)
            steps = [
                encode("GET", "a") * 20, encode("MULTI") + encode("SET", "a", "1"), encode("BLPOP", "q", 0), encode("SUBSCRIBE", "ch"),
                encode("SET", "big", "x" * 500_000)[:-50], encode("WATCH", "a"), encode("MONITOR"), encode("GET", "none")[:-3],
            ]  # fmt: skip
            wire.send_raw(steps[number % len(steps)])
            if number % 2:
                wire.close()
            else:
                wire.reset()

        def quiet() -> bool:
            gauges = find_gauges(proxy.stats())
            return gauges["streams"] == 0 and gauges["connections_active"] == 0

        until(quiet, "every stream and client connection to be gone")


def find_gauges(stats: Any) -> dict[str, float]:
    """Sums of the gauges with these names, wherever the document keeps them."""
    found = dict.fromkeys(("streams", "connections_active", "buffer_chunks"), 0.0)

    def walk(node: Any, path: tuple[str, ...]) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, (*path, str(key)))
        elif isinstance(node, list):
            for value in node:
                walk(value, path)
        elif (
            isinstance(node, int | float)
            and path
            and path[-1] in found
            and not (path[-1] == "connections_active" and "upstreams" in path)
        ):
            found[path[-1]] += node

    walk(stats, ())
    return found


class TestCrowds:
    def test_connection_limit_says_so(self, start_proxy: Start, main_server: RedisServer) -> None:
        address, _ = begin(start_proxy, main_server, max_connections=5)
        wires = [Wire(address) for _ in range(5)]
        assert all(wire.ask("PING") == b"+PONG\r\n" for wire in wires)
        with Wire(address) as over:
            assert over.rest() == b"-ERR max number of clients reached\r\n"
        wires.pop().close()

        def admitted() -> bool:
            with Wire(address) as wire:
                return wire.is_open()

        until(admitted, "a freed place to be given away")
        for wire in wires:
            wire.close()

    def test_out_of_file_descriptors(self, start_proxy: Start, main_server: RedisServer) -> None:
        """Beyond the limit new clients wait or are refused; those connected are served, and places come back."""
        address, proxy = begin(start_proxy, main_server, wrap=("prlimit", "--nofile=128:128"))
        wires = [Wire(address, timeout=2)]
        assert wires[0].ask("SET", "a", "1") == b"+OK\r\n"
        for _ in range(200):
            try:
                wires.append(Wire(address, timeout=2))
            except OSError:
                break
        for _ in range(50):
            assert wires[0].ask("GET", "a") == b"$1\r\n1\r\n"
        workers = {process.pid for process in proxy.workers()}
        for wire in wires[1:]:
            wire.close()

        def admitted() -> bool:
            with Wire(address, timeout=1) as wire:
                return wire.ask_all(["MULTI"], ["GET", "a"], ["EXEC"])[-1] == b"*1\r\n$1\r\n1\r\n"

        until(admitted, "new clients to be served again", timeout=15)
        assert {process.pid for process in proxy.workers()} == workers
        wires[0].close()

    def test_cpu_rests_while_out_of_file_descriptors(self, start_proxy: Start, main_server: RedisServer) -> None:
        """An accept() that fails must not be tried in a busy loop."""
        address, proxy = begin(start_proxy, main_server, wrap=("prlimit", "--nofile=96:96"))
        wires = []
        for _ in range(150):
            try:
                wires.append(Wire(address, timeout=2))
            except OSError:
                break
        used = sum(sum(process.cpu_times()[:2]) for process in proxy.workers())
        begun = time.monotonic()
        until(lambda: time.monotonic() - begun > 0.6, "a span to measure over")
        busy = sum(sum(process.cpu_times()[:2]) for process in proxy.workers()) - used
        assert busy < 0.3, f"{busy:.2f} s of CPU in 0.6 s"
        for wire in wires:
            wire.close()

    def test_connection_storm(self, proxied: Front) -> None:
        resource.setrlimit(
            resource.RLIMIT_NOFILE,
            (min(65_536, resource.getrlimit(resource.RLIMIT_NOFILE)[1]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]),
        )
        sockets = []
        for _ in range(1000):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(proxied.address)
            sockets.append(one)
        other = proxied.wire()
        assert other.ask("PING") == b"+PONG\r\n"
        for one in sockets:
            one.close()
        assert other.ask("PING") == b"+PONG\r\n"


def test_harness_has_enough_descriptors() -> None:
    """The tests above open some thousand sockets at once."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] >= 8192, os.uname()
