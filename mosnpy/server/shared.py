"""Memory all processes share, made by the supervisor before the first fork.

One anonymous mapping: the statistics rows (u64 slots, one row per worker, written by that worker alone), then the health
table (a byte per endpoint, written by the controller, read by every core). Rows nobody touches cost no memory.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable

from mosnpy.observe.layout import Layout
from mosnpy.observe.slots import TOTAL_HEALTH, TOTAL_SLOTS, SlotRegistry

_SLOT = 8  # bytes


class SharedMemory:
    def __init__(self, workers: int, slots: int = TOTAL_SLOTS) -> None:
        self.workers = workers
        self._row_size = slots * _SLOT
        self._map = mmap.mmap(-1, workers * self._row_size + TOTAL_HEALTH)
        self._view = memoryview(self._map)

    def row(self, worker: int) -> memoryview:
        start = worker * self._row_size
        return self._view[start : start + self._row_size].cast("Q")

    def rows(self) -> list[memoryview]:
        return [self.row(worker) for worker in range(self.workers)]

    @property
    def health(self) -> memoryview:
        return self._view[self.workers * self._row_size :]

    def zero_gauges(self, worker: int, layout: Layout, registry: SlotRegistry) -> None:
        """After a worker's death: what it had open is closed. Its counters stay."""
        row = self.row(worker)
        offsets = {kind: layout.gauges(kind) for kind in layout.stats}
        for kind, base in registry.all():
            for offset in offsets[kind]:
                row[base + offset] = 0

    def zero_blocks(self, blocks: Iterable[tuple[int, int]]) -> None:
        """Blocks that change their owner."""
        for base, size in blocks:
            for row in self.rows():
                row[base : base + size] = memoryview(bytes(size * _SLOT)).cast("Q")

    def close(self) -> None:
        """Only when nobody holds a row any more (embedding); processes just exit."""
        self._view.release()
        self._map.close()
