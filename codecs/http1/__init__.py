"""HTTP/1.0 and 1.1. The bytes are handled by csrc/codecs/http1_*.c, what an exchange means by exchange.c; SPEC.md says what is supported."""

from __future__ import annotations

from mosnpy.codec import Codec, Limit, PoolMode
from mosnpy.codec.http import HTTP_ATTRIBUTES, HTTP_LIMITS, HTTP_NAMESPACES

__all__ = ["CODEC"]

CODEC = Codec(
    name="http1",
    doc="HTTP/1.1 (and 1.0): keep-alive, chunked bodies, trailers, upgrades; converts to and from HTTP/2",
    pool_mode=PoolMode.PING_PONG,
    native=True,
    namespaces=HTTP_NAMESPACES,
    port=80,
    attributes=HTTP_ATTRIBUTES,
    limits=(
        *HTTP_LIMITS,
        Limit(
            *("chunk_line", 4 << 10, "bytes", "longest line that begins a chunk, extensions included"),
            "Go net/http: 4 KiB; extensions without end cost a server its time (CVE-2023-39326)",
            minimum=32,
            maximum=64 << 10,
        ),
    ),
)
