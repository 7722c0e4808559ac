"""What is measured: loads, and the figures mosnpy is to reach under each.

A figure is a ratio of CPU time per request, peer over mosnpy, both measured in the same round: above 1 mosnpy is cheaper.
Loads marked proxy-bound come from our own generator, which keeps the proxy's core busy; claims name their load.
"""

from __future__ import annotations

from .load import MIB, Load, Scenario
from .scenario_http import HTTP_SCENARIOS

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
        *HTTP_SCENARIOS,
    )
}

QUICK = ("redis-p1", "redis-p16", "redis-1000", "tcp", "redis-1mib", "redis-benchmark")
HTTP_QUICK = tuple(scenario.name for scenario in HTTP_SCENARIOS if scenario.loads)
FULL = tuple(SCENARIOS)
