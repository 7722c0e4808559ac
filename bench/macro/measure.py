"""Interleaved rounds: every proxy takes the same load in turn, again and again, so that what the machine does besides
falls on all of them alike. A ratio is only ever taken between two runs of one round.

The measured value of a run is the CPU time of all the proxy's threads and processes divided by the requests answered.
`saturation` says whether the proxy was the bottleneck: the share of the time in which it ran or wanted to (1 = all of it).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .build import OUT, program
from .load import Load
from .process import Child, Cores, free_port, pss_kib, wait_for_answer
from .proxies import Proxy, Running, prober


@dataclass(frozen=True)
class Pace:
    """How long things may take. A run's length follows from the whole budget (`Clock.run_seconds`)."""

    rounds: int
    warmup: float  # s before each run
    shortest: float  # s; a scheduler tick (4 ms) is the error of a run's CPU time
    longest: float
    budget: float  # s for everything


QUICK_PACE = Pace(rounds=3, warmup=0.2, shortest=0.5, longest=1.0, budget=165)
FULL_PACE = Pace(rounds=7, warmup=0.3, shortest=0.8, longest=3.0, budget=840)


OVERHEAD = 0.25  # s per run besides warm-up and measuring: connecting, reading, reporting


class Clock:
    """The time that is left. Rounds that would pass the end are not begun; one round is always run."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.end = time.monotonic() + pace.budget

    def left(self) -> float:
        return self.end - time.monotonic()

    def run_seconds(self, runs: int, reserve: float) -> float:
        """The length of one run when `runs` are still to come and `reserve` seconds are promised to something else."""
        share = (self.left() - reserve) / max(runs, 1) - self.pace.warmup - OVERHEAD
        return min(max(share, self.pace.shortest), self.pace.longest)


@dataclass(frozen=True)
class Sample:
    """One run of one proxy. Times in us, memory in KiB; `failure` is "" when the run counts."""

    proxy: str
    round: int
    requests: int = 0
    seconds: float = 0.0
    cpu_us: float = 0.0  # per request
    saturation: float = 0.0
    rate: float = 0.0  # requests per second
    p50_us: float = 0.0
    p99_us: float = 0.0
    memory_kib: int = 0
    failure: str = ""


@dataclass
class Outcome:
    """All runs of one load."""

    load: str
    title: str
    kind: str
    targets: dict[str, float]
    base: str = "mosnpy"
    level: bool = False  # also wanted: requests/s and p50 level with the best peer
    charted: bool = True
    samples: list[Sample] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def good(self, proxy: str) -> list[Sample]:
        return [run for run in self.samples if run.proxy == proxy and not run.failure]

    def proxies(self) -> list[str]:
        return list(dict.fromkeys(sample.proxy for sample in self.samples))

    def median(self, proxy: str, value: Callable[[Sample], float]) -> float:
        return statistics.median(map(value, self.good(proxy))) if self.good(proxy) else 0.0

    def ratios(
        self, peer: str, value: Callable[[Sample], float] = lambda run: run.cpu_us, base: str = ""
    ) -> list[float]:
        """Peer over base, round by round, in the rounds where both runs count."""
        ours = {run.round: value(run) for run in self.good(base or self.base)}
        return [value(s) / ours[s.round] for s in self.good(peer) if ours.get(s.round)]

    def spread(self, proxy: str) -> float:
        """Largest over smallest CPU time per request: how much the machine disturbed this proxy's runs."""
        values = [run.cpu_us for run in self.good(proxy)]
        least = min(values, default=0.0)
        return max(values) / least if least else 0.0

    def as_json(self) -> dict[str, object]:
        return asdict(self)


@contextmanager
def backend(value: int, cores: Cores, directory: Path, server: str = "backend") -> Iterator[int]:
    """The stub Redis, or another stub `server`, on the load's core. Yields its port."""
    port = free_port()
    command = [str(program(server)), str(value), str(port)]
    child = Child(command, cores.load, directory / f"{server}.log", directory=OUT)
    try:
        wait_for_answer(port, child, 5, prober("redis" if server == "backend" else "http1"))
        yield port
    finally:
        child.stop()


def run_load(
    load: Load, port: int, pids: list[int], cores: Cores, warmup: float, seconds: float, requests: int = 1 << 62
) -> dict[str, float | str]:
    """One run of the load generator: what it prints, or {"failure": why}. Ends after `seconds` or `requests`."""
    command = [
        *(str(program(load.generator)), "--port", str(port), *load.arguments()),
        *("--warmup", f"{warmup:.3f}", "--seconds", f"{seconds:.3f}", "--watch", ",".join(map(str, pids))),
        *("--requests", str(requests)),
    ]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=warmup + seconds + 15,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, {cores.load}),
        )
    except subprocess.TimeoutExpired:
        return {"failure": "the load generator did not end in time"}
    if done.returncode not in (0, 3):
        return {"failure": done.stderr.strip() or f"exit code {done.returncode}"}
    figures: dict[str, float | str] = json.loads(done.stdout)
    return figures


def sample(load: Load, name: str, running: Running, number: int, cores: Cores, warmup: float, seconds: float) -> Sample:
    figures = run_load(load, running.port, running.pids, cores, warmup, seconds)
    if figures["failure"] or not figures["requests"]:
        return Sample(name, number, failure=str(figures["failure"]) or "no request was answered")
    requests, took = float(figures["requests"]), float(figures["seconds"])
    run, wait = float(figures["cpu_ns"]), float(figures["wait_ns"])
    return Sample(
        name,
        number,
        requests=int(requests),
        seconds=took,
        cpu_us=run / 1000 / requests,
        saturation=min((run + wait) / 1e9 / took, 1.0),
        rate=requests / took,
        p50_us=float(figures["p50_us"]),
        p99_us=float(figures["p99_us"]),
        memory_kib=pss_kib(running.pids),
    )


@dataclass
class Entry:
    """A proxy in a contest: how to start it (again), and the process now running."""

    name: str
    begin: Callable[[int], Running]  # from the backend's port
    around: Callable[[Running], AbstractContextManager[None]] = lambda _: (
        nullcontext()
    )  # what else goes on during its runs
    running: Running | None = None

    def ready(self, upstream: int) -> Running:
        """The running proxy; one that died is started anew."""
        if self.running is None or not self.running.child.alive():
            self.running = self.begin(upstream)
        self.running.pids = self.running.child.pids()  # a worker may have been replaced meanwhile
        return self.running

    def stop(self) -> None:
        if self.running is not None:
            self.running.stop()
            self.running = None


def entries(proxies: list[Proxy], kind: str, cores: Cores, directory: Path) -> list[Entry]:
    """Those that can do this kind at all: twemproxy knows nothing but Redis."""

    def starter(proxy: Proxy) -> Callable[[int], Running]:
        return lambda upstream: proxy.start(kind, upstream, cores, directory)

    return [Entry(proxy.name, starter(proxy)) for proxy in proxies if kind in proxy.config]


def beside(load: Load, proxies: list[Proxy], cores: Cores, directory: Path) -> list[Entry]:
    """mosnpy once more, of the kind `load.beside` names."""
    own = [proxy for proxy in proxies if proxy.name == "mosnpy" and load.beside]
    found = entries(own, load.beside, cores, directory)
    for entry in found:
        entry.name = f"mosnpy {load.beside}"
    return found


def contest(
    load: Load,
    contestants: list[Entry],
    clock: Clock,
    cores: Cores,
    directory: Path,
    seconds: float,
    tell: Callable[[str], None],
) -> Outcome:
    """All rounds of one load. Each round begins with another proxy, so that no place in the order is anyone's own."""
    outcome = Outcome(load.name, load.title, load.kind, load.targets, notes=list(load.notes))
    try:
        with backend(load.value, cores, directory, load.server) as upstream:
            for number in range(clock.pace.rounds):
                if number and clock.left() < len(contestants) * (seconds + clock.pace.warmup + OVERHEAD):
                    outcome.notes.append(f"time was up after {number} of {clock.pace.rounds} rounds")
                    break
                turn = number % len(contestants)
                for entry in contestants[turn:] + contestants[:turn]:
                    tell(f"{load.title}: round {number + 1}/{clock.pace.rounds}, {entry.name}")
                    try:
                        running = entry.ready(upstream)
                    except RuntimeError as problem:
                        outcome.samples.append(Sample(entry.name, number, failure=str(problem)))
                        continue
                    # the first run of a proxy also fills its pools and tables: it gets a longer warm-up
                    warmup = clock.pace.warmup * (2 if number == 0 else 1)
                    with entry.around(running):
                        outcome.samples.append(sample(load, entry.name, running, number, cores, warmup, seconds))
    finally:
        for entry in contestants:
            entry.stop()
    return outcome
