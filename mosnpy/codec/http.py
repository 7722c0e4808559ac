"""What HTTP messages have in common, whatever version they came in: the attributes of the codecs http1 and http2, and limits
of both. A rule written for one holds for the other. The C side of the attributes is csrc/codecs/http_attr.h."""

from __future__ import annotations

from mosnpy.codec.description import Attribute
from mosnpy.codec.limits import Limit

__all__ = ["HTTP_ATTRIBUTES", "HTTP_LIMITS", "HTTP_NAMESPACES"]

HTTP_NAMESPACES = ("http", "grpc")

HTTP_ATTRIBUTES = (
    Attribute("http.method", "str", "the method as it came: GET", form="method"),
    Attribute("http.path", "str", "the path, normalised, without the query", form="path"),
    Attribute("http.query", "str", "what follows the question mark, as it came"),
    Attribute("http.host", "str", "the host asked for, in lower case, without port", form="host"),
    Attribute("http.scheme", "str", "http or https, by the client's connection", values=("http", "https")),
    Attribute("http.content_type", "str", "the media type of the body, as it came"),
    Attribute("http.version", "str", "1.0, 1.1 or 2", values=("1.0", "1.1", "2")),
    Attribute("http.user_agent", "str", "the User-Agent field"),
    Attribute("http.header.*", "strs", "a header field: http.header.x-tenant; each of several", form="field"),
    Attribute("http.query.*", "strs", "a parameter of the query, decoded: http.query.debug; each of several"),
    Attribute("http.cookie.*", "strs", "a cookie: http.cookie.session; each of several"),
    Attribute("grpc.service", "str", "service of a gRPC call: shop.Cart"),
    Attribute("grpc.method", "str", "method of a gRPC call: AddItem"),
)

HTTP_LIMITS = (
    Limit(
        *(
            "head",
            64 << 10,
            "bytes",
            "largest head: first line and fields; HTTP/2: names and values, and 32 for each field",
        ),
        "Envoy: max_request_headers_kb 60; nginx: 4 buffers of 8 KiB; Node.js: 16 KiB",
        minimum=1 << 10,
        maximum=1 << 20,
    ),
    Limit(
        *("fields", 100, "items", "most fields of a head", "Envoy: max_headers_count 100; Apache httpd: 100"),
        maximum=1024,
    ),
    Limit(
        *(
            "target",
            16 << 10,
            "bytes",
            "longest request target; beyond, 414",
            "RFC 9112 §3: at least 8000; nginx: 8 KiB",
        ),
        minimum=64,
        maximum=1 << 20,
    ),
    Limit(
        *(
            "trailers",
            16 << 10,
            "bytes",
            "trailer fields of a body",
            "none of its own in Envoy and nginx: part of the head's",
        ),
        minimum=0,
        maximum=1 << 20,
    ),
)
"""Of one message; for responses all but the target."""
