"""The text exposition format 0.0.4, written by hand.

Names are mosnpy_<kind>_<stat>; counters end in _total, times are seconds. Families of one name stand together, with HELP
and TYPE first. Rows of operations (one per command of a protocol, hundreds) are left out while all their counters are 0.
Spec: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mosnpy.observe.layout import Stat
from mosnpy.observe.snapshot import Block, Histogram, Snapshot, split_name

_TLS_FAILED = "tls_failed_"  # begins the names of counters that are one family with the label `reason`
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Gauge:
    """A value that isn't a slot: the controller's own, such as whether the last reload was taken."""

    name: str
    help: str
    value: float
    labels: Mapping[str, str]


def render(snapshot: Snapshot, gauges: Sequence[Gauge] = ()) -> str:
    lines: list[str] = []
    lines += _gauges(gauges)
    rows = [({"worker": str(index)}, values) for index, values in enumerate(snapshot.workers)]
    lines += _families("worker", snapshot.layout.stats["worker"], rows)
    for kind in ("listener", "upstream", "endpoint", "route", "operation"):
        blocks = snapshot.of(kind)
        if kind == "operation":
            blocks = [block for block in blocks if any(block.values.values())]
        labelled = [(_labels(block), block.values) for block in blocks]
        lines += _families(kind, snapshot.layout.stats[kind], labelled)
    lines += _failures(snapshot)
    for kind in ("listener", "upstream"):
        lines += _tls_failures(kind, snapshot)
    lines += _latencies(snapshot.of("upstream"))
    lines.append("")
    return "\n".join(lines)


def _labels(block: Block) -> dict[str, str]:
    if block.kind == "endpoint":
        upstream, endpoint = split_name(block.name)
        return {"upstream": upstream, "endpoint": endpoint}
    if block.kind == "route":
        listener, route = split_name(block.name)
        return {"listener": listener, "route": route}
    if block.kind == "operation":
        protocol, _, command = block.name.partition(".")
        return {"protocol": protocol, "command": command}
    return {block.kind: block.name}


def _families(
    kind: str, stats: Sequence[Stat], rows: Sequence[tuple[Mapping[str, str], Mapping[str, int]]]
) -> Iterator[str]:
    for stat in stats if rows else ():
        if stat.name.startswith(_TLS_FAILED):
            continue
        name, scale = _metric(kind, stat)
        yield from _head(name, stat.help, "gauge" if stat.gauge else "counter")
        for labels, values in rows:
            value = values[stat.name]
            yield f"{name}{_braces(labels)} {value if scale == 1 else repr(value * scale)}"


def _metric(kind: str, stat: Stat) -> tuple[str, float]:
    """Name and factor: base units only, `_total` on counters and nowhere else."""
    base, scale = stat.name.removesuffix("_total"), 1.0
    if base.endswith("_us"):
        base, scale = base.removesuffix("_us") + "_seconds", 1e-6
    return f"mosnpy_{kind}_{base}" + ("" if stat.gauge else "_total"), scale


def _failures(snapshot: Snapshot) -> Iterator[str]:
    listeners = snapshot.of("listener")
    if not listeners:
        return
    name = "mosnpy_listener_failures_total"
    yield from _head(name, "requests answered by the proxy with an error, by cause", "counter")
    for block in listeners:
        for failure in snapshot.layout.failures:
            if failure != "NONE":
                labels = {"listener": block.name, "failure": failure}
                yield f"{name}{_braces(labels)} {block.failures.get(failure, 0)}"


def _tls_failures(kind: str, snapshot: Snapshot) -> Iterator[str]:
    blocks = snapshot.of(kind)
    reasons = [stat.name for stat in snapshot.layout.stats[kind] if stat.name.startswith(_TLS_FAILED)]
    if not blocks or not reasons:
        return
    name = f"mosnpy_{kind}_tls_failures_total"
    yield from _head(name, "TLS handshakes that failed, by cause", "counter")
    for block in blocks:
        for each in reasons:
            labels = {kind: block.name, "reason": each.removeprefix(_TLS_FAILED)}
            yield f"{name}{_braces(labels)} {block.values[each]}"


def _latencies(upstreams: Iterable[Block]) -> Iterator[str]:
    name, headed = "mosnpy_upstream_latency_seconds", False
    for block in upstreams:
        if block.latency is None:
            continue
        if not headed:
            yield from _head(name, "time from request to reply", "histogram")
            headed = True
        yield from _histogram(name, block.name, block.latency)


def _histogram(name: str, upstream: str, latency: Histogram) -> Iterator[str]:
    below = 0
    label = _escape(upstream)
    bounds = [f"{bound / 1e6:g}" for bound in latency.bounds_us]
    for bound, count in zip([*bounds, "+Inf"], latency.counts, strict=True):
        below += count
        yield f'{name}_bucket{{upstream="{label}",le="{bound}"}} {below}'
    yield f'{name}_sum{{upstream="{label}"}} {latency.sum_us / 1e6!r}'
    yield f'{name}_count{{upstream="{label}"}} {below}'


def _gauges(gauges: Sequence[Gauge]) -> Iterator[str]:
    seen: set[str] = set()
    for gauge in sorted(gauges, key=lambda each: each.name):  # stable: one family stays together
        if gauge.name not in seen:
            seen.add(gauge.name)
            yield from _head(gauge.name, gauge.help, "gauge")
        yield f"{gauge.name}{_braces(gauge.labels)} {gauge.value:.15g}"


def _head(name: str, text: str, kind: str) -> Iterator[str]:
    escaped = text.replace("\\", "\\\\").replace("\n", "\\n")
    yield f"# HELP {name} {escaped}"
    yield f"# TYPE {name} {kind}"


def _braces(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{key}="{_escape(value)}"' for key, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
