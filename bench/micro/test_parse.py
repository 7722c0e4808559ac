"""RESP: one request parsed, one reply scanned. Times are of 10,000; `ns_each` in the saved JSON is of one."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from bench.micro.native import library, measure

TIMES = 10_000


def command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


REQUESTS = {
    "get": command(b"GET", b"user:0123456789ab"),
    "set-64": command(b"SET", b"user:0123456789ab", b"x" * 64),
    "set-ex": command(b"SET", b"user:0123456789ab", b"x" * 64, b"EX", b"100"),
    "mget-100": command(b"MGET", *(b"user:%012d" % n for n in range(100))),
    "set-8KiB": command(b"SET", b"user:0123456789ab", b"x" * 8192),
}
REPLIES = {
    "status": b"+OK\r\n",
    "bulk-64": b"$64\r\n" + b"x" * 64 + b"\r\n",
    "null": b"$-1\r\n",
    "array-100": b"*100\r\n" + b"$5\r\nhello\r\n" * 100,
    "map-nested": b"%2\r\n+a\r\n*2\r\n:1\r\n#t\r\n+b\r\n%1\r\n+c\r\n,1.5\r\n",
}


@pytest.fixture(scope="module")
def parse() -> ctypes.CDLL:
    loaded = library("parse")
    for name in ("parse_request", "scan_reply"):
        getattr(loaded, name).argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
    return loaded


@pytest.mark.parametrize("name", REQUESTS)
def test_request(benchmark: Any, parse: ctypes.CDLL, name: str) -> None:
    measure(benchmark, parse.parse_request, REQUESTS[name], len(REQUESTS[name]), times=TIMES)


@pytest.mark.parametrize("name", REPLIES)
def test_reply(benchmark: Any, parse: ctypes.CDLL, name: str) -> None:
    measure(benchmark, parse.scan_reply, REPLIES[name], len(REPLIES[name]), times=TIMES)
