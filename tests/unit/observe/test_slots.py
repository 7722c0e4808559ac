"""Slots stay with their names over reloads and over the pipe."""

from __future__ import annotations

import pytest

from mosnpy.observe import slots
from mosnpy.observe.slots import SlotRegistry, SlotsExhausted

SIZES = {"worker": 10, "listener": 4, "upstream": 6, "endpoint": 3, "route": 2, "operation": 2}


def test_blocks_follow_the_workers_own_and_do_not_overlap() -> None:
    registry = SlotRegistry(SIZES)
    registry.begin(1)
    wanted = [("listener", "a"), ("upstream", "a"), ("endpoint", "a/1"), ("route", "a/0"), ("operation", "redis.GET")]
    bases = [registry.block(kind, name) for kind, name in wanted]
    assert bases == [10, 14, 20, 23, 25]
    assert registry.used == 27


def test_a_name_keeps_its_block() -> None:
    registry = SlotRegistry(SIZES)
    registry.begin(1)
    first, other = registry.block("upstream", "a"), registry.block("upstream", "b")
    registry.begin(2)
    assert registry.block("upstream", "b") == other
    assert list(registry.live("upstream")) == [("b", other)]
    registry.begin(3)
    assert registry.block("upstream", "a") == first
    assert list(registry.live("upstream")) == [("a", first)]
    assert set(registry.all()) == {("worker", 0), ("upstream", first), ("upstream", other)}


def test_state_travels() -> None:
    registry = SlotRegistry(SIZES)
    registry.begin(1)
    block, health, listener = registry.block("route", "a/0"), registry.health("u/e"), registry.listener("127.0.0.1:80")
    copy = SlotRegistry.unpack(registry.pack())
    copy.begin(2)
    assert (copy.block("route", "a/0"), copy.health("u/e"), copy.listener("127.0.0.1:80")) == (block, health, listener)
    assert copy.block("route", "a/1") == block + SIZES["route"]
    assert copy.health("u/f") == health + 1
    assert copy.listener("127.0.0.1:81") == listener + 1


def test_a_full_row_takes_the_block_of_a_name_long_gone() -> None:
    registry = SlotRegistry(SIZES, total=10 + 2 * 6)
    registry.begin(1)
    first = registry.block("upstream", "old")
    registry.begin(2)
    registry.block("upstream", "kept")
    with pytest.raises(SlotsExhausted, match="no statistics slots left for upstream 'new'"):
        registry.block("upstream", "new")  # streams of generation 1 may still count in the old one's
    registry.begin(3)
    registry.block("upstream", "kept")
    assert registry.block("upstream", "new") == first
    assert registry.reclaimed == [(first, 6)]


def test_a_full_row_without_anything_to_take() -> None:
    registry = SlotRegistry(SIZES, total=12)
    registry.begin(1)
    with pytest.raises(SlotsExhausted):
        registry.block("upstream", "a")


def test_health_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "TOTAL_HEALTH", 2)
    registry = SlotRegistry(SIZES)
    registry.begin(1)
    assert [registry.health(name) for name in ("a", "b", "a")] == [0, 1, 0]
    with pytest.raises(SlotsExhausted):
        registry.health("c")
    registry.begin(3)
    assert registry.health("b") == 1
    assert registry.health("c") == 0


def test_listeners_on_port_0_are_told_apart() -> None:
    registry = SlotRegistry(SIZES)
    registry.begin(1)
    ids = [registry.listener(key) for key in ("127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:80", "127.0.0.1:80")]
    assert ids == [1, 2, 3, 3]
    registry.begin(2)
    assert [registry.listener("127.0.0.1:0"), registry.listener("127.0.0.1:0")] == [1, 2]


def test_the_secret_of_tickets_stays_for_life() -> None:
    registry, other = SlotRegistry(SIZES), SlotRegistry(SIZES)
    assert len(registry.secret) == 32
    assert SlotRegistry.unpack(registry.pack()).secret == registry.secret != other.secret
    assert repr(registry.secret) not in repr(registry)
