"""What is measured: loads, and the figures mosnpy is to reach under each.

A figure is a ratio of CPU time per request, peer over mosnpy, both measured in the same round: above 1 mosnpy is cheaper.
Loads marked proxy-bound come from our own generator, which keeps the proxy's core busy; claims name their load.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Load:
    """One shape of traffic from bench/macro/loadgen.c."""

    name: str
    title: str
    connections: int = 50
    pipeline: int = 1
    op: str = "get"
    value: int = 64  # bytes
    kind: str = "redis"  # how the proxies are configured: "redis" where they can, "tcp" as a pipe
    tenants: int = 0  # keys under that many prefixes instead of the three of the configurations
    targets: dict[str, float] = field(default_factory=dict)  # peer -> least ratio peer/mosnpy
    extra: bool = False  # left out of the quick profile, unless its scenario is named

    def arguments(self) -> list[str]:
        return [
            *("--connections", str(self.connections), "--pipeline", str(self.pipeline), "--op", self.op),
            *("--value", str(self.value), "--tenants", str(self.tenants)),
        ]


@dataclass(frozen=True)
class Scenario:
    """A name for the command line and the loads it stands for."""

    name: str
    about: str
    loads: tuple[Load, ...] = ()


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "redis-p1",
            "GET and SET one at a time on 50 connections",
            (
                Load(
                    "redis-p1-get",
                    "Redis GET, P1, 50 connections",
                    targets={"envoy": 1.8, "haproxy": 1.8, "twemproxy": 1.3, "relay": 1.6},
                ),
                Load("redis-p1-set", "Redis SET, P1, 50 connections", op="set", extra=True),
            ),
        ),
        Scenario(
            "redis-p16",
            "GET and SET pipelined by 16 on 50 connections",
            (
                Load(
                    "redis-p16-get",
                    "Redis GET, P16, 50 connections",
                    pipeline=16,
                    targets={"envoy": 7, "twemproxy": 4, "relay": 1.5},
                ),
                Load("redis-p16-set", "Redis SET, P16, 50 connections", pipeline=16, op="set"),
            ),
        ),
        Scenario(
            "redis-1000",
            "GET one at a time on 1,000 connections",
            (
                Load(
                    "redis-1000-get",
                    "Redis GET, P1, 1,000 connections",
                    connections=1000,
                    targets={"envoy": 2.2, "twemproxy": 2.0},
                ),
            ),
        ),
        Scenario(
            "tcp",
            "the same GETs through a TCP listener that knows no Redis",
            (Load("tcp-p1", "TCP pipe, P1, 50 connections", kind="tcp", targets={"relay": 0.96}),),
        ),
        Scenario(
            "redis-1mib",
            "values of 1 MiB on 8 connections",
            (
                Load("redis-1mib-get", "Redis GET of 1 MiB", connections=8, value=MIB, targets={"envoy": 1.4}),
                Load("redis-1mib-set", "Redis SET of 1 MiB", connections=8, value=MIB, op="set", extra=True),
            ),
        ),
        Scenario("redis-benchmark", "the real tool against a real redis-server (leaves every proxy half idle)"),
        Scenario("routes-10000", "mosnpy with 10 and with 10,000 key-prefix routes, same load"),
        Scenario("controller-busy", "mosnpy while Python burns 10 ms of every 20 ms in the worker's main thread"),
        Scenario("memory", "resident memory at start, after 1 M requests, 10,000 reconnects, per idle connection"),
    )
}

QUICK = ("redis-p1", "redis-p16", "redis-1000", "tcp", "redis-1mib", "redis-benchmark")
FULL = tuple(SCENARIOS)
