"""Rows of workers added up and named; quantiles."""

from __future__ import annotations

import pytest

from mosnpy.observe.layout import Layout
from mosnpy.observe.slots import SlotRegistry
from mosnpy.observe.snapshot import Histogram, as_json, take

NAMES = {
    "worker": [("polls", "C", "turns"), ("busy_us", "C", "time")],
    "listener": [("connections_total", "C", "accepted")],
    "upstream": [("requests_total", "C", "requests")],
    "endpoint": [("requests_total", "C", "requests"), ("connections_active", "G", "open")],
    "route": [("requests_total", "C", "requests")],
    "operation": [("requests_total", "C", "requests")],
    "failure": [("NONE", "--", "none"), ("NO_ROUTE", "NR", "no route"), ("TIMEOUT", "UT", "too late")],
}
SIZES = {"worker": 2, "listener": 4, "upstream": 5, "endpoint": 2, "route": 1, "operation": 1}
LAYOUT = Layout.of(NAMES, [100, 1000], SIZES)


def row(values: dict[int, int]) -> memoryview:
    view = memoryview(bytearray(100 * 8)).cast("Q")
    for slot, value in values.items():
        view[slot] = value
    return view


def test_a_layout_that_does_not_fit_its_sizes() -> None:
    with pytest.raises(ValueError, match="a listener block has 3 slots, its names make 4"):
        Layout.of(NAMES, [100, 1000], {**SIZES, "listener": 3})


def test_sums_and_names() -> None:
    registry = SlotRegistry(SIZES, total=100)
    registry.begin(1)
    listener, upstream = registry.block("listener", "l"), registry.block("upstream", "u")
    endpoint, operation = registry.block("endpoint", "u/10.0.0.1:1"), registry.block("operation", "redis.GET")
    registry.block("operation", "redis.SET")
    registry.block("route", "l/l.0")
    rows = [
        row({0: 5, listener: 1, listener + 3: 2, upstream: 7, upstream + 1: 1, upstream + 3: 1, upstream + 4: 9000}),
        row({0: 6, listener: 2, endpoint: 3, endpoint + 1: 1, upstream + 2: 4, upstream + 4: 1000, operation: 8}),
    ]
    shown = as_json(take(LAYOUT, registry, rows))
    assert shown["workers"] == [{"index": 0, "polls": 5, "busy_us": 0}, {"index": 1, "polls": 6, "busy_us": 0}]
    assert shown["listeners"] == {"l": {"connections_total": 3, "failures": {"TIMEOUT": 2}}}
    assert shown["routes"] == {"l/l.0": {"requests_total": 0}}
    assert shown["operations"] == {"redis.GET": {"requests_total": 8}}
    assert shown["upstreams"] == {
        "u": {
            "requests_total": 7,
            "latency": {
                "count": 6, "sum_us": 10000, "p50_us": 550.0, "p99_us": 1000.0,
                "bounds_us": [100, 1000], "buckets": [1, 4, 1],
            },
            "endpoints": {"10.0.0.1:1": {"requests_total": 3, "connections_active": 1}},
        }
    }  # fmt: skip


def test_names_of_an_earlier_generation_are_not_shown() -> None:
    registry = SlotRegistry(SIZES, total=100)
    registry.begin(1)
    registry.block("upstream", "gone")
    registry.begin(2)
    registry.block("upstream", "here")
    assert [block.name for block in take(LAYOUT, registry, [row({})]).of("upstream")] == ["here"]


def test_quantiles() -> None:
    histogram = Histogram([100, 200, 400], [10, 0, 10, 0], 0)
    assert histogram.quantile_us(0.5) == 100
    assert histogram.quantile_us(0.25) == 50
    assert histogram.quantile_us(0.75) == 300
    assert Histogram([100], [0, 5], 0).quantile_us(0.5) == 100  # above the last bound: that is all we know
    assert Histogram([100], [0, 0], 0).quantile_us(0.5) is None


def test_what_came_between() -> None:
    now, then = Histogram([100], [7, 3], 500), Histogram([100], [5, 3], 200)
    assert now.minus(then) == Histogram([100], [2, 0], 300)
