"""The memory all processes share."""

from __future__ import annotations

import os

from mosnpy.observe.layout import KINDS, Layout
from mosnpy.observe.slots import SlotRegistry
from mosnpy.server.shared import SharedMemory

NAMES = {kind: [("a", "C", "counter"), ("b", "G", "gauge")] for kind in KINDS} | {"failure": []}
SIZES = dict.fromkeys(KINDS, 2) | {"upstream": 4}
LAYOUT = Layout.of(NAMES, [], SIZES)


def test_rows_do_not_overlap_and_children_see_them() -> None:
    memory = SharedMemory(2, slots=100)
    first, second = memory.rows()
    assert (len(first), len(memory.health)) == (100, 16_384)
    if not os.fork():
        second[99] = 7
        memory.health[3] = 1
        os._exit(0)
    os.wait()
    assert (second[99], memory.health[3], sum(first)) == (7, 1, 0)


def test_gauges_of_a_dead_worker_are_zeroed() -> None:
    memory, registry = SharedMemory(2, slots=100), SlotRegistry(SIZES, total=100)
    registry.begin(1)
    base = registry.block("endpoint", "u/e")
    for row in memory.rows():
        row[0] = row[1] = row[base] = row[base + 1] = 5
    memory.zero_gauges(1, LAYOUT, registry)
    first, second = memory.rows()
    assert [first[0], first[1], first[base], first[base + 1]] == [5, 5, 5, 5]
    assert [second[0], second[1], second[base], second[base + 1]] == [5, 0, 5, 0]


def test_blocks_that_change_owner() -> None:
    memory = SharedMemory(2, slots=100)
    for row in memory.rows():
        row[9] = row[10] = row[11] = row[12] = 1
    memory.zero_blocks([(10, 2)])
    assert [list(row[9:13]) for row in memory.rows()] == [[1, 0, 0, 1]] * 2
