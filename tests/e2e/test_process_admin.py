"""The admin API of a running proxy with real traffic behind it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import Wire
from mosnpy.testing.waiting import free_port, until

Start = Callable[..., ProxyProcess]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(main_server: RedisServer, port: int) -> dict[str, Any]:
    main_server.clean()
    return {
        "workers": 2,
        "listeners": {
            "cache": {
                "bind": f"127.0.0.1:{port}",
                "protocol": "redis",
                "routes": [
                    {"name": "no-keys", "match": {"redis.command": "KEYS"}, "reply": {"error": "ERR disabled"}},
                    {"name": "all", "to": "main", "timeout": "300ms"},
                ],
            }
        },
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
    }


def metrics(proxy: ProxyProcess) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = proxy.admin("/metrics")[1]
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_add_up(start_proxy: Start, config: dict[str, Any], port: int, main_server: RedisServer) -> None:
    proxy = start_proxy(config)
    for number in range(20):  # connections spread over both workers
        with Wire(("127.0.0.1", port)) as wire:
            wire.ok("SET", f"k{number}", "v")
            assert wire.ask("GET", f"k{number}") == b"$1\r\nv\r\n"
            assert wire.ask("LPUSH", f"k{number}", "v").startswith(b"-WRONGTYPE")
            assert wire.ask("KEYS", "*") == b"-ERR disabled\r\n"
    stats = until(
        lambda: s if (s := proxy.stats())["listeners"]["cache"]["connections_active"] == 0 else None, "the clients' end"
    )
    cache, main = stats["listeners"]["cache"], stats["upstreams"]["main"]
    assert (cache["connections_total"], cache["requests_total"]) == (20, 80)
    assert cache["bytes_received"] > 0
    assert cache["bytes_sent"] > 0
    assert (main["requests_total"], main["responses_ok"], main["responses_client_error"]) == (60, 40, 20)
    assert main["latency"]["count"] == 60
    assert main["latency"]["p50_us"] > 0
    assert main["endpoints"][main_server.endpoint]["requests_total"] == 60
    routes = {name.partition("/")[2]: values["requests_total"] for name, values in stats["routes"].items()}
    assert routes == {"no-keys": 20, "all": 60}
    assert stats["operations"]["redis.GET"]["requests_total"] == 20
    assert len(stats["workers"]) == 2

    found = metrics(proxy)
    assert found["mosnpy_listener_requests_total", frozenset({("listener", "cache")})] == 80
    assert found["mosnpy_upstream_latency_seconds_count", frozenset({("upstream", "main")})] == 60
    assert found["mosnpy_operation_requests_total", frozenset({("protocol", "redis"), ("command", "SET")})] == 20
    assert ("mosnpy_operation_requests_total", frozenset({("protocol", "redis"), ("command", "ZADD")})) not in found


@pytest.mark.may_skip
@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
def test_promtool_finds_nothing(start_proxy: Start, config: dict[str, Any], port: int) -> None:
    proxy = start_proxy(config)
    with Wire(("127.0.0.1", port)) as wire:
        wire.ok("SET", "a", "b")
    text = proxy.admin("/stats/prometheus")[1]
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_counters_outlive_workers(start_proxy: Start, config: dict[str, Any], port: int) -> None:
    proxy = start_proxy(config)
    with Wire(("127.0.0.1", port)) as wire:
        wire.ok("SET", "a", "b")
    for worker in proxy.workers():
        worker.kill()

    def restarts() -> int:
        return sum(each["restarts"] for each in json.loads(proxy.admin("/status")[1])["workers"])

    until(lambda: restarts() == 2 and proxy.admin("/ready")[0] == 200, "new workers")
    stats = proxy.stats()
    assert stats["listeners"]["cache"]["requests_total"] == 1
    assert stats["listeners"]["cache"]["connections_active"] == 0


def test_secrets_are_not_shown(start_proxy: Start, config: dict[str, Any]) -> None:
    config["listeners"]["cache"]["auth"] = {"password": "hush-hush"}
    proxy = start_proxy(config)
    for path in ("/config", "/config?format=yaml", "/status", "/stats", "/clusters"):
        status, body = proxy.admin(path)
        assert (status, "hush-hush" in body) == (200, False), path
    shown = json.loads(proxy.admin("/config")[1])
    assert shown["listeners"]["cache"]["auth"]["password"].strip("*") == ""
    assert shown["drain_timeout"] == "30s"  # defaults are there


def endpoint_states(proxy: ProxyProcess, upstream: str = "main") -> dict[str, str]:
    clusters = json.loads(proxy.admin("/clusters")[1])["upstreams"]
    return {each["name"]: each["health"] for one in clusters if one["name"] == upstream for each in one["endpoints"]}


def test_health_checks(start_proxy: Start, config: dict[str, Any], port: int, short_tmp: Path) -> None:
    with RedisServer(short_tmp / f"sick-{port}") as sick, RedisServer(short_tmp / f"fit-{port}") as fit:
        health = {"interval": "50ms", "timeout": "500ms", "healthy_after": 1, "unhealthy_after": 2}
        config["upstreams"]["main"].update(endpoints=[sick.endpoint, fit.endpoint], health=health)
        proxy = start_proxy(config)
        until(
            lambda: endpoint_states(proxy) == {sick.endpoint: "healthy", fit.endpoint: "healthy"},
            "checks to have begun",
        )
        sick.freeze()  # accepts, never answers: only a check can tell
        until(lambda: endpoint_states(proxy)[sick.endpoint] == "unhealthy", "it to be found out")

        def served() -> bool:
            """The cores look at the table a few times a second; until then a request may run into its timeout."""
            with Wire(("127.0.0.1", port)) as wire:
                return all(wire.ask("SET", f"k{number}", "v") == b"+OK\r\n" for number in range(20))

        until(served, "requests to go to the healthy one only")
        assert fit.number("DBSIZE") == 20
        sick.thaw()
        until(lambda: endpoint_states(proxy)[sick.endpoint] == "healthy", "it to be healthy again")
        assert "is healthy again" in proxy.log.read_text()


def test_an_endpoint_taken_out_by_hand(start_proxy: Start, config: dict[str, Any], port: int, short_tmp: Path) -> None:
    with RedisServer(short_tmp / f"out-{port}") as out, RedisServer(short_tmp / f"in-{port}") as stays:
        config["upstreams"]["main"]["endpoints"] = [out.endpoint, stays.endpoint]
        proxy = start_proxy(config)
        assert proxy.admin(f"/health/fail?upstream=main&endpoint={out.endpoint}", "POST")[0] == 200
        assert endpoint_states(proxy)[out.endpoint] == "drained"

        def settled() -> bool:
            """The cores look at the table a few times a second."""
            before = out.calls("set")
            with Wire(("127.0.0.1", port)) as wire:
                for number in range(20):
                    wire.ok("SET", f"k{number}", "v")
            return out.calls("set") == before

        until(settled, "requests to go to the other one only")
        assert proxy.admin(f"/health/ok?upstream=main&endpoint={out.endpoint}", "POST")[0] == 200
        until(lambda: not settled(), "it to be back")


def test_reload_by_post(start_proxy: Start, config: dict[str, Any]) -> None:
    proxy = start_proxy(config)
    status, body = proxy.admin("/reload", "POST")
    assert (status, json.loads(body)["generation"]) == (200, 2)
    good = proxy.file.read_text()
    proxy.file.write_text(good.replace("to: main", "to: mian"))
    status, body = proxy.admin("/reload", "POST")
    assert status == 422
    assert "unknown upstream 'mian', did you mean 'main'?" in json.loads(body)["faults"][0]
    assert "^^^^" in json.loads(body)["faults"][0]
    assert proxy.generation() == 2
    assert ("mosnpy_config_last_reload_success", frozenset()) in metrics(proxy)
    assert metrics(proxy)["mosnpy_config_last_reload_success", frozenset()] == 0


def test_the_admin_api_on_a_unix_socket(short_tmp: Path, start_proxy: Start, config: dict[str, Any], port: int) -> None:
    path = short_tmp / f"admin-{port}"
    proxy = ProxyProcess(short_tmp / f"unix-{port}", config)
    proxy.config["admin"] = {"bind": f"unix:{path}"}
    proxy.write(proxy.config)
    import sys

    process = subprocess.Popen([sys.executable, "-m", "mosnpy", "run", str(proxy.file)], stderr=subprocess.DEVNULL)
    try:
        until(path.exists, "the socket")

        def status() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "mosnpy", "status", "--admin", f"unix:{path}"],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip

        done = until(lambda: found if (found := status()).returncode == 0 else None, "the status")
        assert "ready" in done.stdout
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert not path.exists()
