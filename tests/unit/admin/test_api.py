"""The admin API over a state made by hand: what it shows, what it does, whom it refuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from mosnpy.admin.api import build
from mosnpy.admin.state import AdminState, clusters_text
from mosnpy.observe.layout import Layout
from mosnpy.observe.slots import SlotRegistry
from mosnpy.observe.snapshot import Snapshot, take
from mosnpy.server.messages import Loaded, Reloaded, Status
from mosnpy.upstream.health import Finding

NAMES = {
    "worker": [("polls", "C", "turns")],
    "listener": [("connections_total", "C", "accepted")],
    "upstream": [("requests_total", "C", "requests")],
    "endpoint": [
        ("requests_total", "C", "r"), ("requests_active", "G", "a"), ("connections_active", "G", "c"),
        ("connect_failures", "C", "f"), ("ejected", "G", "e"),
    ],
    "route": [("requests_total", "C", "requests")],
    "operation": [("requests_total", "C", "requests")],
    "failure": [("NONE", "--", "none")],
}  # fmt: skip
SIZES = {"worker": 1, "listener": 2, "upstream": 4, "endpoint": 5, "route": 1, "operation": 1}
LAYOUT = Layout.of(NAMES, [100], SIZES)


@dataclass
class Fixture:
    state: AdminState
    row: memoryview
    calls: list[str] = field(default_factory=list)

    def get(self, path: str, method: str = "GET", host: str = "", **headers: str) -> tuple[int, Any]:
        async def ask() -> tuple[int, Any]:
            async with TestClient(TestServer(build(self.state, "proxy.internal"))) as client:
                sent = {**headers, **({"Host": host} if host else {})}
                answer = await client.request(method, path, headers=sent)
                return (
                    answer.status,
                    await answer.json() if answer.content_type == "application/json" else await answer.text(),
                )

        return asyncio.run(ask())


@pytest.fixture
def admin() -> Iterator[Fixture]:
    registry = SlotRegistry(SIZES, total=100)
    registry.begin(1)
    registry.block("listener", "cache")
    registry.block("upstream", "main")
    bases = [registry.block("endpoint", f"main/{name}") for name in ("a:1", "b:1")]
    row = memoryview(bytearray(800)).cast("Q")
    row[bases[0]], row[bases[0] + 2], row[bases[1] + 4] = 42, 3, 1
    endpoints = [{"name": n, "slot": s, "weight": 1, "labels": {}} for n, s in (("a:1", 0), ("b:1", 1))]
    upstreams = [{"name": "main", "codec": "redis", "lb": {"policy": "ring_hash"}, "endpoints": endpoints}]
    loaded = Loaded(1, b"", [], registry.pack(), [], 1, 1000, None, [], upstreams, '{"version": 1}', [])
    workers = [{"index": 0, "pid": 5, "generation": 1, "restarts": 0}]
    latest = {"ok": True, "time": 1.0, "faults": []}
    status = Status(1, False, workers, latest, time.time(), 4, ["a.yaml"], [{"name": "cache", "address": "x:1"}])
    finding = Finding(False, 0, 9, 4, "no answer within 1 s", 5.0, 0.25)
    calls: list[str] = []

    async def reload() -> Reloaded:
        calls.append("reload")
        return Reloaded(1, False, 1, ["a.yaml:1:1: error: broken"])

    def snapshot() -> Snapshot:
        return take(LAYOUT, registry, [row])

    health = memoryview(bytearray([0, 1]))
    state = AdminState(
        loaded, status, health, {("main", "b:1"): finding}, snapshot, reload, lambda: calls.append("drain")
    )
    return Fixture(state, row, calls)


def test_ready(admin: Fixture) -> None:
    assert admin.get("/ready") == (200, {"ready": True, "reasons": [], "generation": 1})
    worker = admin.state.status.workers[0]
    for changed, reason in (
        ({"pid": None}, "worker 0 is not running"),
        ({"generation": 0}, "worker 0 has no plan yet"),
    ):
        admin.state.status = replace(admin.state.status, workers=[{**worker, **changed}])
        assert admin.get("/ready") == (503, {"ready": False, "reasons": [reason], "generation": 1})
    admin.state.status = replace(admin.state.status, workers=[worker], draining=True)
    assert admin.get("/ready")[1]["reasons"] == ["draining"]


def test_index_names_every_path(admin: Fixture) -> None:
    text = admin.get("/")[1]
    app = build(admin.state)
    paths = {route.resource.canonical for route in app.router.routes() if route.resource is not None}
    for path in paths - {"/", "/health/{verdict}"}:
        assert f" {path} " in text


def test_status_and_stats(admin: Fixture) -> None:
    status = admin.get("/status")[1]
    assert (status["pid"], status["sources"], status["last_reload"]["ok"]) == (4, ["a.yaml"], True)
    stats = admin.get("/stats")[1]
    assert stats["upstreams"]["main"]["endpoints"]["a:1"]["requests_total"] == 42


def test_prometheus(admin: Fixture) -> None:
    text = admin.get("/metrics")[1]
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert families["mosnpy_config_last_reload_success"].samples[0].value == 1
    healthy = {sample.labels["endpoint"]: sample.value for sample in families["mosnpy_endpoint_healthy"].samples}
    assert healthy == {"a:1": 1, "b:1": 0}


def test_clusters(admin: Fixture) -> None:
    [upstream] = admin.get("/clusters")[1]["upstreams"]
    first, second = upstream["endpoints"]
    assert (upstream["name"], upstream["protocol"], upstream["lb"]) == ("main", "redis", "ring_hash")
    assert (first["health"], first["ejected"], first["requests_total"], first["connections_active"]) == (
        "unknown",
        False,
        42,
        3,
    )
    assert (second["health"], second["ejected"]) == ("unhealthy", True)
    assert second["check"]["reason"] == "no answer within 1 s"
    text = admin.get("/clusters?format=text")[1]
    assert text.splitlines()[0].startswith("UPSTREAM  ENDPOINT  HEALTH")
    assert "no answer within 1 s" in text


def test_a_table_of_good_endpoints_fits_a_terminal() -> None:
    endpoint = {"health": "unhealthy", "ejected": True, "requests_total": 123_456_789, "connect_failures": 12_345_678}
    upstreams = [{"name": "sessions", "endpoints": [{"name": "127.0.0.1:12345", **endpoint}]}]
    assert max(map(len, clusters_text(upstreams).splitlines())) <= 80


def test_config(admin: Fixture) -> None:
    assert admin.get("/config") == (200, {"version": 1})
    assert admin.get("/config?format=yaml") == (200, "version: 1\n")


def test_reload_and_drain(admin: Fixture) -> None:
    assert admin.get("/reload", "POST") == (
        422,
        {"ok": False, "generation": 1, "faults": ["a.yaml:1:1: error: broken"]},
    )
    assert admin.get("/drain", "POST")[0] == 202
    assert admin.calls == ["reload", "drain"]


def test_endpoints_by_the_operators_word(admin: Fixture) -> None:
    assert admin.get("/health/fail?upstream=main&endpoint=a:1", "POST") == (200, {"ok": True})
    assert admin.state.health[0] == 2
    assert admin.get("/clusters")[1]["upstreams"][0]["endpoints"][0]["health"] == "drained"
    assert admin.get("/health/ok?upstream=main&endpoint=a:1", "POST")[0] == 200
    assert admin.state.health[0] == 0
    assert admin.get("/health/fail?upstream=main&endpoint=c:1", "POST")[0] == 404


@pytest.mark.parametrize("path", ["/reload", "/drain", "/health/fail"])
def test_what_changes_something_is_a_post(admin: Fixture, path: str) -> None:
    assert admin.get(path)[0] in (404, 405)
    assert admin.calls == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1:9901", "localhost", "LOCALHOST:1", "[::1]:9901", "10.0.0.7:80", "proxy.internal:1"]
)
def test_hosts_of_ours(admin: Fixture, host: str) -> None:
    assert admin.get("/ready", host=host)[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:9901", "127.0.0.1.evil.example", "localhost.evil.example", "a b", "[::1"]
)
def test_foreign_hosts(admin: Fixture, host: str) -> None:
    assert admin.get("/ready", host=host)[0] in (400, 403)


def test_pages_from_elsewhere_may_not_post(admin: Fixture) -> None:
    assert admin.get("/drain", "POST", Origin="https://evil.example")[0] == 403
    assert admin.get("/drain", "POST", Origin="null")[0] == 403
    assert admin.calls == []
    assert admin.get("/drain", "POST", Origin="http://127.0.0.1:9901")[0] == 202


def test_unknown_path(admin: Fixture) -> None:
    status, text = admin.get("/nothing")
    assert status == 404
    assert text.startswith("/nothing is none of these\n")
    assert "GET  /status" in text
    assert isinstance(build(admin.state), web.Application)
