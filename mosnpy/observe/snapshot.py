"""The counters of all workers at one moment, added up and named.

Workers write their rows without locks; a u64 is read whole, but two slots of one snapshot may differ by what happened
between the reads. Counters of a dead worker stay in its row and count on (its successor takes the row over); its gauges
were zeroed by the supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mosnpy.observe.layout import Layout, Stat
from mosnpy.observe.slots import SlotRegistry


@dataclass(frozen=True, slots=True)
class Histogram:
    """Latencies: `counts` has one more entry than `bounds_us`, the last one being +Inf."""

    bounds_us: Sequence[int]
    counts: Sequence[int]
    sum_us: int

    @property
    def count(self) -> int:
        return sum(self.counts)

    def quantile_us(self, q: float) -> float | None:
        """By linear interpolation in the bucket, as Prometheus does it; the last bound for what is above it."""
        total = self.count
        if total == 0:
            return None
        rank, below, lower = q * total, 0, 0
        for bound, count in zip(self.bounds_us, self.counts, strict=False):
            if below + count >= rank and count:
                return lower + (bound - lower) * (rank - below) / count
            below, lower = below + count, bound
        return float(lower)

    def minus(self, earlier: Histogram) -> Histogram:
        counts = [now - then for now, then in zip(self.counts, earlier.counts, strict=True)]
        return Histogram(self.bounds_us, counts, self.sum_us - earlier.sum_us)


@dataclass(frozen=True, slots=True)
class Block:
    kind: str
    name: str
    values: Mapping[str, int]
    failures: Mapping[str, int] = field(default_factory=dict)
    latency: Histogram | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    time: float  # seconds since the epoch
    layout: Layout
    workers: Sequence[Mapping[str, int]]  # the worker block of each row
    blocks: Sequence[Block]

    def of(self, kind: str) -> list[Block]:
        return [block for block in self.blocks if block.kind == kind]


def take(layout: Layout, registry: SlotRegistry, rows: Sequence[memoryview]) -> Snapshot:
    """`rows`: the rows in use, each a memoryview of format Q."""
    lists = [row[: registry.used].tolist() for row in rows]
    sums = list(map(sum, zip(*lists, strict=True))) if lists else [0] * registry.used
    workers = [_named(layout.stats["worker"], row, 0) for row in lists]
    blocks = [
        _block(layout, kind, name, sums, base)
        for kind in ("listener", "upstream", "endpoint", "route", "operation")
        for name, base in registry.live(kind)
    ]
    return Snapshot(time.time(), layout, workers, blocks)


def _named(stats: Sequence[Stat], slots: Sequence[int], base: int) -> dict[str, int]:
    return {stat.name: slots[base + at] for at, stat in enumerate(stats)}


def _block(layout: Layout, kind: str, name: str, sums: Sequence[int], base: int) -> Block:
    stats = layout.stats[kind]
    values, after = _named(stats, sums, base), base + len(stats)
    if kind == "listener":
        failures = {failure: sums[after + at] for at, failure in enumerate(layout.failures)}
        return Block(kind, name, values, failures={key: n for key, n in failures.items() if n})
    if kind == "upstream":
        end = after + layout.latency_buckets
        return Block(kind, name, values, latency=Histogram(layout.bounds_us, sums[after:end], sums[end]))
    return Block(kind, name, values)


def split_name(name: str) -> tuple[str, str]:
    """("upstream", "endpoint") of an endpoint's block, ("listener", "route") of a route's: parted by the first slash,
    which no upstream's or listener's name may hold."""
    owner, _, part = name.partition("/")
    return owner, part


def as_json(snapshot: Snapshot) -> dict[str, object]:
    """The snapshot as /stats shows it."""
    upstreams: dict[str, dict[str, object]] = {}
    for block in snapshot.of("upstream"):
        upstreams[block.name] = {**block.values, "latency": _latency_json(block.latency), "endpoints": {}}
    for block in snapshot.of("endpoint"):
        owner, part = split_name(block.name)
        endpoints = upstreams.setdefault(owner, {"endpoints": {}})["endpoints"]
        assert isinstance(endpoints, dict)
        endpoints[part] = dict(block.values)
    return {
        "time": snapshot.time,
        "workers": [{"index": index, **values} for index, values in enumerate(snapshot.workers)],
        "listeners": {b.name: {**b.values, "failures": dict(b.failures)} for b in snapshot.of("listener")},
        "upstreams": upstreams,
        "routes": {block.name: dict(block.values) for block in snapshot.of("route")},
        "operations": {b.name: dict(b.values) for b in snapshot.of("operation") if any(b.values.values())},
    }


def _latency_json(latency: Histogram | None) -> dict[str, object]:
    if latency is None:
        return {}
    return {
        "count": latency.count,
        "sum_us": latency.sum_us,
        "p50_us": latency.quantile_us(0.5),
        "p99_us": latency.quantile_us(0.99),
        "bounds_us": list(latency.bounds_us),
        "buckets": list(latency.counts),
    }
