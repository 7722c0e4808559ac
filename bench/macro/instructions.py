"""Instructions per request in user space, counted by valgrind's callgrind: exact, the same on a busy machine as on an idle
one, and told function by function. About fifty times slower than real time, so a few ten thousand requests.

Counting is switched on when the proxy is up and its pools are filled, so what is counted is requests alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .build import OUT
from .busy import start_host
from .load import MIB, HttpLoad, Load
from .measure import backend, run_load
from .process import Cores
from .report import Fact
from .scenario import SCENARIOS

LOADS = ("redis-p1", "redis-p16")  # scenarios, unless others are asked for
REQUESTS, DEEP_REQUESTS, BIG_REQUESTS = 20_000, 60_000, 300  # by load: plain, many under way on a connection, 1 MiB
TOP = 24


def requests_of(load: Load) -> int:
    deep = load.pipeline > 1 or (isinstance(load, HttpLoad) and load.streams > 1)
    rare = load.value >= MIB or (isinstance(load, HttpLoad) and load.reconnect)
    return BIG_REQUESTS if rare else DEEP_REQUESTS if deep else REQUESTS


def missing() -> str:
    return "" if shutil.which("valgrind") else "valgrind not installed: apt-get install valgrind"


def _callgrind(directory: Path) -> tuple[str, ...]:
    return (
        *("valgrind", "--tool=callgrind", "--instr-atstart=no", "--cache-sim=no", "--trace-children=no"),
        f"--callgrind-out-file={directory}/callgrind.%p",
    )


def _annotated(dump: Path) -> tuple[int, list[tuple[int, str]]]:
    """Total instructions and the dearest functions of a callgrind file."""
    done = subprocess.run(
        ["callgrind_annotate", "--threshold=100", "--auto=no", str(dump)], capture_output=True, text=True, check=True
    )
    functions: dict[str, int] = {}
    total = 0
    for line in done.stdout.splitlines():
        # "1,234 ( 5.6%)  file.c:function [object]"; older versions leave the percentage out
        found = re.match(r"\s*([\d,]+)\s+(?:\([ \d.]+%\)\s+)?(.*)", line)
        if found is None:
            continue
        count, what = int(found[1].replace(",", "")), found[2]
        if what.startswith("PROGRAM TOTALS"):
            total = count
        elif ":" in what:
            # what was inlined stands under its own file: it is part of the function all the same
            name = re.sub(r"\s*\[[^]]*\]$", "", what).rpartition(":")[2]
            name = re.sub(r"(\.(lto_priv|constprop|isra|part|cold)(\.\d+)?)+$", "", name)
            functions[name] = functions.get(name, 0) + count
    return total, sorted(((count, name) for name, count in functions.items()), reverse=True)[:TOP]


def count(names: list[str], cores: Cores, directory: Path, tell: Callable[[str], None]) -> list[Fact]:
    """Under each load of the named scenarios."""
    facts = []
    for load in [load for name in names for load in SCENARIOS[name].loads]:
        tell(f"instructions: {load.title}")
        home = directory / f"callgrind-{load.name}"
        with backend(load.value, cores, directory, load.server) as upstream:
            running = start_host(load.name, upstream, cores, home, kind=load.kind, wrap=_callgrind(home))
            try:
                figures = _drive(load, requests_of(load), running.port, running.child.process.pid, cores)
            finally:
                running.stop()
        if figures.get("failure"):
            facts.append(
                Fact(f"instructions per request, {load.title}", 0, "", None, f"not counted: {figures['failure']}")
            )
            continue
        answered = int(figures["answered"])
        dump = max(home.glob("callgrind.*"), key=lambda path: path.stat().st_size)
        total, functions = _annotated(dump)
        kept = OUT / f"callgrind-{load.name}.out"
        shutil.copy(dump, kept)
        facts.append(Fact(f"instructions per request, {load.title}", total / answered, "", None, f"details: {kept}"))
        facts.extend(Fact(f"  {name}", part / answered, "", None, f"{part / total:.1%}") for part, name in functions)
    return facts


def _drive(load: Load, requests: int, port: int, pid: int, cores: Cores) -> dict[str, float | str]:
    warm = run_load(load, port, [pid], cores, 0.0, 60, requests=min(requests, 2_000))
    if warm["failure"]:
        return warm
    subprocess.run(["callgrind_control", "--instr=on", str(pid)], check=True, capture_output=True)
    figures = run_load(load, port, [pid], cores, 0.0, 120, requests=requests)
    subprocess.run(["callgrind_control", "--instr=off", str(pid)], check=True, capture_output=True)
    return figures
