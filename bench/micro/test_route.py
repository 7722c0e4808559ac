"""Routing: one lookup by kind and number of routes. Times are of 8,192 different keys; `ns_each` is of one."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from bench.micro.native import library, measure

KEYS = 8192
KINDS: dict[str, Callable[[int], list[Any]]] = {
    "prefix": lambda n: ["prefix", "redis.key", f"t{n:05}:"],
    "exact": lambda n: ["eq", "redis.key", f"t{n:05}:user:0123"],
    "command+prefix": lambda n: ["and", ["eq", "operation", "GET"], ["prefix", "redis.key", f"t{n:05}:"]],
    "glob": lambda n: ["glob", "redis.key", f"t{n:05}:*:01*"],
    "regex": lambda n: ["regex", "redis.key", f"^t{n:05}:[a-z]+:"],
}


@pytest.fixture(scope="module")
def route() -> ctypes.CDLL:
    loaded = library("route")
    loaded.table_open.restype = ctypes.c_void_p
    loaded.table_open.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    loaded.table_close.argtypes = [ctypes.c_void_p]
    loaded.lookup.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint, ctypes.c_uint, ctypes.c_uint]
    loaded.which.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint]
    return loaded


def table(kind: str, count: int) -> bytes:
    """`count` routes of a kind, and a catch-all."""
    routes = [{"name": f"r{n}", "stats": 0, "when": KINDS[kind](n), "to": 0, "timeout_ms": 0} for n in range(count)]
    plan: bytes = msgpack.packb({"routes": [*routes, {"name": "rest", "stats": 0, "to": 0, "timeout_ms": 0}]})
    return plan


# regexes are tried one by one, as documented: many of them are many times dearer
SIZES = [(kind, count) for kind in KINDS for count in (10, 10_000) if kind != "regex" or count == 10]


@pytest.mark.parametrize(("kind", "count"), SIZES)
def test_lookup(benchmark: Any, route: ctypes.CDLL, kind: str, count: int) -> None:
    plan = table(kind, count)
    opened = route.table_open(plan, len(plan))
    assert opened
    try:
        chance = random.Random(1)
        keys = [b"t%05d:user:0123" % chance.randrange(count) for _ in range(KEYS)]
        assert route.which(opened, keys[0], len(keys[0])) == int(keys[0][1:6])
        measure(benchmark, route.lookup, opened, b"".join(keys), len(keys[0]), KEYS, times=KEYS)
    finally:
        route.table_close(opened)
