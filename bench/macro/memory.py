"""Resident memory of the process that does the work: at start, after a million requests, after 10,000 clients have come
and gone, and per client that stays connected without a word. The order matters: pools are filled before idle clients are
counted, so that their price is theirs alone.

The worker is told from its supervisor by CPU time: it is the process of the tree that the load made run.
"""

from __future__ import annotations

import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .load import Load
from .measure import Entry, backend, run_load
from .process import Cores, cpu, pss_kib, rss_kib
from .proxies import Running
from .report import Fact, label

IDLE = 5_000
RECONNECTS = 10_000
REQUESTS = 1_000_000
WARM_REQUESTS = 100_000
GET = b"*2\r\n$3\r\nGET\r\n$9\r\nuser:idle\r\n"
REPLY = 5 + 64 + 2  # bytes of "$64\r\n", the value and CRLF
FLAT_KIB = 512  # growth taken for flat: half a MiB, allocator and page-table noise
WANTED_START_MIB, WANTED_IDLE_KIB = 40.0, 4.0


@dataclass(frozen=True)
class Memory:
    """Of one proxy's worker, in KiB."""

    start: int
    warm: int
    after_requests: int
    after_reconnects: int
    idle: int
    tree_pss: int  # of all its processes together, when idle clients have left

    @property
    def per_idle(self) -> float:
        return (self.idle - self.after_reconnects) / IDLE


def _ask(port: int) -> socket.socket:
    """A connection that has been served one GET. OSError when it was not."""
    conn = socket.create_connection(("127.0.0.1", port), 5)
    conn.sendall(GET)
    received = 0
    while received < REPLY:
        part = conn.recv(4096)
        if not part:
            raise ConnectionError("closed before the reply was complete")
        received += len(part)
    return conn


def _load(running: Running, cores: Cores, requests: int) -> None:
    """`requests` GETs, P16. RuntimeError when a reply was wrong or missing."""
    load = Load("memory", "", pipeline=16)
    figures = run_load(load, running.port, running.pids, cores, 0.1, 20, requests=requests)
    if figures["failure"]:
        raise RuntimeError(str(figures["failure"]))


def _spent(running: Running) -> dict[int, int]:
    return {pid: cpu([pid]).run for pid in running.pids}


def weigh(entry: Entry, cores: Cores, upstream: int) -> Memory:
    """All stages for one proxy, freshly started. RuntimeError or OSError when it did not serve."""
    running = entry.ready(upstream)
    stages: list[dict[int, int]] = []

    def stage() -> None:
        stages.append({pid: rss_kib(pid) for pid in running.pids})

    stage()
    _load(running, cores, WARM_REQUESTS)
    stage()
    before = _spent(running)  # only now: while the proxy starts, its other processes spend more than the load costs
    _load(running, cores, REQUESTS)
    after = _spent(running)
    stage()
    for _ in range(RECONNECTS):
        _ask(running.port).close()
    stage()
    idle = [_ask(running.port) for _ in range(IDLE)]
    stage()
    for conn in idle:
        conn.close()
    worker = max(running.pids, key=lambda pid: after[pid] - before[pid])
    start, warm, after_requests, after_reconnects, with_idle = (each[worker] for each in stages)
    return Memory(start, warm, after_requests, after_reconnects, with_idle, pss_kib(running.pids))


def compare(entries: list[Entry], cores: Cores, directory: Path, tell: Callable[[str], None]) -> list[Fact]:
    facts: list[Fact] = []
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for entry in entries:
        tell(f"memory: {entry.name}")
        try:
            with backend(64, cores, directory) as upstream:
                memory = weigh(entry, cores, upstream)
        except (RuntimeError, OSError) as problem:
            facts.append(Fact(f"{label(entry.name)}: memory", 0, "", None, f"not measured: {problem}"))
            continue
        finally:
            entry.stop()
        facts.extend(_facts(entry.name, memory))
    return facts


def _facts(name: str, memory: Memory) -> list[Fact]:
    own = name == "mosnpy"
    who = label(name)
    grown, churned = memory.after_requests - memory.warm, memory.after_reconnects - memory.after_requests
    return [
        Fact(f"{who}: worker RSS at start", memory.start / 1024, "MiB", WANTED_START_MIB if own else None),
        Fact(
            f"{who}: worker RSS per idle client",
            memory.per_idle,
            "KiB",
            WANTED_IDLE_KIB if own else None,
            f"{IDLE:,} clients",
        ),
        Fact(f"{who}: growth over {REQUESTS:,} requests", grown, "KiB", FLAT_KIB if own else None),
        Fact(f"{who}: growth over {RECONNECTS:,} connects and closes", churned, "KiB", FLAT_KIB if own else None),
        Fact(f"{who}: all processes when done (shared pages once)", memory.tree_pss / 1024, "MiB"),
    ]
