"""`mosnpy status` and `mosnpy stats`"""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from mosnpy.cli.remote import admin_option, ask, ask_json
from mosnpy.observe.table import count, duration, table


@click.command()
@admin_option
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def status(admin: str, output: str) -> None:
    """Processes, listeners and endpoints of a running proxy. Exit code 0: ready; 1: not ready, or not there."""
    _, found = ask_json(admin, "/status")
    _, clusters = ask_json(admin, "/clusters")
    if output == "json":
        click.echo(json.dumps({**found, **clusters}, indent=2))
    else:
        click.echo(_status_text(found), nl=False)
        click.echo("\n" + ask(admin, "/clusters?format=text")[1], nl=False)
    sys.exit(0 if found["ready"] else 1)


def _status_text(found: dict[str, Any]) -> str:
    state = "ready" if found["ready"] else f"not ready: {', '.join(found['reasons'])}"
    reload = found["last_reload"]
    lines = [
        f"mosnpy {found['version']}, pid {found['pid']}, up {found['uptime_s']:.0f} s: {state}",
        f"configuration: {', '.join(found['sources'])}, generation {found['generation']}",
    ]
    if not reload["ok"]:
        lines += ["the latest reload was refused:", *reload["faults"]]
    workers = [[each["index"], each["pid"] or "-", each["generation"], each["restarts"]] for each in found["workers"]]
    listeners = [[each["name"], each["address"]] for each in found["listeners"]]
    return "\n".join([
        *lines, "",
        table(["WORKER", "PID", "GENERATION", "RESTARTS"], workers, "rrrr"),
        table(["LISTENER", "ADDRESS"], listeners),
    ])  # fmt: skip


@click.command()
@admin_option
@click.option("-o", "--output", type=click.Choice(["table", "json", "prometheus"]), default="table", show_default=True)
def stats(admin: str, output: str) -> None:
    """Counters of a running proxy, all workers together."""
    if output == "prometheus":
        click.echo(ask(admin, "/stats/prometheus")[1], nl=False)
        return
    _, found = ask_json(admin, "/stats")
    click.echo(json.dumps(found, indent=2) + "\n" if output == "json" else _stats_text(found), nl=False)


def _stats_text(found: dict[str, Any]) -> str:
    listeners = [
        [
            name, each["connections_active"], each["connections_total"], count(each["requests_total"]),
            sum(each["failures"].values()), count(each["bytes_received"]), count(each["bytes_sent"]),
        ]
        for name, each in found["listeners"].items()
    ]  # fmt: skip
    upstreams = [
        [
            name, count(each["requests_total"]), count(each["responses_client_error"] + each["responses_server_error"]),
            each["timeouts_total"], duration(each["latency"]["p50_us"]), duration(each["latency"]["p99_us"]),
            sum(endpoint["connections_active"] for endpoint in each["endpoints"].values()),
        ]
        for name, each in found["upstreams"].items()
    ]  # fmt: skip
    routes = [[name, count(each["requests_total"]), each["failures_total"]] for name, each in found["routes"].items()]
    used = sorted(found["operations"].items(), key=lambda each: -int(each[1]["requests_total"]))
    operations = [[name, count(each["requests_total"]), count(each["errors_total"])] for name, each in used[:20]]
    failures = [
        [name, failure, number]
        for name, each in found["listeners"].items()
        for failure, number in each["failures"].items()
    ]
    tables = [
        table(["LISTENER", "CONNS", "ACCEPTED", "REQUESTS", "FAILURES", "BYTES IN", "BYTES OUT"], listeners, "lrrrrrr"),
        table(["UPSTREAM", "REQUESTS", "ERRORS", "TIMEOUTS", "P50", "P99", "CONNS"], upstreams, "lrrrrrr"),
        table(["ROUTE", "REQUESTS", "FAILURES"], routes[:40], "lrr"),
    ]
    if operations:
        tables.append(table(["OPERATION", "REQUESTS", "ERRORS"], operations, "lrr"))
    if failures:
        tables.append(table(["LISTENER", "FAILURE", "COUNT"], failures, "llr"))
    return "\n".join(tables)
