"""Where mosnpy's CPU time goes under load: by object and by symbol (perf, cpu-clock), and system calls per request."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from .build import OUT
from .load import Load
from .measure import Entry, backend, run_load
from .process import Cores
from .report import Fact
from .scenario import SCENARIOS

SECONDS = 4.0
TOP_OBJECTS, TOP_SYMBOLS = 5, 16
LOADS = ("redis-p1", "redis-p16", "tcp", "redis-1mib")  # scenarios, unless others are asked for


def missing() -> str:
    return "" if shutil.which("perf") else "perf not installed: apt-get install linux-perf"


def _perf(*arguments: str) -> str:
    done = subprocess.run(["perf", *arguments], capture_output=True, text=True, check=False)
    return done.stdout if done.returncode == 0 else ""


def _shares(file: Path, sort: str) -> list[tuple[float, str]]:
    listing = _perf("report", "-i", str(file), "--no-children", "--sort", sort, "--stdio", "-g", "none")
    found = re.findall(r"^\s*([\d.]+)%\s+(.*?)\s*$", listing, re.MULTILINE)
    return [(float(share), re.sub(r"\s+", " ", name)) for share, name in found]


def _watch(load: Load, entry: Entry, cores: Cores, directory: Path) -> list[Fact]:
    """One run under perf record, a second one that only counts system calls (tracing them distorts the first)."""
    with backend(load.value, cores, directory, load.server) as upstream:
        running = entry.ready(upstream)
        pids = ",".join(map(str, running.pids))
        file = directory / f"{load.name}.perf"
        recorder = subprocess.Popen(
            [
                "perf",
                "record",
                "-q",
                "-e",
                "cpu-clock",
                "-F",
                "1999",
                "-p",
                pids,
                "-o",
                str(file),
                "--",
                "sleep",
                str(SECONDS),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, {cores.load}),
        )
        figures = run_load(load, running.port, running.pids, cores, 0.3, SECONDS)
        recorder.wait()
        if figures["failure"]:
            return [Fact(f"{load.title}: profile", 0, "", None, f"not taken: {figures['failure']}")]
        counter = subprocess.Popen(
            ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-p", pids],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        counted = run_load(load, running.port, running.pids, cores, 0.0, 1.0)
        counter.send_signal(signal.SIGINT)  # perf prints what it has; started with a command it would wait for its end
        calls = (counter.communicate()[1] or "").split(",")[0]
    per_request = float(figures["cpu_ns"]) / 1000 / float(figures["requests"])
    text = OUT / f"profile-{load.name}.txt"
    text.write_text(_perf("report", "-i", str(file), "--no-children", "--sort", "dso,symbol", "--stdio", "-g", "none"))
    facts = [Fact(f"{load.title}: CPU", per_request, "µs/request", None, f"details: {text}")]
    if calls.isdigit() and float(counted["answered"]):
        facts.append(Fact("  system calls per request", int(calls) / float(counted["answered"]), ""))
    facts += [Fact(f"  in {name}", share, "%") for share, name in _shares(file, "dso")[:TOP_OBJECTS]]
    facts += [Fact(f"    {name}", share, "%") for share, name in _shares(file, "dso,symbol")[:TOP_SYMBOLS]]
    return facts


def take(
    names: list[str],
    entries: Callable[[str], list[Entry]],
    cores: Cores,
    directory: Path,
    tell: Callable[[str], None],
) -> list[Fact]:
    """Profiles mosnpy under each load of the named scenarios that the quick profile has too."""
    facts: list[Fact] = []
    for load in [load for name in names for load in SCENARIOS[name].loads if not load.extra]:
        tell(f"profile: {load.title}")
        entry = next(entry for entry in entries(load.kind) if entry.name == "mosnpy")
        try:
            facts += _watch(load, entry, cores, directory)
        finally:
            entry.stop()
    return facts
