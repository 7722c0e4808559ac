"""Does Python in the worker's main thread slow the data path? mosnpy's core under full load while the main thread burns
10 ms of Python out of every 20 ms, as a busy controller or a slow coroutine would.

What burns takes CPU from its core whoever burns it. So the loss is told against the same burning done by a child
process on the same core: what remains is what the two threads cost each other (the interpreter lock, shared memory
management). With three cores or more the burner gets the third; with two it shares the proxy's.
"""

from __future__ import annotations

import os
import signal
import string
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .http_kinds import variables
from .load import Load
from .measure import Clock, Entry, Outcome, contest
from .process import Child, Cores, free_port, wait_for_answer, wait_until_settled
from .proxies import ALL, PEERS, SETTLE_SECONDS, Running, environment, prober
from .report import Fact

MOST_LOSS = 5.0  # %, wanted
QUIET, APART, INSIDE, INLINE = "quiet", "burning in a process apart", "burning in the main thread", "inline, burning"
LOAD = Load("controller-busy", "Redis GET, P1, while Python burns 10 ms of every 20")


def _burn_core(cores: Cores) -> int:
    spare = sorted(os.sched_getaffinity(0) - {cores.proxy, cores.load})
    return spare[0] if spare else cores.proxy


def host_command(*extra: str) -> list[str]:
    return [sys.executable, "-m", "bench.macro.host", *extra]


def start_host(
    name: str,
    upstream: int,
    cores: Cores,
    directory: Path,
    *extra: str,
    kind: str = "redis",
    wrap: tuple[str, ...] = (),
) -> Running:
    """One core hosted by host.py, with the configuration mosnpy has in the other scenarios. `wrap` goes before python."""
    port = free_port()
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / f"host-{port}.yaml"
    text = string.Template((PEERS / ALL["mosnpy"].config[kind]).read_text())
    config.write_text(text.substitute(variables("mosnpy", kind), port=port, upstream=upstream, admin=free_port()))
    command = [*wrap, *host_command(*extra, str(config))]
    child = Child(command, cores.proxy, config.with_suffix(".log"), directory=directory, env=environment())
    try:
        wait_for_answer(port, child, 60, prober(kind))
        wait_until_settled(child, SETTLE_SECONDS)
    except RuntimeError:
        child.stop()
        raise
    return Running(name, port, child)


@contextmanager
def burning(running: Running) -> Iterator[None]:
    """Tells the host to burn while its run lasts."""
    os.kill(running.child.process.pid, signal.SIGUSR1)
    try:
        yield
    finally:
        os.kill(running.child.process.pid, signal.SIGUSR2)


def compare(
    clock: Clock, cores: Cores, directory: Path, seconds: float, tell: Callable[[str], None]
) -> tuple[list[Outcome], list[Fact]]:
    def begin(name: str, *extra: str) -> Callable[[int], Running]:
        return lambda upstream: start_host(name, upstream, cores, directory, *extra)

    core = ("--main-core", str(_burn_core(cores)))
    entries = [
        Entry(QUIET, begin(QUIET, *core)),
        Entry(APART, begin(APART, *core, "--apart"), around=burning),
        Entry(INSIDE, begin(INSIDE, *core), around=burning),
        Entry(INLINE, begin(INLINE, "--inline"), around=burning),
    ]
    outcome = contest(LOAD, entries, clock, cores, directory, seconds, tell)
    outcome.base, outcome.charted = QUIET, False
    outcome.notes.append(
        "CPU per request includes what the burning itself takes, where it is inside; req/s is what counts"
    )
    return [outcome], _facts(outcome)


def _facts(outcome: Outcome) -> list[Fact]:
    """Losses between medians: with both on a core of many users single rounds say little."""
    facts = []
    for name, against, wanted in ((INSIDE, APART, MOST_LOSS), (INSIDE, QUIET, None), (INLINE, QUIET, None)):
        base, rate = (outcome.median(each, lambda run: run.rate) for each in (against, name))
        if base and rate:
            rounds = sorted(100 * (1 - ratio) for ratio in outcome.ratios(name, lambda run: run.rate, against))
            detail = f"rounds {rounds[0]:.1f} to {rounds[-1]:.1f}"
            facts.append(
                Fact(f"throughput lost: {name}, against {against}", 100 * (1 - rate / base), "%", wanted, detail)
            )
    return facts
