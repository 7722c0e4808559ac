"""HTTP/2, gRPC on top of it. The bytes are handled by csrc/codecs/http2_*.c and hpack*.c, what an exchange means by exchange.c;
SPEC.md says what is supported."""

from __future__ import annotations

from mosnpy.codec import Codec, Limit, PoolMode
from mosnpy.codec.http import HTTP_ATTRIBUTES, HTTP_LIMITS, HTTP_NAMESPACES

__all__ = ["CODEC"]

CODEC = Codec(
    name="http2",
    doc="HTTP/2 over TLS or by prior knowledge (h2c), gRPC and gRPC-Web; converts to and from HTTP/1",
    pool_mode=PoolMode.MULTIPLEX,
    native=True,
    namespaces=HTTP_NAMESPACES,
    port=443,
    attributes=HTTP_ATTRIBUTES,
    limits=(
        *HTTP_LIMITS,
        Limit(
            *("max_streams", 128, "requests", "most requests at once on one connection"),
            "RFC 9113 §6.5.2: at least 100; nginx 128, HAProxy 100",
            maximum=10_000,
        ),
        Limit(
            *("stream_window", 256 << 10, "bytes", "what a peer may send on one stream before it was passed on"),
            "RFC 9113 §6.9.2 starts with 65,535; Envoy 256 MiB, nginx 64 KiB",
            minimum=65_535,
            maximum=(1 << 31) - 1,
        ),
        Limit(
            *("connection_window", 1 << 20, "bytes", "what a peer may send on one connection before it was passed on"),
            "RFC 9113 §6.9.2 starts with 65,535; Envoy 256 MiB",
            minimum=65_535,
            maximum=(1 << 31) - 1,
        ),
        Limit(
            *("header_table", 4 << 10, "bytes", "table for compressed fields, in each direction"),
            "RFC 9113 §6.5.2: 4096 is the initial value, and everybody's",
            minimum=0,
            maximum=64 << 10,
        ),
    ),
)
