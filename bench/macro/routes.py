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
START_SECONDS = 120.0  # mosnpy reads and compiles up to 100,000 routes before it listens
MOST_RATIO = 1.10  # wanted: CPU per request with MANY routes over that with FEW
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


def _entry(name: str, text: str, kind: str, cores: Cores, directory: Path) -> Entry:
    def begin(upstream: int) -> Running:
        home = directory / name.replace(" ", "-")
        running = ALL["mosnpy"].start(kind, upstream, cores, home, text, START_SECONDS)
        return dataclasses.replace(running, name=name)

    return Entry(name, begin)


def versus(
    load: Load,
    configs: dict[str, str],
    wanted: float,
    clock: Clock,
    cores: Cores,
    directory: Path,
    seconds: float,
    tell: Callable[[str], None],
) -> tuple[Outcome, list[Fact]]:
    """mosnpy under one load with two configurations, by name; the second's CPU time is to be at most `wanted` the first's."""
    entries = [_entry(name, text, load.kind, cores, directory) for name, text in configs.items()]
    outcome = contest(load, entries, clock, cores, directory, seconds, tell)
    few, many = configs
    outcome.base = few
    ratios = sorted(outcome.ratios(many))
    if not ratios:
        return outcome, []
    about = f"{load.title}: CPU per request with {many} / with {few}"
    detail = f"rounds {ratios[0]:.2f}-{ratios[-1]:.2f}"
    return outcome, [Fact(about, ratios[len(ratios) // 2], "", wanted, detail)]


def compare(
    clock: Clock, cores: Cores, directory: Path, seconds: float, tell: Callable[[str], None]
) -> tuple[list[Outcome], list[Fact]]:
    configs = {f"{count:,} routes": config(count) for count in (FEW, MANY)}
    outcomes, facts = [], []
    for load in LOADS:
        outcome, found = versus(load, configs, MOST_RATIO, clock, cores, directory, seconds, tell)
        outcomes.append(outcome)
        facts += found
    return outcomes, facts
