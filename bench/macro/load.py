"""A load: one shape of traffic, how its generator and its stub backend are told, what mosnpy is to reach under it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

MIB = 1 << 20


@dataclass(frozen=True)
class Load:
    """Traffic from bench/macro/loadgen.c to backend.c: Redis commands, or the same bytes through a TCP listener."""

    generator: ClassVar[str] = "loadgen"
    server: ClassVar[str] = "backend"

    name: str
    title: str
    connections: int = 50
    pipeline: int = 1
    op: str = "get"
    value: int = 64  # bytes
    kind: str = (
        "redis"  # how the proxies are configured: "redis" where they can, "tcp" as a pipe, or one of http_kinds.py
    )
    tenants: int = 0  # keys under that many prefixes instead of the three of the configurations
    targets: dict[str, float] = field(default_factory=dict)  # peer -> least ratio peer/mosnpy
    extra: bool = False  # left out of the quick profile, unless its scenario is named
    beside: str = ""  # another kind mosnpy is measured as in the same rounds, as "mosnpy KIND"
    notes: tuple[str, ...] = ()  # what has to be said beside the figures

    def arguments(self) -> list[str]:
        return [
            *("--connections", str(self.connections), "--pipeline", str(self.pipeline), "--op", self.op),
            *("--value", str(self.value), "--tenants", str(self.tenants)),
        ]


@dataclass(frozen=True)
class HttpLoad(Load):
    """Traffic from loadgen_http.c to backend_http.c. `op`: get, put (the value is the request's body) or grpc."""

    generator: ClassVar[str] = "loadgen_http"
    server: ClassVar[str] = "backend_http"

    protocol: str = "h1"  # the client's: h1 or h2
    streams: int = 1  # of HTTP/2, in flight per connection
    tls: bool = False
    reconnect: bool = False  # a new connection for each request
    hosts: int = 0  # requests for that many hosts and ten paths each, instead of one host

    def arguments(self) -> list[str]:
        return [
            *("--connections", str(self.connections), "--streams", str(self.streams), "--op", self.op),
            *("--value", str(self.value), "--hosts", str(self.hosts), "--protocol", self.protocol),
            *(["--tls"] if self.tls else []),
            *(["--reconnect"] if self.reconnect else []),
        ]


@dataclass(frozen=True)
class Scenario:
    """A name for the command line and the loads it stands for."""

    name: str
    about: str
    loads: tuple[Load, ...] = ()
