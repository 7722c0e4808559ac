"""redis-benchmark against a real redis-server, through each proxy.

With -P 1 on two cores this load leaves every proxy idle half of the time and what it shows is mostly how costly it is to
wake a sleeping core, so all contestants lie close together; it is here because it is what people run.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .measure import Clock, Entry, Outcome, Sample
from .process import Child, Cores, cpu, free_port, pss_kib, wait_for_answer
from .proxies import Running

CONNECTIONS = 50
VALUE = 64  # bytes
KEYS = 10_000
# depth of the pipeline -> requests per test: 0.5-1 s of load on 2 cores, so that a round of six proxies stays short
REQUESTS = {1: 50_000, 16: 300_000}
LABELS = {1: "P1", 16: "P16"}


def missing() -> str:
    """What has to be installed first, or ""."""
    absent = [name for name in ("redis-server", "redis-benchmark") if shutil.which(name) is None]
    return f"{' and '.join(absent)} not installed: apt-get install redis-server" if absent else ""


@contextmanager
def redis_server(cores: Cores, directory: Path) -> Iterator[int]:
    """A redis-server without persistence, on the load's core. Yields its port."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    child = Child([*command, "--dir", str(directory)], cores.load, directory / "redis-server.log", directory=directory)
    try:
        wait_for_answer(port, child, 5)
        yield port
    finally:
        child.stop()


def _tool(port: int, op: str, pipeline: int, requests: int, cores: Cores) -> dict[str, str]:
    """One test of redis-benchmark: its CSV row. RuntimeError with what it printed when there is none."""
    command = [
        *("redis-benchmark", "-h", "127.0.0.1", "-p", str(port), "-c", str(CONNECTIONS), "-P", str(pipeline)),
        *("-t", op, "-n", str(requests), "-d", str(VALUE), "-r", str(KEYS), "--csv"),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, {cores.load}),
        )
    except subprocess.TimeoutExpired as late:
        raise RuntimeError("redis-benchmark did not end within 30 s") from late
    rows = [row for row in csv.DictReader(done.stdout.splitlines()) if row.get("rps")]
    if done.returncode or not rows:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}")[-200:])
    return rows[0]


def _sample(running: Running, number: int, op: str, pipeline: int, cores: Cores) -> Sample:
    requests = REQUESTS[pipeline]
    before = cpu(running.pids)
    try:
        row = _tool(running.port, op, pipeline, requests, cores)
    except RuntimeError as problem:
        return Sample(running.name, number, failure=str(problem))
    spent = cpu(running.pids) - before
    rate = float(row["rps"])
    return Sample(
        running.name,
        number,
        requests=requests,
        seconds=requests / rate,
        cpu_us=spent.run / 1000 / requests,
        saturation=min((spent.run + spent.wait) / 1e9 / (requests / rate), 1.0),
        rate=rate,
        p50_us=float(row["p50_latency_ms"]) * 1000,
        p99_us=float(row["p99_latency_ms"]) * 1000,
        memory_kib=pss_kib(running.pids),
    )


def contest(
    contestants: list[Entry], clock: Clock, cores: Cores, directory: Path, tell: Callable[[str], None]
) -> list[Outcome]:
    """Rounds of GET and SET, P1 and P16, each through every proxy in turn."""
    outcomes = {
        (op, pipeline): Outcome(
            f"redis-benchmark-{LABELS[pipeline].lower()}-{op}",
            f"redis-benchmark {op.upper()}, {LABELS[pipeline]}, {CONNECTIONS} connections",
            "redis",
            {},
            level=pipeline == 1,
        )
        for pipeline in REQUESTS
        for op in ("get", "set")
    }
    try:
        with redis_server(cores, directory) as upstream:
            _tool(upstream, "set", 16, 5 * KEYS, cores)  # nearly every key exists, so that a GET carries a value
            for number in range(clock.pace.rounds):
                if number and clock.left() < 4 * len(contestants):
                    for outcome in outcomes.values():
                        outcome.notes.append(f"time was up after {number} of {clock.pace.rounds} rounds")
                    break
                turn = number % len(contestants)
                for (op, pipeline), outcome in outcomes.items():
                    for entry in contestants[turn:] + contestants[:turn]:
                        tell(f"{outcome.title}: round {number + 1}/{clock.pace.rounds}, {entry.name}")
                        try:
                            running = entry.ready(upstream)
                        except RuntimeError as problem:
                            outcome.samples.append(Sample(entry.name, number, failure=str(problem)))
                            continue
                        outcome.samples.append(_sample(running, number, op, pipeline, cores))
    finally:
        for entry in contestants:
            entry.stop()
    return list(outcomes.values())
