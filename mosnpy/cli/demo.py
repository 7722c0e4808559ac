"""`mosnpy demo`: three Redis servers and a web server, the proxy in front of them, traffic, and a live table."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click

from mosnpy.cli.demo_http import WebTraffic, tour
from mosnpy.cli.demo_stage import Stage, StageError
from mosnpy.cli.demo_traffic import Tally, Traffic
from mosnpy.observe.snapshot import Histogram
from mosnpy.observe.table import count, duration, table

_REFRESH = 0.5  # seconds between two pictures on a terminal
_LINES = 2.0  # … between two tables otherwise
_SECONDS = 10.0  # length without a terminal


@click.command()
@click.option("--seconds", type=float, help="End after so long. Default: on Ctrl-C; without a terminal after 10 s.")
@click.option("--rate", type=click.FloatRange(10), default=4000, show_default=True, help="Requests per second.")
@click.option("--clients", type=click.IntRange(1, 1000), default=20, show_default=True, help="Connections.")
@click.option("-w", "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Worker processes.")
def demo(seconds: float | None, rate: float, clients: int, workers: int) -> None:
    """Real Redis servers (small stand-ins where redis-server isn't installed) and a web server behind the proxy, with
    traffic and a live table.

    Two shards share the keys by hash, sessions have a server of their own, KEYS and FLUSHALL are refused. The web listener
    takes HTTP/1 and HTTP/2. Everything runs on free ports of 127.0.0.1, stores nothing, and ends with the demo.
    """
    terminal = sys.stdout.isatty()
    if seconds is None and not terminal:
        seconds = _SECONDS
    try:
        with Stage(workers) as stage:
            click.echo(_opening(stage))
            click.echo("\n".join(["HTTP through the proxy:", *asyncio.run(tour(stage.ports["web"])), ""]))
            traffic = Traffic(("127.0.0.1", stage.ports["cache"]), clients, rate)
            traffic.beside(
                WebTraffic(("127.0.0.1", stage.ports["web"]), max(1, clients // 4), rate / 8, traffic.tally).run
            )
            began = time.monotonic()
            asyncio.run(_show(stage, traffic, seconds, terminal))
            click.echo(_closing(traffic.tally, time.monotonic() - began))
            if traffic.tally.wrong or not traffic.tally.replies:
                click.echo(stage.logs(), err=True)
                sys.exit(1)
    except (StageError, OSError, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _opening(stage: Stage) -> str:
    ports = stage.ports
    return (
        f"{stage.config}\n"
        f"Three servers ({stage.servers}) and a web server behind mosnpy. Meanwhile, try:\n"
        f"  redis-cli -p {ports['cache']} set session:1 hello         goes to the sessions server\n"
        f"  redis-cli -p {ports['cache']} mget user:1 user:2 user:3   gathered from both shards\n"
        f"  redis-cli -p {ports['cache']} keys '*'                    refused by a route\n"
        f"  curl -i http://127.0.0.1:{ports['web']}/v1/hello          rewritten to /hello\n"
        f"  curl -i --http2-prior-knowledge http://127.0.0.1:{ports['web']}/hello\n"
        f"  {own_command()} stats --admin 127.0.0.1:{ports['admin']}\n"
        f"  curl http://127.0.0.1:{ports['admin']}/metrics\n"
    )


def own_command() -> str:
    """How a shell in this folder calls us: `make demo` installs into .venv and leaves PATH as it is."""
    beside = Path(sys.executable).with_name("mosnpy")
    if shutil.which("mosnpy"):
        return "mosnpy"
    return os.path.relpath(beside) if beside.exists() else f"{sys.executable} -m mosnpy"


def _closing(tally: Tally, seconds: float) -> str:
    rest = f"; last error: {tally.last_error}" if tally.errors else ""
    return (
        f"{tally.replies} replies in {seconds:.1f} s, every one checked: {tally.wrong} wrong, {tally.errors} errors{rest}\n"
        "Proxy and servers are ended."
    )


async def _show(stage: Stage, traffic: Traffic, seconds: float | None, terminal: bool) -> None:
    """Until the time is over or somebody interrupts."""
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    picture = Picture(await asyncio.to_thread(stage.ask, "/stats"))
    running = asyncio.create_task(traffic.run())
    began = time.monotonic()
    end = None if seconds is None else began + seconds
    drawn = 0
    while not over.is_set() and (end is None or time.monotonic() < end):
        pause = _REFRESH if terminal else _LINES
        left = pause if end is None else min(pause, max(0.0, end - time.monotonic()))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), left)
        stats, clusters = await asyncio.to_thread(lambda: (stage.ask("/stats"), stage.ask("/clusters")))
        if stats is not None and clusters is not None:
            text = picture.draw(stats, clusters, traffic.tally, time.monotonic() - began)
            if terminal and drawn < shutil.get_terminal_size().lines and drawn:
                sys.stdout.write(f"\x1b[{drawn}F\x1b[J")  # up to where the last one began, and clear
            sys.stdout.write(text if terminal else f"{text}\n")
            sys.stdout.flush()
            drawn = text.count("\n")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


class Picture:
    """The table of one moment; rates and latencies are those since the one before."""

    def __init__(self, stats: dict[str, Any] | None) -> None:
        self._before = stats

    def draw(self, stats: dict[str, Any], clusters: dict[str, Any], tally: Tally, seconds: float) -> str:
        before, self._before = self._before or stats, stats
        span = max(stats["time"] - before["time"], 1e-9)
        parts = [
            f"-- {seconds:.0f} s, {count(tally.replies)} replies checked, {tally.wrong} wrong, {tally.errors} errors --\n",
            table(["LISTENER", "CONNS", "REQ/S", "FAILURES"], _listeners(stats, before, span), "lrrr"),
            table(
                ["UPSTREAM", "REQ/S", "P50", "P99", "ENDPOINT", "HEALTH", "CONNS", "REQ/S"],
                _upstreams(stats, before, clusters, span),
                "lrrrllrr",
            ),
            table(["COMMAND", "REQ/S", "TOTAL"], _operations(stats, before, span), "lrr"),
        ]
        return "\n".join(parts)


def _rate(now: dict[str, Any], before: dict[str, Any] | None, span: float, name: str = "requests_total") -> str:
    return count((now[name] - (before or {}).get(name, 0)) / span)


def _listeners(stats: dict[str, Any], before: dict[str, Any], span: float) -> list[list[object]]:
    return [
        [
            name,
            now["connections_active"],
            _rate(now, before["listeners"].get(name), span),
            sum(now["failures"].values()),
        ]
        for name, now in stats["listeners"].items()
    ]


def _upstreams(
    stats: dict[str, Any], before: dict[str, Any], clusters: dict[str, Any], span: float
) -> list[list[object]]:
    rows: list[list[object]] = []
    for upstream in clusters["upstreams"]:
        now, then = stats["upstreams"][upstream["name"]], before["upstreams"].get(upstream["name"])
        latency = _histogram(now)
        if then is not None and then is not now:
            latency = latency.minus(_histogram(then))
        head: list[object] = [
            upstream["name"], _rate(now, then, span), duration(latency.quantile_us(0.5)), duration(latency.quantile_us(0.99)),
        ]  # fmt: skip
        for endpoint in upstream["endpoints"]:
            name = endpoint["name"]
            earlier = then["endpoints"].get(name) if then is not None else None
            state = "ejected" if endpoint["ejected"] else endpoint["health"]
            conns = endpoint["connections_active"]
            rows.append([*head, name, state, conns, _rate(now["endpoints"][name], earlier, span)])
            head = ["", "", "", ""]
    return rows


def _histogram(upstream: dict[str, Any]) -> Histogram:
    latency = upstream["latency"]
    return Histogram(latency["bounds_us"], latency["buckets"], latency["sum_us"])


def _operations(stats: dict[str, Any], before: dict[str, Any], span: float) -> list[list[object]]:
    used = sorted(stats["operations"].items(), key=lambda each: -int(each[1]["requests_total"]))
    return [
        [name.partition(".")[2], _rate(now, before["operations"].get(name), span), count(now["requests_total"])]
        for name, now in used[:6]
    ]
