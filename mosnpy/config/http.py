"""Options of HTTP listeners and upstreams. Each bound is also a limit in codecs/http1 or http2, with its precedent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints

from mosnpy.config.fields import Model, between, duration, size
from mosnpy.config.units import Duration, Size

__all__ = ["Http2Options", "Http2Settings", "HttpLimits", "HttpOptions", "ReplyLimits"]


class ReplyLimits(Model):
    """What one message may be."""

    head: Annotated[Size, between("1KiB", "1MiB")] = size("64KiB")
    """Largest head: first line and fields together."""
    fields: Annotated[int, Field(ge=1, le=1024)] = 100
    """Most fields of a head."""
    chunk_line: Annotated[Size, between("32B", "64KiB")] = size("4KiB")
    """Longest line that begins a chunk, extensions included."""
    trailers: Annotated[Size, between("0B", "1MiB")] = size("16KiB")
    """Most bytes of trailer fields."""

    def plan(self) -> dict[str, int]:
        """As the plan has it."""
        return {name: int(getattr(self, name)) for name in type(self).model_fields}


class HttpLimits(ReplyLimits):
    """What one request may be."""

    target: Annotated[Size, between("64B", "1MiB")] = size("16KiB")
    """Longest request target (path and query); beyond, 414."""
    body: Annotated[Size, between("0B", "1TiB")] = size("0B")
    """Largest request body; beyond, 413. 0B = no limit: bodies are streamed, not kept."""


class HttpPath(Model):
    """What is done to a path before rules see it; the upstream gets it in the same form."""

    normalize: bool = True
    """Resolves `.` and `..`, decodes percent-encoded letters, digits and -._~, writes the other escapes in upper case."""
    merge_slashes: bool = False
    """`//` becomes `/`."""
    escaped_slashes: Literal["keep", "reject", "decode"] = "keep"
    """%2F and %5C in a path: kept, refused with 400, or decoded before the rest is done."""


class HttpForwarded(Model):
    """What upstreams are told about the client."""

    x_forwarded: Literal["append", "set", "keep", "off"] = "append"
    """X-Forwarded-For and -Proto: append = the client's address is appended and -Proto added where there is none; set = both are written anew; keep = as they came; off = removed."""
    forwarded: Literal["off", "append"] = "off"
    """Forwarded (RFC 7239): append an element for the client."""
    via: Annotated[str, StringConstraints(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z:-]{1,255}$")] = "off"
    """Name of this proxy in Via, in requests and responses; off = no Via."""
    trusted_hops: Annotated[int, Field(ge=0, le=32)] = 0
    """Proxies in front whose X-Forwarded-For is believed: client_ip is the entry that the outermost of them wrote."""

    def plan(self) -> dict[str, Any]:
        """As the plan has it."""
        return {
            "x_forwarded": self.x_forwarded,
            "forwarded": self.forwarded == "append",
            "via": None if self.via == "off" else self.via,
            "trusted_hops": self.trusted_hops,
        }


def _window(value: Size) -> Size:
    if not 65_535 <= value < 1 << 31:
        raise ValueError(f"a window has 65535B (what HTTP/2 starts with) to 2GiB less a byte, not {value}")
    return value


def _some_time(value: Duration) -> Duration:
    if value.ms == 0:
        raise ValueError("a time to wait is expected here, not 0s")
    return value


Window = Annotated[Size, AfterValidator(_window)]


class Http2Keepalive(Model):
    """PINGs that tell whether a silent peer is still there."""

    interval: Duration = duration("0s")
    """Asks a peer from which nothing has come for so long. 0s = never. Most gRPC servers take less than 5m for abuse."""
    timeout: Annotated[Duration, AfterValidator(_some_time)] = duration("10s")
    """Closes the connection when nothing has come so long after that, either."""


class Http2Settings(Model):
    """HTTP/2 towards a peer."""

    stream_window: Window = size("256KiB")
    """Bytes a peer may send on one stream before they have been passed on."""
    connection_window: Window = size("1MiB")
    """Bytes a peer may send on one connection before they have been passed on."""
    header_table: Annotated[Size, between("0B", "64KiB")] = size("4KiB")
    """Size of the table for compressed fields (HPACK), in each direction."""
    settings_timeout: Duration = duration("10s")
    """Longest time to acknowledge our settings; beyond, the connection ends. 0s = no limit."""
    keepalive: Http2Keepalive = Field(default_factory=Http2Keepalive)
    """PINGs that tell whether a silent peer is still there."""

    def plan(self) -> dict[str, int]:
        """As the plan has it."""
        return {
            "stream_window": int(self.stream_window),
            "connection_window": int(self.connection_window),
            "header_table": int(self.header_table),
            "settings_timeout_ms": self.settings_timeout.ms,
            "keepalive_ms": self.keepalive.interval.ms,
            "keepalive_timeout_ms": self.keepalive.timeout.ms,
        }


class Http2Options(Http2Settings):
    """HTTP/2 towards clients."""

    max_streams: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Most requests at once on one connection."""

    def plan(self) -> dict[str, int]:
        """As the plan has it."""
        return {**super().plan(), "max_streams": self.max_streams}


class HttpOptions(Model):
    """HTTP on a listener."""

    head_timeout: Duration = duration("10s")
    """Longest time to send a head, from its first byte; beyond, 408. 0s = no limit."""
    body_timeout: Duration = duration("60s")
    """Longest time to send a body, plus a second for every 500 bytes received; beyond, 408. 0s = no limit."""
    stream_idle: Duration = duration("5m")
    """Ends an exchange on which nothing has moved in either direction for so long. 0s = never."""
    limits: HttpLimits = Field(default_factory=HttpLimits)
    """What one request may be."""
    path: HttpPath = Field(default_factory=HttpPath)
    """What is done to a path before rules see it."""
    forwarded: HttpForwarded = Field(default_factory=HttpForwarded)
    """What upstreams are told about the client."""
    request_id: Literal["keep", "always", "off"] = "keep"
    """X-Request-Id: made where a client sends none, made always, or left alone."""
    upgrade: bool = True
    """Lets connections be upgraded (WebSocket and whatever else an upstream answers with 101)."""
    grpc_web: bool = False
    """Translates gRPC-Web requests to gRPC."""
    http2: Http2Options = Field(default_factory=Http2Options)
    """HTTP/2 towards clients."""

    def plan(self) -> dict[str, Any]:
        """As the plan has it."""
        return {
            "head_timeout_ms": self.head_timeout.ms,
            "body_timeout_ms": self.body_timeout.ms,
            "stream_idle_ms": self.stream_idle.ms,
            "limits": self.limits.plan(),
            "path": self.path.model_dump(),
            "forwarded": self.forwarded.plan(),
            "request_id": self.request_id,
            "upgrade": self.upgrade,
            "grpc_web": self.grpc_web,
            **self.http2.plan(),
        }
