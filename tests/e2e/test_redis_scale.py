"""Many clients cost Redis little: shared upstream connections, and a proxy that does not grow."""

from __future__ import annotations

import resource

import pytest

from mosnpy.testing.checker import Checker, fill
from mosnpy.testing.front import Front
from mosnpy.testing.resp import Wire, encode
from mosnpy.testing.waiting import until

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def many_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))


@pytest.mark.usefixtures("many_files")
class TestManyClients:
    def test_two_thousand_clients_over_a_few_connections(self, proxied: Front) -> None:
        before = proxied.server.connections_received()
        wires = proxied.wires(2000)
        for number, wire in enumerate(wires):
            wire.send_raw(encode("SET", f"k{number}", number) + encode("GET", f"k{number}"))
        for number, wire in enumerate(wires):
            digits = str(number).encode()
            assert wire.replies(2) == [b"+OK\r\n", b"$%d\r\n%b\r\n" % (len(digits), digits)]
        assert proxied.server.connections_received() - before <= 4

    def test_idle_client_costs_at_most_4_kib(self, proxied: Front) -> None:
        assert proxied.proxy is not None
        warm = [Wire(proxied.address) for _ in range(200)]
        for wire in warm:
            wire.ask("PING")
        before = proxied.proxy.worker_rss()
        wires = proxied.wires(4000)
        for wire in wires:
            assert wire.ask("PING") == b"+PONG\r\n"
        grown = proxied.proxy.worker_rss() - before
        for wire in warm:
            wire.close()
        assert grown <= 4 * KIB * 4000, f"{grown / 4000:.0f} bytes per idle client"

    def test_clients_that_come_and_go_leave_nothing(self, proxied: Front) -> None:
        assert proxied.proxy is not None

        def visit(count: int) -> None:
            for _ in range(count // 50):
                wires = [Wire(proxied.address) for _ in range(50)]
                for wire in wires:
                    wire.send("GET", "a")
                for wire in wires:
                    wire.reply()
                    wire.close()

        visit(2000)
        before = proxied.proxy.worker_rss()
        workers = proxied.proxy.workers()
        files = sum(process.num_fds() for process in workers)
        visit(10_000)
        assert proxied.proxy.worker_rss() - before <= 1 * MIB
        until(
            lambda: sum(process.num_fds() for process in workers) <= files + 2,
            "all sockets to be closed",
        )

    def test_memory_is_flat_after_a_million_requests(self, proxied: Front) -> None:
        assert proxied.proxy is not None
        fill(proxied.address, 1000)
        Checker(proxied.address, total=200_000, connections=50, keys=1000).run()
        before = proxied.proxy.worker_rss()
        report = Checker(proxied.address, total=1_000_000, connections=50, keys=1000).run()
        report.assert_clean()
        assert proxied.proxy.worker_rss() - before <= 1 * MIB

    def test_worker_is_small_at_the_start(self, start_proxy, main_server) -> None:  # type: ignore[no-untyped-def]
        proxy = start_proxy({
            "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "redis", "to": "main"}},
            "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
        })  # fmt: skip
        sizes = [process.memory_info().rss for process in proxy.workers()]
        assert sizes
        assert max(sizes) <= 40 * MIB, [f"{size / MIB:.1f} MiB" for size in sizes]


def test_every_reply_of_two_hundred_clients_is_right(front: Front) -> None:
    """A million replies, each compared with what its request must get."""
    fill(front.address, 2000)
    report = Checker(front.address, total=1_000_000, connections=200, depth=50).run()
    report.assert_clean()
    assert report.right >= 1_000_000


def test_every_reply_is_right_without_pipelining(front: Front) -> None:
    fill(front.address, 500)
    report = Checker(front.address, total=30_000, connections=100, depth=1, keys=500).run()
    report.assert_clean()


def test_every_reply_over_shards_is_right(one_or_shards: Front) -> None:
    fill(one_or_shards.address, 2000)
    report = Checker(one_or_shards.address, total=300_000, connections=100, depth=20).run()
    report.assert_clean()


@pytest.mark.parametrize("connections", [1, 4])
def test_shared_connections_are_as_many_as_configured(start_proxy, main_server, connections: int) -> None:  # type: ignore[no-untyped-def]
    from mosnpy.testing.waiting import free_port

    port = free_port()
    main_server.clean()
    before = main_server.connections_received()
    start_proxy({
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint], "pool": {"connections": connections}}},
    })  # fmt: skip
    fill(("127.0.0.1", port), 500)
    Checker(("127.0.0.1", port), total=50_000, connections=50, keys=500).run().assert_clean()
    assert 1 <= main_server.connections_received() - before <= connections + 1  # one more to ask COMMAND
