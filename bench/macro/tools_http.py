"""wrk and h2load through each proxy, against the stub server: what people run, beside the proxy-bound generator.

Both leave a fast proxy partly idle on two cores (`busy` says how much), so requests per second compare less than they seem to.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .measure import Clock, Entry, Outcome, Sample, backend
from .process import Cores, cpu, pss_kib
from .proxies import Running

SECONDS = 1  # per run; both take whole ones
_TIMES = {"us": 1.0, "ms": 1e3, "s": 1e6}


@dataclass(frozen=True)
class Tool:
    """A program, how it is called, and how its report is read."""

    name: str
    title: str
    kind: str
    package: str
    arguments: tuple[str, ...]

    def command(self, port: int) -> list[str]:
        return [self.name, *self.arguments, f"http://127.0.0.1:{port}/bench/0123456789abcdef"]


TOOLS = (
    Tool(
        "wrk",
        "wrk, HTTP/1.1, 50 connections",
        "http1",
        "wrk",
        ("-t1", "-c50", f"-d{SECONDS}", "--latency", "-H", "User-Agent: wrk", "-H", "Accept: */*"),
    ),
    Tool(
        "h2load",
        "h2load, h2c → h2c, 10 connections × 10 streams",
        "h2c",
        "nghttp2-client",
        ("-t1", "-c10", "-m10", f"-D{SECONDS}"),
    ),
)


@dataclass(frozen=True)
class Told:
    """What a tool reports."""

    requests: int
    seconds: float
    p50_us: float = 0.0
    p99_us: float = 0.0


def missing() -> str:
    """What has to be installed first, or ""."""
    absent = [tool.package for tool in TOOLS if shutil.which(tool.name) is None]
    return f"not installed: apt-get install {' '.join(absent)}" if absent else ""


def _number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    return float(found[1]) if found else 0.0


def read_wrk(text: str) -> Told:
    """RuntimeError when it counted errors, or nothing."""
    for wrong in (r"Non-2xx or 3xx responses: \d+", r"Socket errors: .*"):
        found = re.search(wrong, text)
        if found:
            raise RuntimeError(found[0])
    done = re.search(r"(\d+) requests in ([\d.]+)s", text)
    if done is None or not int(done[1]):
        raise RuntimeError(text.strip()[-200:] or "no report")
    shares = {int(share): float(value) * _TIMES[unit] for share, value, unit in _SHARE.findall(text)}
    return Told(int(done[1]), float(done[2]), shares.get(50, 0.0), shares.get(99, 0.0))


_SHARE = re.compile(r"^\s+(\d+)%\s+([\d.]+)(us|ms|s)$", re.MULTILINE)


def read_h2load(text: str) -> Told:
    """RuntimeError when it counted errors, or nothing. It tells no quantiles."""
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored", text)
    if counts is None or not int(counts[1]) or int(counts[2]):
        raise RuntimeError(counts[0] if counts else text.strip()[-200:])
    unwell = re.search(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", text)
    if unwell is None or any(int(count) for count in unwell.groups()):
        raise RuntimeError(unwell[0] if unwell else "no status codes told")
    return Told(int(counts[1]), float(SECONDS))


def _run(tool: Tool, running: Running, number: int, cores: Cores) -> Sample:
    before = cpu(running.pids)
    try:
        done = subprocess.run(
            tool.command(running.port),
            capture_output=True,
            text=True,
            timeout=SECONDS + 15,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, {cores.load}),
        )
        told = (read_wrk if tool.name == "wrk" else read_h2load)(done.stdout + done.stderr)
    except (subprocess.TimeoutExpired, RuntimeError) as problem:
        return Sample(running.name, number, failure=f"{tool.name}: {problem}")
    spent = cpu(running.pids) - before
    return Sample(
        running.name,
        number,
        requests=told.requests,
        seconds=told.seconds,
        cpu_us=spent.run / 1000 / told.requests,
        saturation=min((spent.run + spent.wait) / 1e9 / told.seconds, 1.0),
        rate=told.requests / told.seconds,
        p50_us=told.p50_us,
        p99_us=told.p99_us,
        memory_kib=pss_kib(running.pids),
    )


def contest(
    entries: Callable[[str], list[Entry]], clock: Clock, cores: Cores, directory: Path, tell: Callable[[str], None]
) -> list[Outcome]:
    """Rounds of each tool through every proxy in turn."""
    outcomes = []
    for tool in TOOLS:
        outcome = Outcome(f"http-tools-{tool.name}", tool.title, tool.kind, {})
        contestants = entries(tool.kind)
        try:
            with backend(64, cores, directory, "backend_http") as upstream:
                for number in range(clock.pace.rounds):
                    if number and clock.left() < 2 * SECONDS * len(contestants):
                        outcome.notes.append(f"time was up after {number} of {clock.pace.rounds} rounds")
                        break
                    turn = number % len(contestants)
                    for entry in contestants[turn:] + contestants[:turn]:
                        tell(f"{tool.title}: round {number + 1}/{clock.pace.rounds}, {entry.name}")
                        try:
                            running = entry.ready(upstream)
                        except RuntimeError as problem:
                            outcome.samples.append(Sample(entry.name, number, failure=str(problem)))
                            continue
                        outcome.samples.append(_run(tool, running, number, cores))
        finally:
            for entry in contestants:
                entry.stop()
        outcomes.append(outcome)
    return outcomes
