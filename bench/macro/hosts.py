"""Do virtual hosts cost? mosnpy against itself: ten routes for any host, and ten routes for each of 10,000 hosts.

The requests are the same in both cases: all hosts, all ten paths. With the larger table each meets a route of its own host.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .load import HttpLoad
from .measure import Clock, Outcome
from .process import Cores
from .report import Fact
from .routes import versus

HOSTS, PATHS = 10_000, 10
MOST_RATIO = 1.10  # wanted: CPU per request with all hosts over that with none
LOAD = HttpLoad("http-hosts", "HTTP/1.1, by number of hosts", kind="http1", hosts=HOSTS)
HEAD = """version: 1
workers: 1
admin: {bind: 127.0.0.1:$admin}
upstreams:
  main: {protocol: http1, endpoints: [127.0.0.1:$upstream]}
listeners:
  web:
    bind: 127.0.0.1:$port
    protocol: http1
    http: {request_id: "off"}
    routes:
      - {match: {host: bench.example.com}, to: main} # for the request that asks whether it is up
"""


def config(hosts: int) -> str:
    """Ten routes for each host, or, with 0 hosts, for any."""
    routes = ", ".join(f'{{match: {{path: "/r{n}/*"}}, to: main}}' for n in range(PATHS))
    if not hosts:
        return HEAD + "".join(f'      - {{match: {{path: "/r{n}/*"}}, to: main}}\n' for n in range(PATHS))
    groups = (f"      - {{match: {{host: h{n:05}.example.com}}, routes: [{routes}]}}\n" for n in range(hosts))
    return HEAD + "".join(groups)


def compare(
    clock: Clock, cores: Cores, directory: Path, seconds: float, tell: Callable[[str], None]
) -> tuple[list[Outcome], list[Fact]]:
    configs = {f"{PATHS} routes": config(0), f"{HOSTS:,} hosts × {PATHS} routes": config(HOSTS)}
    outcome, facts = versus(LOAD, configs, MOST_RATIO, clock, cores, directory, seconds, tell)
    return [outcome], facts
