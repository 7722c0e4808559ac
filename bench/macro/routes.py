"""Does the number of routes matter? mosnpy against itself: 10 and 10,000 key-prefix routes, the same keys.

The keys spread over 10,000 prefixes in both cases. With 10 routes nearly all of them fall through to the catch-all; with
10,000 each meets its own route, so the larger table pays for its cache misses too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from .load import Load
from .measure import Clock, Entry, Outcome, contest
from .process import Cores
from .proxies import ALL, Running
from .report import Fact

FEW, MANY = 10, 10_000
LEAST_RATIO = 1.10  # wanted: CPU per request with MANY routes over that with FEW
LOADS = (
    Load("routes-10000-p1", "Redis GET, P1, by number of routes", tenants=MANY),
    Load("routes-10000-p16", "Redis GET, P16, by number of routes", pipeline=16, tenants=MANY),
)
HEAD = """version: 1
workers: 1
admin: {bind: 127.0.0.1:$admin}
upstreams:
  main: {protocol: redis, endpoints: [127.0.0.1:$upstream]}
listeners:
  cache:
    bind: 127.0.0.1:$port
    protocol: redis
    routes:
"""


def config(count: int) -> str:
    """A configuration with `count` prefix routes and a catch-all, to be filled in like those in peers/."""
    routes = "".join(f'      - {{match: {{redis.key: "t{n:05}:*"}}, to: main}}\n' for n in range(count))
    return HEAD + routes + "      - to: main\n"


def _entry(count: int, cores: Cores, directory: Path) -> Entry:
    name = f"{count:,} routes"

    def begin(upstream: int) -> Running:
        home = directory / f"routes-{count}"
        running = ALL["mosnpy"].start("redis", upstream, cores, home, config(count))
        return dataclasses.replace(running, name=name)

    return Entry(name, begin)


def compare(
    clock: Clock, cores: Cores, directory: Path, seconds: float, tell: Callable[[str], None]
) -> tuple[list[Outcome], list[Fact]]:
    outcomes, facts = [], []
    for load in LOADS:
        entries = [_entry(count, cores, directory) for count in (FEW, MANY)]
        outcome = contest(load, entries, clock, cores, directory, seconds, tell)
        outcome.base = entries[0].name
        outcomes.append(outcome)
        ratios = sorted(outcome.ratios(entries[1].name))
        if ratios:
            facts.append(
                Fact(
                    f"CPU per request with {MANY:,} routes / with {FEW} (P{load.pipeline})",
                    ratios[len(ratios) // 2],
                    "",
                    LEAST_RATIO,
                    f"rounds {ratios[0]:.2f}-{ratios[-1]:.2f}",
                )
            )
    return outcomes, facts
