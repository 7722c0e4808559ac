"""The exposition text, read by prometheus_client's parser and, where it is installed, judged by promtool."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mosnpy.observe.layout import Layout
from mosnpy.observe.prometheus import Gauge, render
from mosnpy.observe.snapshot import Block, Histogram, Snapshot

NAMES = {
    "worker": [
        ("polls", "C", "turns of the loop"),
        ("connections", "G", "open sockets"),
        ("busy_us", "C", "time working"),
    ],
    "listener": [("connections_total", "C", "accepted"), ("connections_active", "G", "open")],
    "upstream": [("requests_total", "C", "requests"), ("bytes_sent", "C", "bytes to endpoints")],
    "endpoint": [("requests_total", "C", "requests"), ("ejected", "G", "1 while taken out")],
    "route": [("requests_total", "C", "requests")],
    "operation": [("requests_total", "C", "requests"), ("errors_total", "C", "errors")],
    "failure": [("NONE", "--", "none"), ("NO_ROUTE", "NR", "no route"), ("TIMEOUT", "UT", "too late")],
}
LAYOUT = Layout.of(
    NAMES, [100, 2500, 1000000], {"worker": 3, "listener": 5, "upstream": 7, "endpoint": 2, "route": 1, "operation": 2}
)
ODD = 'a"b\\c\nd'


def snapshot() -> Snapshot:
    return Snapshot(
        0.0,
        LAYOUT,
        [{"polls": 5, "connections": 2, "busy_us": 1_500_000}, {"polls": 7, "connections": 0, "busy_us": 3}],
        [
            Block("listener", "cache", {"connections_total": 3, "connections_active": 1}, {"TIMEOUT": 4}),
            Block("listener", ODD, {"connections_total": 1, "connections_active": 0}),
            Block("upstream", "main", {"requests_total": 9, "bytes_sent": 2**60}, latency=Histogram([100, 2500, 1000000], [1, 2, 3, 4], 12_000_001)),
            Block("endpoint", "main/unix:/run/redis.sock", {"requests_total": 9, "ejected": 1}),
            Block("route", "cache/cache.0", {"requests_total": 1}),
            Block("operation", "redis.GET", {"requests_total": 5, "errors_total": 0}),
            Block("operation", "redis.SET", {"requests_total": 0, "errors_total": 0}),
        ],
    )  # fmt: skip


TEXT = render(snapshot(), [Gauge("mosnpy_ready", "1 when new clients are welcome", True, {})])


def samples() -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in text_string_to_metric_families(TEXT):
        for sample in family.samples:
            found[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return found


def value(name: str, **labels: str) -> float | None:
    return samples().get((name, tuple(sorted(labels.items()))))


def test_values_and_labels() -> None:
    assert value("mosnpy_ready") == 1
    assert value("mosnpy_worker_polls_total", worker="1") == 7
    assert value("mosnpy_worker_connections", worker="0") == 2
    assert value("mosnpy_worker_busy_seconds_total", worker="0") == 1.5
    assert value("mosnpy_listener_connections_total", listener="cache") == 3
    assert value("mosnpy_listener_failures_total", listener="cache", failure="TIMEOUT") == 4
    assert value("mosnpy_listener_failures_total", listener="cache", failure="NO_ROUTE") == 0
    assert value("mosnpy_listener_connections_total", listener=ODD) == 1
    assert value("mosnpy_upstream_bytes_sent_total", upstream="main") == 2**60
    assert value("mosnpy_endpoint_ejected", upstream="main", endpoint="unix:/run/redis.sock") == 1
    assert value("mosnpy_route_requests_total", listener="cache", route="cache.0") == 1


def test_commands_nobody_used_are_left_out() -> None:
    assert value("mosnpy_operation_requests_total", protocol="redis", command="GET") == 5
    assert value("mosnpy_operation_requests_total", protocol="redis", command="SET") is None


def test_latency_is_a_cumulative_histogram_in_seconds() -> None:
    name = "mosnpy_upstream_latency_seconds"
    buckets = [value(f"{name}_bucket", upstream="main", le=le) for le in ("0.0001", "0.0025", "1", "+Inf")]
    assert buckets == [1, 3, 6, 10]
    assert value(f"{name}_count", upstream="main") == 10
    assert value(f"{name}_sum", upstream="main") == pytest.approx(12.000001)


def test_every_family_has_a_type_and_help_and_stands_together() -> None:
    families = list(text_string_to_metric_families(TEXT))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert all(family.documentation and family.type in ("counter", "gauge", "histogram") for family in families)
    counters = [line.split("{")[0].split(" ")[0] for line in TEXT.splitlines() if "_total" in line and line[0] != "#"]
    assert counters
    for family in families:
        assert family.type != "counter" or all(sample.name.endswith("_total") for sample in family.samples)


def test_nothing_running() -> None:
    assert render(Snapshot(0.0, LAYOUT, [], [])) == ""


@pytest.mark.may_skip
@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not installed (Debian: apt install prometheus)"
)
def test_promtool() -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=TEXT, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
