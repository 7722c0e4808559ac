"""What lies in a block of statistics slots.

The C core owns names and order (csrc/core/stats.h); this is the same knowledge for Python, read once through the
binding. A block of kind `listener` is followed by one counter per failure, one of kind `upstream` by the latency
histogram: a count per bucket (the last one is +Inf), then the sum in microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

KINDS = ("worker", "listener", "upstream", "endpoint", "route", "operation")

StatNames = Mapping[str, Sequence[tuple[str, str, str]]]


@dataclass(frozen=True, slots=True)
class Stat:
    """One named slot. `gauge`: it goes up and down and means nothing once its worker is dead."""

    name: str
    gauge: bool
    help: str


@dataclass(frozen=True, slots=True)
class Layout:
    """Slots of every kind of block, and what the extra ones after the named ones mean."""

    stats: Mapping[str, tuple[Stat, ...]]
    sizes: Mapping[str, int]
    failures: tuple[str, ...]
    bounds_us: tuple[int, ...]

    @classmethod
    def of(cls, names: StatNames, bounds_us: Sequence[int], sizes: Mapping[str, int]) -> Layout:
        stats = {kind: tuple(Stat(name, flag == "G", text) for name, flag, text in names[kind]) for kind in KINDS}
        layout = cls(stats, dict(sizes), tuple(name for name, _, _ in names["failure"]), tuple(bounds_us))
        for kind in KINDS:
            wanted = len(stats[kind]) + layout._extra(kind)
            if sizes[kind] != wanted:
                raise ValueError(f"a {kind} block has {sizes[kind]} slots, its names make {wanted}")
        return layout

    def _extra(self, kind: str) -> int:
        if kind == "listener":
            return len(self.failures)
        if kind == "upstream":
            return self.latency_buckets + 1
        return 0

    @property
    def latency_buckets(self) -> int:
        return len(self.bounds_us) + 1

    def gauges(self, kind: str) -> tuple[int, ...]:
        """Offsets of the gauges in a block: what has to be zeroed when the worker that wrote them is gone."""
        return tuple(at for at, stat in enumerate(self.stats[kind]) if stat.gauge)
