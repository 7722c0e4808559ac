"""What the admin API shows and does, as the controller gives it. No HTTP here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mosnpy import __version__
from mosnpy.observe.prometheus import Gauge
from mosnpy.observe.snapshot import Snapshot, split_name
from mosnpy.observe.table import count, table
from mosnpy.server.messages import Loaded, Reloaded, Status
from mosnpy.upstream.health import DRAINED, UNHEALTHY, Finding

_TEXT = {DRAINED: "drained", UNHEALTHY: "unhealthy"}


@dataclass(slots=True)
class AdminState:
    """Everything the API needs; the controller replaces `loaded` and `status` as news come in."""

    loaded: Loaded
    status: Status
    health: memoryview
    findings: Mapping[tuple[str, str], Finding]  # by upstream and endpoint
    snapshot: Callable[[], Snapshot]
    reload: Callable[[], Awaitable[Reloaded]]
    drain: Callable[[], None]

    def ready(self) -> tuple[bool, list[str]]:
        """Whether new clients should be sent here, and why not."""
        reasons = ["draining"] if self.status.draining else []
        for worker in self.status.workers:
            if worker["pid"] is None:
                reasons.append(f"worker {worker['index']} is not running")
            elif not worker["generation"]:
                reasons.append(f"worker {worker['index']} has no plan yet")
        return not reasons, reasons

    def status_json(self) -> dict[str, Any]:
        ready, reasons = self.ready()
        return {
            "version": __version__,
            "pid": self.status.pid,
            "uptime_s": round(time.time() - self.status.started, 1),
            "ready": ready,
            "reasons": reasons,
            "draining": self.status.draining,
            "generation": self.status.generation,
            "sources": self.status.sources,
            "listeners": self.status.listeners,
            "workers": self.status.workers,
            "last_reload": self.status.reload,
        }

    def gauges(self) -> list[Gauge]:
        """What Prometheus wants to know beside the slots."""
        ready, _ = self.ready()
        reload = self.status.reload
        restarts = sum(worker["restarts"] for worker in self.status.workers)
        gauges = [
            Gauge("mosnpy_build_info", "1; the version is the label", 1, {"version": __version__}),
            Gauge("mosnpy_ready", "1 when new clients are welcome", ready, {}),
            Gauge("mosnpy_start_time_seconds", "when the supervisor started", self.status.started, {}),
            Gauge("mosnpy_config_generation", "plan that every worker has", self.status.generation, {}),
            Gauge("mosnpy_config_last_reload_success", "1 when the latest configuration was taken", reload["ok"], {}),
            Gauge("mosnpy_config_last_reload_timestamp_seconds", "when it was tried", reload["time"], {}),
            Gauge("mosnpy_worker_restarts", "workers that died and were started again", restarts, {}),
        ]
        for upstream, endpoint in self.endpoints():
            labels = {"upstream": upstream["name"], "endpoint": endpoint["name"]}
            fit = self.health[endpoint["slot"]] not in _TEXT
            gauges.append(Gauge("mosnpy_endpoint_healthy", "0 when checks or the operator took it out", fit, labels))
        return gauges

    # -- endpoints --

    def endpoints(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return [(upstream, endpoint) for upstream in self.loaded.upstreams for endpoint in upstream["endpoints"]]

    def find(self, upstream: str, endpoint: str) -> dict[str, Any] | None:
        for owner, one in self.endpoints():
            if (owner["name"], one["name"]) == (upstream, endpoint):
                return one
        return None

    def clusters(self) -> list[dict[str, Any]]:
        counted = {split_name(block.name): block.values for block in self.snapshot().of("endpoint")}
        return [
            {
                "name": upstream["name"],
                "protocol": upstream["codec"],
                "lb": upstream["lb"]["policy"],
                "endpoints": [
                    self._endpoint(upstream["name"], endpoint, counted.get((upstream["name"], endpoint["name"]), {}))
                    for endpoint in upstream["endpoints"]
                ],
            }
            for upstream in self.loaded.upstreams
        ]

    def _endpoint(self, upstream: str, endpoint: dict[str, Any], counted: Mapping[str, int]) -> dict[str, Any]:
        finding = self.findings.get((upstream, endpoint["name"]))
        unknown = "healthy" if finding is not None and finding.checks else "unknown"
        shown: dict[str, Any] = {
            "name": endpoint["name"],
            "weight": endpoint["weight"],
            "labels": endpoint["labels"],
            "health": _TEXT.get(self.health[endpoint["slot"]], unknown),
            "ejected": counted.get("ejected", 0) > 0,
            **{name: value for name, value in counted.items() if name != "ejected"},
        }
        if finding is not None and finding.checks:
            shown["check"] = {
                "ok": not finding.reason,
                "reason": finding.reason,
                "at": finding.at,
                "duration_us": round(finding.duration * 1e6),
                "checks": finding.checks,
                "failures": finding.failures,
            }
        return shown


def clusters_text(clusters: list[dict[str, Any]]) -> str:
    """Within 80 columns while nothing is wrong: what the latest check complained of stands in a column only then."""
    head = ["UPSTREAM", "ENDPOINT", "HEALTH", "EJECTED", "CONNS", "ACTIVE", "REQUESTS", "CONN ERR"]
    rows = [
        [
            upstream["name"], each["name"], each["health"], "yes" if each["ejected"] else "no",
            each.get("connections_active", 0), each.get("requests_active", 0), count(each.get("requests_total", 0)),
            count(each.get("connect_failures", 0)),
        ]
        for upstream in clusters
        for each in upstream["endpoints"]
    ]  # fmt: skip
    notes = [each.get("check", {}).get("reason", "") for upstream in clusters for each in upstream["endpoints"]]
    if any(notes):
        head.append("NOTE")
        rows = [[*row, note] for row, note in zip(rows, notes, strict=True)]
    return table(head, rows, "llllrrrrl")
