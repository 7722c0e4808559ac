"""The proxy's own processes: a worker that dies, a configuration that changes, a shutdown, all under load."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

from mosnpy.testing.checker import Checker, fill
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Address, Wire
from mosnpy.testing.waiting import free_port, until

Start = Callable[..., ProxyProcess]


@pytest.fixture
def config(main_server: RedisServer) -> dict[str, Any]:
    main_server.clean()
    return {
        "version": 1,
        "workers": 1,
        "drain_timeout": "10s",
        "admin": {"bind": f"127.0.0.1:{free_port()}"},
        "listeners": {"front": {"bind": f"127.0.0.1:{free_port()}", "protocol": "redis", "routes": [{"to": "main"}]}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
    }


def address_of(config: dict[str, Any], listener: str = "front") -> Address:
    host, port = config["listeners"][listener]["bind"].rsplit(":", 1)
    return host, int(port)


class TestReload:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_under_load_without_a_single_error(self, start_proxy: Start, config: dict[str, Any], workers: int) -> None:
        config["workers"] = workers
        proxy = start_proxy(config)
        address = address_of(config)
        fill(address, 1000)
        load = Checker(address, connections=100, depth=20, keys=1000).start()
        for turn in range(5):
            asked = load.report.asked
            until(lambda more=asked: load.progressed(more + 30_000), "some load")  # type: ignore[misc]
            config["listeners"]["front"]["routes"] = [
                {"match": {"key": f"turn{turn}:*"}, "reply": {"error": "ERR no"}},
                {"to": "main"},
            ]
            proxy.write(config)
            proxy.signal(signal.SIGHUP)
            with Wire(address) as wire:
                until(lambda key=f"turn{turn}:x": wire.ask("GET", key) == b"-ERR no\r\n", "the new route")  # type: ignore[misc]
        report = load.stop()
        report.assert_clean()
        assert report.farewells == 0, "a reload closes no connection whose listener stays"
        assert report.refused == 0

    def test_route_changes_for_connected_clients(
        self, start_proxy: Start, config: dict[str, Any], redis_servers: Any
    ) -> None:
        other = redis_servers("other")
        other.clean()
        other.command("SET", "who", "other")
        proxy = start_proxy(config)
        with Wire(address_of(config)) as wire:
            wire.ok("SET", "who", "main")
            config["upstreams"]["main"]["endpoints"] = [other.endpoint]
            proxy.write(config)
            proxy.signal(signal.SIGHUP)
            until(lambda: wire.ask("GET", "who") == b"$5\r\nother\r\n", "the new endpoint to be asked")

    def test_open_transaction_outlives_a_reload(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        with Wire(address_of(config)) as wire, Wire(address_of(config)) as other:
            wire.ok("SELECT", 3)
            wire.ok("MULTI")
            wire.ask("SET", "a", "1")
            config["listeners"]["front"]["routes"].insert(0, {"match": {"key": "new"}, "reply": {"error": "ERR new"}})
            proxy.write(config)
            proxy.signal(signal.SIGHUP)
            until(lambda: other.ask("GET", "new") == b"-ERR new\r\n", "the new plan")
            assert wire.ask("EXEC") == b"*1\r\n+OK\r\n"
            assert wire.ask("GET", "a") == b"$1\r\n1\r\n"
            assert other.ask("GET", "a") == b"$-1\r\n"

    def test_subscription_outlives_a_reload(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        with Wire(address_of(config)) as wire, Wire(address_of(config)) as other:
            wire.ask("SUBSCRIBE", "ch")
            config["listeners"]["front"]["routes"].insert(0, {"match": {"key": "new"}, "reply": {"error": "ERR new"}})
            proxy.write(config)
            proxy.signal(signal.SIGHUP)
            until(lambda: other.ask("GET", "new") == b"-ERR new\r\n", "the new plan")
            assert other.ask("PUBLISH", "ch", "x") == b":1\r\n"
            assert b"message" in wire.reply()

    def test_broken_configuration_changes_nothing(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        with Wire(address_of(config)) as wire:
            wire.ok("SET", "a", "1")
            good = proxy.file.read_text()
            proxy.file.write_text(good.replace("to: main", "to: nowhere"))
            proxy.signal(signal.SIGHUP)
            until(lambda: "nowhere" in proxy.log.read_text(), "the fault to be logged")
            assert wire.ask("GET", "a") == b"$1\r\n1\r\n"
            with Wire(address_of(config)) as fresh:
                assert fresh.ask("GET", "a") == b"$1\r\n1\r\n"

    def test_listener_added_and_removed(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        port = free_port()
        config["listeners"]["second"] = {"bind": f"127.0.0.1:{port}", "protocol": "redis", "to": "main"}
        proxy.write(config)
        proxy.signal(signal.SIGHUP)

        def answers() -> bool:
            with Wire(("127.0.0.1", port)) as wire:
                return wire.is_open()

        until(answers, "the new listener")
        del config["listeners"]["second"]
        proxy.write(config)
        proxy.signal(signal.SIGHUP)

        def refuses() -> bool:
            try:
                Wire(("127.0.0.1", port), timeout=1).close()
            except ConnectionError:
                return True
            return False

        until(refuses, "the removed listener to be closed")
        with Wire(address_of(config)) as wire:
            assert wire.is_open()


class TestDrain:
    def test_under_load_without_a_single_error(self, start_proxy: Start, config: dict[str, Any]) -> None:
        """Clients at work are served to their end, then the process leaves with 0."""
        proxy = start_proxy(config)
        address = address_of(config)
        fill(address, 1000)
        load = Checker(address, total=400_000, connections=100, depth=20, keys=1000, pace=0.5).start()
        until(lambda: load.progressed(50_000), "some load")
        code: list[int] = []
        stopper = threading.Thread(target=lambda: code.append(proxy.stop()))
        stopper.start()
        until(
            lambda: load.over or load.report.farewells or load.report.lost,
            "the load to end, or clients to be sent away between two batches",
        )
        load.over = True
        report = load.wait()
        stopper.join()
        assert code == [0], proxy.log.read_text()[-2000:]
        report.assert_clean()

    def test_idle_clients_do_not_hold_it_up(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        wires = [Wire(address_of(config)) for _ in range(20)]
        for wire in wires:
            wire.ask("PING")
        assert proxy.stop(timeout=8) == 0
        for wire in wires:
            assert wire.rest() == b""
            wire.close()

    def test_request_in_flight_is_answered(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        with Wire(address_of(config)) as wire:
            wire.send(
                "EVAL", "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 2 do end return 'done'", 0
            )
            until(lambda: len(proxy.workers()) > 0 and stats_streams(proxy) > 0, "the request to be in flight")
            stopper = threading.Thread(target=proxy.stop)
            stopper.start()
            assert wire.reply() == b"$4\r\ndone\r\n"
            stopper.join()

    def test_new_connections_are_refused_while_draining(self, start_proxy: Start, config: dict[str, Any]) -> None:
        config["drain_timeout"] = "5s"
        proxy = start_proxy(config)
        address = address_of(config)
        with Wire(address) as holder:
            holder.ok("MULTI")
            stopper = threading.Thread(target=proxy.stop)
            stopper.start()

            def refused() -> bool:
                try:
                    with Wire(address, timeout=0.3) as wire:
                        return not wire.is_open()
                except OSError:
                    return True

            until(refused, "new connections to be refused")
            assert holder.ask("SET", "a", "1") == b"+QUEUED\r\n"
            assert holder.ask("EXEC") == b"*1\r\n+OK\r\n"
        stopper.join()

    def test_drain_timeout_ends_a_client_that_stays(self, start_proxy: Start, config: dict[str, Any]) -> None:
        config["drain_timeout"] = "500ms"
        proxy = start_proxy(config)
        with Wire(address_of(config)) as wire:
            wire.send("BLPOP", "never", 0)
            until(lambda: stats_streams(proxy) > 0, "the client to wait")
            assert proxy.stop(timeout=6) in (0, 3)
            wire.rest()


def stats_streams(proxy: ProxyProcess) -> int:
    """Requests in flight, as the statistics tell."""

    def walk(node: Any) -> int:
        if isinstance(node, dict):
            return sum(
                value if key == "requests_active" and isinstance(value, int) else walk(value)
                for key, value in node.items()
            )
        if isinstance(node, list):
            return sum(walk(value) for value in node)
        return 0

    return walk(proxy.stats())


class TestWorkerThatDies:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_killed_under_load_is_replaced(self, start_proxy: Start, config: dict[str, Any], workers: int) -> None:
        """Its connections are lost, nothing else: the listener stays, no reply is wrong, service goes on."""
        config["workers"] = workers
        proxy = start_proxy(config)
        address = address_of(config)
        fill(address, 1000)
        load = Checker(address, connections=100, depth=20, keys=1000).start()
        for _ in range(2):
            asked = load.report.asked
            until(lambda more=asked: load.progressed(more + 30_000), "some load")  # type: ignore[misc]
            before = {process.pid for process in proxy.workers()}
            os.kill(min(before), signal.SIGKILL)
            until(lambda old=before: len({process.pid for process in proxy.workers()} - old) >= 1, "a new worker")  # type: ignore[misc]
        asked = load.report.asked
        until(lambda: load.progressed(asked + 30_000), "load on the new worker")
        report = load.stop()
        assert not report.wrong, report.wrong[:5]
        assert not report.errors, report.errors
        assert report.absent == 0
        assert report.refused == 0, "the listening socket was lost with the worker"

    def test_counters_do_not_go_back(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        with Wire(address_of(config)) as wire:
            wire.ask_all(*[["GET", "a"]] * 100)
        until(lambda: requests_total(proxy) >= 100, "the requests to be counted")
        count = requests_total(proxy)
        old = {process.pid for process in proxy.workers()}
        os.kill(min(old), signal.SIGKILL)
        until(lambda: {process.pid for process in proxy.workers()} - old, "a new worker")
        assert requests_total(proxy) >= count

    def test_controller_killed_leaves_the_traffic_alone(self, start_proxy: Start, config: dict[str, Any]) -> None:
        proxy = start_proxy(config)
        address = address_of(config)
        fill(address, 300)
        load = Checker(address, connections=20, depth=10, keys=300).start()
        until(lambda: load.progressed(5_000), "some load")
        controllers = proxy.children("control")
        assert controllers, [process.name() for process in proxy.family()]
        controllers[0].kill()
        asked = load.report.asked
        until(lambda: load.progressed(asked + 50_000), "load without a controller")
        load.stop().assert_clean()
        until(lambda: proxy.admin("/ready")[0] == 200, "a new controller")


def requests_total(proxy: ProxyProcess) -> int:
    total = 0

    def walk(node: Any, path: tuple[str, ...]) -> None:
        nonlocal total
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, (*path, str(key)))
        elif isinstance(node, list):
            for value in node:
                walk(value, path)
        elif isinstance(node, int) and path[-1] == "requests_total" and path[0].startswith("listener"):
            total += node

    walk(proxy.stats(), ())
    return total
