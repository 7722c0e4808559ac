"""A listener's own limits: refused as Redis refuses what is over its own, before the bytes are there, and exactly at the edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.resp import encode
from mosnpy.testing.waiting import until

BULK, ARGS, INLINE, COLLECT, PIPELINE = 256 * 1024, 100, 1024, 64 * 1024, 10
LIMITS = {"bulk": "256KiB", "args": ARGS, "inline": "1KiB", "collect": "64KiB", "pipeline": PIPELINE}


@pytest.fixture
def limited(shard_servers: list[RedisServer], shared_proxies: Any) -> Iterator[Front]:
    """Three shards behind a listener with narrow limits."""
    proxy, address = shared_proxies.get(
        "limited", shard_servers, listener={"limits": LIMITS}, lb={"policy": "ring_hash", "hash": "redis.key"}
    )
    for server in shard_servers:
        server.clean()
    front = Front(address, shard_servers, proxy)
    yield front
    front.close()


def test_bulk_at_the_limit_passes(limited: Front) -> None:
    wire = limited.wire()
    wire.ok("SET", "k", "x" * BULK)
    assert wire.ask("STRLEN", "k") == b":%d\r\n" % BULK


def test_bulk_over_the_limit_is_refused_before_it_comes(limited: Front) -> None:
    wire = limited.wire()
    wire.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (BULK + 1))
    assert wire.rest() == b"-ERR Protocol error: invalid bulk length\r\n"


def test_bulk_over_the_limit_behind_others(limited: Front) -> None:
    wire = limited.wire()
    wire.send_raw(
        encode("SET", "k", "v") + encode("GET", "k") + b"*2\r\n$3\r\nGET\r\n$%d\r\n" % (BULK + 1) + b"x" * 100
    )
    assert wire.rest() == b"+OK\r\n$1\r\nv\r\n-ERR Protocol error: invalid bulk length\r\n"


def test_arguments_at_and_over_the_limit(limited: Front) -> None:
    wire = limited.wire()
    assert wire.ask("DEL", *[f"{{t}}{number}" for number in range(ARGS - 1)]) == b":0\r\n"
    wire.send_raw(b"*%d\r\n" % (ARGS + 1))
    assert wire.rest() == b"-ERR Protocol error: invalid multibulk length\r\n"


def test_inline_at_and_over_the_limit(limited: Front) -> None:
    wire = limited.wire()
    text = b"x" * (INLINE - 10)
    wire.send_raw(b"ECHO " + text + b"\r\n")
    assert wire.reply() == b"$%d\r\n%b\r\n" % (len(text), text)
    wire.send_raw(b"ECHO " + b"x" * (INLINE + 10))
    assert wire.rest() == b"-ERR Protocol error: too big inline request\r\n"


def test_split_request_over_the_collect_limit_is_refused(limited: Front) -> None:
    """It would have to be held in memory whole; anything that goes to one shard may be longer."""
    wire, other = limited.wires(2)
    wire.send_raw(encode("MSET", *[word for number in range(20) for word in (f"k{number}", "v" * 10_000)]))
    assert wire.rest().startswith(b"-ERR")
    assert other.ask("DBSIZE") == b":0\r\n"
    assert other.ask("MSET", *[word for number in range(20) for word in (f"k{number}", "v" * 1_000)]) == b"+OK\r\n"


def test_pipelines_longer_than_the_limit_are_read_bit_by_bit(limited: Front) -> None:
    wire = limited.wire()
    wire.send_raw(b"".join(encode("SET", f"k{number}", number) + encode("GET", f"k{number}") for number in range(1000)))
    for number in range(1000):
        assert wire.replies(2) == [b"+OK\r\n", encode(number)[4:]]


def test_waiting_client_holds_no_more_than_its_pipeline(limited: Front) -> None:
    """One command that takes long, a thousand behind it: at most `pipeline` of them are under way."""
    wire, other = limited.wires(2)
    wire.send_raw(encode("BLPOP", "q", 0) + encode("INCR", "{q}n") * 1000)
    until(
        lambda: sum(int(server.info("clients")["blocked_clients"]) for server in limited.servers) == 1,
        "the BLPOP to wait",
    )
    assert limited.proxy is not None
    assert limited.proxy.stats()["listeners"]["front"]["requests_active"] <= PIPELINE
    other.ask("RPUSH", "q", "x")
    assert wire.reply().endswith(b"$1\r\nx\r\n")
    assert wire.replies(1000)[-1] == b":1000\r\n"
