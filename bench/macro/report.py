"""From samples to what people read: verdicts on the wanted figures, the table in the terminal, the JSON file.

A ratio is the median over rounds of peer/mosnpy in that round, with the smallest and the largest beside it.
"""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from .measure import Outcome, Sample
from .proxies import ALL

# "Level with the best peer": single runs of redis-benchmark -P 1 differ by about so much from each other.
LEVEL = 0.03


@dataclass(frozen=True)
class Row:
    """One proxy's medians under one load, and how it compares."""

    proxy: str
    label: str
    runs: int
    failed: list[str]
    cpu_us: float
    spread: float  # largest/smallest CPU time over rounds
    ratio: float  # peer/base; 0: no common round
    ratio_least: float
    ratio_most: float
    rate: float
    p50_us: float
    p99_us: float
    memory_kib: float
    saturation: float
    target: float | None


@dataclass(frozen=True)
class Verdict:
    """A wanted figure and whether it was reached."""

    about: str
    wanted: float
    reached: float
    ok: bool


@dataclass
class Fact:
    """A measured value that is not a contest (memory, routes, busy controller); `wanted` is an upper bound if given."""

    about: str
    value: float
    unit: str
    wanted: float | None = None
    detail: str = ""

    @property
    def ok(self) -> bool | None:
        return None if self.wanted is None else self.value <= self.wanted


@dataclass
class Report:
    """Everything one invocation found."""

    machine: dict[str, str | int | float]
    versions: dict[str, str]
    missing: dict[str, str]
    outcomes: list[Outcome] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def settle_base(self) -> None:
        """Without a valid run of mosnpy the bare relay is what others are compared with, or else the first that has one."""
        for outcome in self.outcomes:
            instead = [proxy for proxy in ("relay", *outcome.proxies()) if outcome.good(proxy)]
            if not outcome.good(outcome.base) and instead:
                outcome.base = instead[0]


def label(proxy: str) -> str:
    return ALL[proxy].label if proxy in ALL else proxy


def rows(outcome: Outcome) -> list[Row]:
    """Base first, then as the list of proxies has them."""
    found = []
    for proxy in sorted(outcome.proxies(), key=lambda name: name != outcome.base):
        good = outcome.good(proxy)
        ratios = outcome.ratios(proxy) or [0.0]

        def middle(value: str, of: list[Sample] = good) -> float:
            return statistics.median(getattr(run, value) for run in of) if of else 0.0

        found.append(
            Row(
                proxy,
                label(proxy),
                len(good),
                [run.failure for run in outcome.samples if run.proxy == proxy and run.failure],
                middle("cpu_us"),
                outcome.spread(proxy),
                statistics.median(ratios),
                min(ratios),
                max(ratios),
                middle("rate"),
                middle("p50_us"),
                middle("p99_us"),
                middle("memory_kib"),
                middle("saturation"),
                outcome.targets.get(proxy) if outcome.base == "mosnpy" else None,
            )
        )
    return found


def verdicts(report: Report) -> list[Verdict]:
    found: list[Verdict] = []
    for outcome in report.outcomes:
        table = rows(outcome)
        found.extend(
            Verdict(f"{outcome.title}: CPU of {row.label} / mosnpy", row.target, row.ratio, row.ratio >= row.target)
            for row in table
            if row.target is not None and row.ratio
        )
        if outcome.level and outcome.base == "mosnpy" and outcome.good("mosnpy"):
            found.extend(_level(outcome))
    found.extend(
        Verdict(fact.about, fact.wanted, fact.value, bool(fact.ok)) for fact in report.facts if fact.wanted is not None
    )
    return found


def _level(outcome: Outcome) -> list[Verdict]:
    """Rate and p50 against the best peer's, round by round. The bare relay is a floor, not a peer."""
    peers = [proxy for proxy in outcome.proxies() if proxy not in ("mosnpy", "relay") and outcome.good(proxy)]
    if not peers:
        return []
    rate = min(1 / statistics.median(outcome.ratios(peer, lambda run: run.rate) or [1.0]) for peer in peers)
    p50 = min(statistics.median(outcome.ratios(peer, lambda run: run.p50_us) or [1.0]) for peer in peers)
    return [
        Verdict(f"{outcome.title}: requests/s, mosnpy / best peer", 1 - LEVEL, rate, rate >= 1 - LEVEL),
        Verdict(f"{outcome.title}: p50, best peer / mosnpy", 1 - LEVEL, p50, p50 >= 1 - LEVEL),
    ]


# ---- text ----


def quantity(value: float) -> str:
    """1234567 -> 1.23 M, with three figures."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def microseconds(value: float) -> str:
    if value <= 0:
        return "-"
    return f"{value / 1000:.2f} ms" if value >= 1000 else f"{value:.0f} µs"


def cpu(value: float) -> str:
    return "-" if value <= 0 else f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def mebibytes(kib: float) -> str:
    return f"{kib / 1024:.1f}" if kib else "-"


HEAD = ("", "CPU µs/req", "spread", "ratio", "least-most", "req/s", "p50", "p99", "MiB", "busy", "wanted")


def cells(row: Row, base: str) -> list[str]:
    """A row as text; the columns are those of HEAD."""
    if not row.runs:
        return [row.label, "failed", *[""] * (len(HEAD) - 2)]
    own = row.proxy == base
    verdict = "" if row.target is None else f"{row.target:g} {'ok' if row.ratio >= row.target else 'MISSED'}"
    return [
        row.label,
        cpu(row.cpu_us),
        f"{row.spread:.2f}",
        "1" if own else f"{row.ratio:.2f}",
        "" if own else f"{row.ratio_least:.2f}-{row.ratio_most:.2f}",
        quantity(row.rate),
        microseconds(row.p50_us),
        microseconds(row.p99_us),
        mebibytes(row.memory_kib),
        f"{row.saturation:.0%}",
        verdict,
    ]


def _table(lines: list[list[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]


def text(report: Report) -> str:
    """The whole report for a terminal."""
    out = []
    for outcome in report.outcomes:
        table = rows(outcome)
        out.append(f"\n{outcome.title}   (ratio = CPU per request, proxy / {label(outcome.base)}, same round)")
        out.extend("  " + line for line in _table([list(HEAD), *(cells(row, outcome.base) for row in table)]))
        for row in table:
            out.extend(f"  ! {row.label}: {why}" for why in dict.fromkeys(row.failed))
        out.extend(f"  ! {note}" for note in outcome.notes)
    if report.facts:
        out.append("")
        for fact in report.facts:
            judged = "" if fact.ok is None else f"   (wanted: at most {fact.wanted:g}) {'ok' if fact.ok else 'MISSED'}"
            detail = f"   {fact.detail}" if fact.detail else ""
            out.append(f"  {fact.about}: {fact.value:.4g} {fact.unit}{judged}{detail}")
    judged_all = verdicts(report)
    if judged_all:
        missed = [verdict for verdict in judged_all if not verdict.ok]
        out.append(f"\n{len(judged_all) - len(missed)} of {len(judged_all)} wanted figures reached.")
        out.extend(f"  missed: {v.about}: {v.reached:.3g}, wanted {v.wanted:g}" for v in missed)
    out.extend(f"left out: {label(name)} ({how})" for name, how in report.missing.items())
    out.extend(report.notes)
    return "\n".join(out)


# ---- JSON ----


def as_json(report: Report) -> dict[str, object]:
    return {
        "machine": report.machine,
        "versions": report.versions,
        "missing": report.missing,
        "loads": [
            {**outcome.as_json(), "rows": [row.__dict__ for row in rows(outcome)]} for outcome in report.outcomes
        ],
        "facts": [{**fact.__dict__, "ok": fact.ok} for fact in report.facts],
        "verdicts": [verdict.__dict__ for verdict in verdicts(report)],
        "notes": report.notes,
    }


def write_json(report: Report, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(report), indent=1, ensure_ascii=False) + "\n")
