"""HTTP/1 heads and chunked bodies parsed, HPACK blocks decoded and written. Times are of 10,000; `ns_each` is of one."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from bench.micro.native import library, measure

TIMES = 10_000
FIELDS = [
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) bench/1.0"),
    (b"accept", b"application/json, */*;q=0.5"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b"en-US,en;q=0.5"),
    (b"cookie", b"session=0123456789abcdef"),
    (b"x-tenant", b"acme"),
    (b"cache-control", b"no-cache"),
]
PATH, HOST = b"/bench/0123456789abcdef", b"bench.example.com"


def request(fields: list[tuple[bytes, bytes]]) -> bytes:
    lines = b"".join(b"%s: %s\r\n" % (name.title(), value) for name, value in fields)
    return b"GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n" % (PATH, HOST, lines)


REQUESTS = {
    "1 field": request([]),
    "8 fields": request(FIELDS),
    "30 fields": request(FIELDS + [(b"x-field-%d" % n, b"value-%d" % n) for n in range(22)]),
    "cookie of 2 KiB": request([*FIELDS, (b"cookie", b"c" * 2048)]),
}
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: stub\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: application/octet-stream\r\n"
    b'Cache-Control: no-store\r\nETag: "0123456789abcdef"\r\nContent-Length: 64\r\n\r\n'
)
CHUNKS = b"400\r\n%s\r\n" % (b"x" * 1024) * 16 + b"0\r\n\r\n"


# ---- HPACK as clients write it: strings as they are (RFC 7541, 6.2) ----


def _literal(first: int, name: bytes, value: bytes) -> bytes:
    return bytes([first, len(name)]) + name + bytes([len(value)]) + value


_PSEUDO = b"\x82\x86\x04" + bytes([len(PATH)]) + PATH
PLAIN = _PSEUDO + _literal(0x00, b":authority", HOST) + b"".join(_literal(0x00, *field) for field in FIELDS)
FILLING = _PSEUDO + _literal(0x40, b":authority", HOST) + b"".join(_literal(0x40, *field) for field in FIELDS)
# the newest entry of the table is 62
INDEXED = _PSEUDO + bytes(0x80 | (62 + len(FIELDS) - n) for n in range(len(FIELDS) + 1))
# ":path" of PATH, coded with appendix B's table
HUFFMAN = bytes.fromhex("82 86 04 91 62 32 d4 49 d8 00 44 cb 4d b8 eb cf 8e 32 48 59 7f")
BLOCKS = {"9 literals": (PLAIN, PLAIN), "8 indexed": (FILLING, INDEXED), "a Huffman path": (HUFFMAN, HUFFMAN)}


@pytest.fixture(scope="module")
def http() -> ctypes.CDLL:
    loaded = library("http")
    for name in ("request_head", "response_head", "chunked_body", "hpack_request"):
        getattr(loaded, name).argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint]
    block = (ctypes.c_char_p, ctypes.c_size_t)
    loaded.hpack_blocks.argtypes = [*block, *block, ctypes.c_uint]
    return loaded


@pytest.mark.parametrize("name", REQUESTS)
def test_request_head(benchmark: Any, http: ctypes.CDLL, name: str) -> None:
    measure(benchmark, http.request_head, REQUESTS[name], len(REQUESTS[name]), times=TIMES)


def test_response_head(benchmark: Any, http: ctypes.CDLL) -> None:
    measure(benchmark, http.response_head, RESPONSE, len(RESPONSE), times=TIMES)


def test_chunked_body_of_16_chunks(benchmark: Any, http: ctypes.CDLL) -> None:
    measure(benchmark, http.chunked_body, CHUNKS, len(CHUNKS), times=TIMES)


@pytest.mark.parametrize("name", BLOCKS)
def test_hpack_decode(benchmark: Any, http: ctypes.CDLL, name: str) -> None:
    first, block = BLOCKS[name]
    measure(benchmark, http.hpack_blocks, first, len(first), block, len(block), times=TIMES)


def test_hpack_encode_request(benchmark: Any, http: ctypes.CDLL) -> None:
    measure(benchmark, http.hpack_request, REQUESTS["8 fields"], len(REQUESTS["8 fields"]), times=TIMES)
