"""Which slots of a worker's row belong to which name.

Blocks are handed out by kind and name while a configuration is compiled, and stay with the name over reloads: an
upstream that comes back goes on counting where it stopped. The compiled plan carries the bases, so workers know numbers
only. The same registry numbers the endpoints in the health table and the listeners, which must keep their ids over
reloads too. It travels between processes, and rests in the supervisor, as bytes (`pack`, `unpack`): with 10,000 routes its
objects would make every process forked there 10 MB larger.

A name that no plan has used for two generations may lose its block when the row is full. Two, because streams of the
generation before may still be counting.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import msgpack

TOTAL_SLOTS = 65_536  # per worker; 512 KiB of address space, of which only touched pages cost memory
TOTAL_HEALTH = 16_384  # endpoints over the life of a supervisor
_KEEP_GENERATIONS = 2


class SlotsExhausted(ValueError):
    """The configuration names more things than a row has room for."""


@dataclass(slots=True)
class _Block:
    base: int
    generation: int


@dataclass(slots=True)
class SlotRegistry:
    """Hands out blocks. `begin` opens a compilation; what is asked for until the next one is in use."""

    sizes: Mapping[str, int]
    total: int = TOTAL_SLOTS
    generation: int = 0
    reclaimed: list[tuple[int, int]] = field(default_factory=list)  # (base, size) to be zeroed before the plan is used
    _top: int = 0
    _blocks: dict[tuple[str, str], _Block] = field(default_factory=dict)
    _health: dict[str, _Block] = field(default_factory=dict)
    _listeners: dict[str, int] = field(default_factory=dict)
    _ephemeral: int = 0  # listeners on port 0 of this compilation
    secret: bytes = field(
        default_factory=lambda: os.urandom(32), repr=False
    )  # seals session tickets, the same in all workers

    def __post_init__(self) -> None:
        if not self._top:
            self._top = self.sizes["worker"]  # every row begins with the worker's own block

    def begin(self, generation: int) -> None:
        self.generation = generation
        self.reclaimed = []
        self._ephemeral = 0

    def block(self, kind: str, name: str) -> int:
        """The first slot of the block for this name, taken now if it has none."""
        block = self._blocks.get((kind, name))
        if block is None:
            block = self._blocks[kind, name] = _Block(self._take(kind, name), 0)
        block.generation = self.generation
        return block.base

    def _take(self, kind: str, name: str) -> int:
        size = self.sizes[kind]
        if self._top + size <= self.total:
            base = self._top
            self._top += size
            return base
        for key, block in self._blocks.items():  # in order of age
            if key[0] == kind and block.generation + _KEEP_GENERATIONS <= self.generation:
                del self._blocks[key]
                self.reclaimed.append((block.base, size))
                return block.base
        raise SlotsExhausted(f"no statistics slots left for {kind} {name!r}: {self.total} slots are in use")

    def health(self, name: str) -> int:
        """The endpoint's byte in the health table."""
        slot = self._health.get(name)
        if slot is None:
            slot = self._health[name] = _Block(self._take_health(name), 0)
        slot.generation = self.generation
        return slot.base

    def _take_health(self, name: str) -> int:
        if len(self._health) < TOTAL_HEALTH:
            return len(self._health)
        for key, slot in self._health.items():
            if slot.generation + _KEEP_GENERATIONS <= self.generation:
                del self._health[key]
                return slot.base
        raise SlotsExhausted(f"no health slot left for {name!r}: {TOTAL_HEALTH} endpoints are in use")

    def listener(self, key: str) -> int:
        """The listener's id. The key is its address, so that a renamed listener keeps its socket. With port 0 the same
        text means another socket each time: those are told apart by their order."""
        if key.endswith(":0"):
            self._ephemeral += 1
            key = f"{key}#{self._ephemeral}"
        return self._listeners.setdefault(key, len(self._listeners) + 1)

    def live(self, kind: str) -> Iterator[tuple[str, int]]:
        """(name, base) of the blocks the latest compilation asked for, in order of age."""
        for (block_kind, name), block in self._blocks.items():
            if block_kind == kind and block.generation == self.generation:
                yield name, block.base

    def all(self) -> Iterator[tuple[str, int]]:
        """(kind, base) of every block, those without a user included."""
        yield "worker", 0
        for (kind, _), block in self._blocks.items():
            yield kind, block.base

    @property
    def used(self) -> int:
        """Slots from the start of a row that may be in use."""
        return self._top

    def pack(self) -> bytes:
        """All of it as MessagePack."""
        blocks = [(kind, name, b.base, b.generation) for (kind, name), b in self._blocks.items()]
        health = [(name, b.base, b.generation) for name, b in self._health.items()]
        whole = (
            dict(self.sizes),
            self.total,
            self.generation,
            self._top,
            blocks,
            health,
            list(self._listeners.items()),
            self.secret,
        )
        packed: bytes = msgpack.packb(whole)
        return packed

    @classmethod
    def unpack(cls, packed: bytes) -> SlotRegistry:
        sizes, total, generation, top, blocks, health, listeners, secret = msgpack.unpackb(packed)
        registry = cls(sizes, total, generation, [], top)
        registry._blocks = {(kind, name): _Block(base, used) for kind, name, base, used in blocks}
        registry._health = {name: _Block(slot, used) for name, slot, used in health}
        registry._listeners = dict(listeners)
        registry.secret = secret
        return registry
