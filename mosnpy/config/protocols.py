"""What each protocol adds to listeners, chains, routes and upstreams, and which of them a listener can tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mosnpy.config.fields import Model, Name, Secret, between, duration, size
from mosnpy.config.http import Http2Settings, HttpOptions, ReplyLimits
from mosnpy.config.http_routes import HttpRoute
from mosnpy.config.models import Chain, Health, Listener, Service, Upstream
from mosnpy.config.report import did_you_mean, shown
from mosnpy.config.routes import RequestRoute, Route
from mosnpy.config.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ALIASES", "PROTOCOLS", "Protocol", "ProtocolError", "Spoken", "models_for", "spoken"]


# -- tcp -------------------------------------------------------------------------------------------------------------


class TcpListener(Listener):
    """Bytes through, one upstream connection per client."""

    protocol: Literal["tcp"] | list[Literal["tls", "tcp"]]
    """What clients speak here: tcp passes everything on as it is."""
    idle_timeout: Duration = duration("1h")
    """Closes a connection on which nothing has moved in either direction for so long; 0s = never."""


class TcpUpstream(Upstream):
    """Endpoints that get bytes as they come."""

    protocol: Literal["tcp"]
    """What the endpoints speak: tcp passes everything on as it is."""


# -- redis -----------------------------------------------------------------------------------------------------------


class RedisLogin(Model):
    """Who may use a listener: the proxy asks for the password itself. Without it AUTH goes to the upstream."""

    password: Secret | None = None
    """Password of the user `default`, as with AUTH password."""
    users: Annotated[dict[Name, Secret], Field(min_length=1)] | None = None
    """Passwords by user, as with AUTH user password."""

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if self.password is None and not self.users:
            raise ValueError("auth needs a password or users; leave it out to let the upstream decide")
        if self.password is not None and self.users and "default" in self.users:
            raise ValueError("`password` is that of the user `default`, who is also among `users`")
        return self

    def plan(self) -> dict[str, Any]:
        """As the plan has it."""
        users = {name: secret.get_secret_value() for name, secret in (self.users or {}).items()}
        if self.password is not None:
            users = {"default": self.password.get_secret_value(), **users}
        return {"users": [{"name": name, "password": password} for name, password in users.items()]}


class RedisLimits(Model):
    """What one client may ask for. Redis' own limits are the defaults."""

    bulk: Annotated[Size, between("1KiB", "2GiB")] = size("512MiB")
    """Longest single argument."""
    args: Annotated[int, Field(ge=16, le=1 << 30)] = 1_048_576
    """Most arguments of one command."""
    inline: Annotated[Size, between("256B", "1MiB")] = size("64KiB")
    """Longest inline command (a line of plain text)."""
    collect: Annotated[Size, between("64KiB", "2GiB")] = size("64MiB")
    """Largest command that may be taken apart for several shards; it is held in memory meanwhile."""
    pipeline: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    """Requests in flight per client; beyond, the proxy stops reading until replies have come."""

    def plan(self) -> dict[str, int]:
        """As the plan has it."""
        return {name: int(getattr(self, name)) for name in type(self).model_fields}


class RedisService(Service):
    """What listeners and chains that speak redis have."""

    speaks: ClassVar[str] = "redis"
    route_model: ClassVar[type[Route]] = RequestRoute

    auth: RedisLogin | None = None
    """Passwords the proxy itself asks for; without them AUTH goes to the upstream."""
    limits: RedisLimits = Field(default_factory=RedisLimits)
    """What one client may ask for."""

    def options(self, protocol: str) -> dict[str, Any]:
        if protocol != "redis":
            return super().options(protocol)
        login = {"auth": self.auth.plan()} if self.auth is not None else {}
        return {**login, "limits": self.limits.plan()}


class RedisListener(RedisService, Listener):
    """Redis clients, RESP2 and RESP3."""

    protocol: Literal["redis"] | list[Literal["tls", "redis", "tcp"]]
    """What clients speak here: redis, RESP2 and RESP3 on the same port."""


class UpstreamLogin(Model):
    """How the proxy introduces itself to the endpoints."""

    username: Annotated[str, Field(min_length=1)] | None = None
    """ACL user; without it the password of the user `default` is meant."""
    password: Secret
    """Password."""


class RedisHealth(Health):
    """Active health checks, made by the controller for all workers."""

    types: ClassVar[tuple[str, ...]] = ("tcp", "redis")

    type: Literal["tcp", "redis"] | None = None  # type: ignore[assignment]  # more than the common ones
    """tcp: a connection can be made; redis, the default: PING is answered."""

    def default_type(self) -> str:
        return "redis"


class RedisUpstream(Upstream):
    """Redis servers: replicas of each other, or shards (with ring_hash or maglev)."""

    default_hash: ClassVar[str] = "redis.key"
    default_on_unhealthy: ClassVar[Literal["fail", "rehash"]] = "fail"

    protocol: Literal["redis"]
    """What the endpoints speak: redis."""
    health: RedisHealth | None = None
    """Active health checks; without this key there are none. {} = with the defaults."""
    auth: UpstreamLogin | None = None
    """User and password the proxy logs in with."""
    resp3: Literal["auto", "off"] = "auto"
    """auto: RESP3 is offered to the endpoints, RESP2 used where they refuse; off: always RESP2."""

    def options(self) -> dict[str, Any]:
        login: dict[str, Any] = {}
        if self.auth is not None:
            login = {"username": self.auth.username or "", "password": self.auth.password.get_secret_value()}
        return {**login, "resp3": self.resp3 == "auto"}


# -- http ------------------------------------------------------------------------------------------------------------


class HttpService(Service):
    """What listeners and chains that speak HTTP have."""

    speaks: ClassVar[str] = "http"
    route_model: ClassVar[type[Route]] = HttpRoute

    http: HttpOptions = Field(default_factory=HttpOptions)
    """How HTTP is handled."""

    def options(self, protocol: str) -> dict[str, Any]:
        return self.http.plan() if protocol in ("http1", "http2") else super().options(protocol)


class HttpListener(HttpService, Listener):
    """HTTP clients. `http` takes HTTP/2 (by ALPN or its preface) and HTTP/1 on the same port."""

    protocol: Literal["http", "http1", "http2"] | list[Literal["tls", "http", "http2", "http1", "tcp"]]
    """What clients speak here: http (both versions), http1, http2, or a list to tell apart by the first bytes."""


StatusClass = Literal["1xx", "2xx", "3xx", "4xx", "5xx"]


class HttpHealth(Health):
    """Active health checks, made by the controller for all workers."""

    types: ClassVar[tuple[str, ...]] = ("tcp", "http", "grpc")

    type: Literal["tcp", "http", "grpc"] | None = None  # type: ignore[assignment]  # more than the common ones
    """tcp: a connection can be made; http: a request is answered as expected; grpc: grpc.health.v1 says SERVING. Default: by the keys below, else tcp."""
    path: Annotated[str, Field(pattern=r"^/[^\x00-\x20#\x7f]*$", max_length=4096)] | None = None
    """For http: what is asked for; default /."""
    host: Annotated[str, Field(pattern=r"^[^\x00-\x20/?#@\x7f]+$", max_length=512)] | None = None
    """For http and grpc: the host asked for; default: the TLS name, else the endpoint's address."""
    method: Literal["GET", "HEAD", "OPTIONS"] | None = None
    """For http: the method; default GET."""
    expect: (
        Annotated[list[Annotated[int, Field(ge=100, le=599)] | StatusClass], Field(min_length=1, max_length=64)] | None
    ) = None
    """For http: statuses of a healthy answer, such as [200, 204] or [2xx, 3xx]; default [2xx]."""
    service: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]*$", max_length=512)] | None = None
    """For grpc: the service asked about; default: the server as a whole."""

    @model_validator(mode="after")
    def _keys_of_the_type(self) -> Self:
        about = self.type or self.default_type()
        for name, types in (("path", "http"), ("method", "http"), ("expect", "http"), ("service", "grpc")):
            if getattr(self, name) is not None and about != types:
                raise ValueError(f"{name} is for checks of type {types}, this one is {about}")
        if self.host is not None and about == "tcp":
            raise ValueError("host is for checks of type http and grpc, this one is tcp")
        return self

    def default_type(self) -> str:
        if self.service is not None:
            return "grpc"
        return "tcp" if (self.path, self.host, self.method, self.expect) == (None, None, None, None) else "http"

    def plan(self) -> dict[str, Any]:
        if self.type == "grpc":
            return {"host": self.host or "", "service": self.service or ""}
        if self.type == "http":
            expect = [str(each) for each in self.expect or ["2xx"]]
            return {
                "host": self.host or "",
                "path": self.path or "/",
                "method": self.method or "GET",
                "expect": expect,
            }
        return {}


class Http1Upstream(Upstream):
    """HTTP/1.1 servers. A connection carries one request at a time, unless `pipeline` is set."""

    protocol: Literal["http1"]
    """What the endpoints speak: http1."""
    health: HttpHealth | None = None
    """Active health checks; without this key there are none. {} = with the defaults."""
    stream_idle: Duration = duration("5m")
    """Ends an exchange on which nothing has moved in either direction for so long. 0s = never."""
    limits: ReplyLimits = Field(default_factory=ReplyLimits)
    """What one response may be."""
    pipeline: Annotated[int, Field(ge=0, le=1024)] = 0
    """Shared connections per endpoint and worker on which requests without a body that may be repeated (GET, HEAD …) follow each other without waiting. 0 = off; only for servers that keep their replies in order and quick."""

    @property
    def shared_connections(self) -> int:
        return self.pipeline or self.pool.connections

    @property
    def alpn(self) -> list[str]:
        return ["http/1.1"]

    def options(self) -> dict[str, Any]:
        return {
            "stream_idle_ms": self.stream_idle.ms,
            "pipeline": self.pipeline > 0,
            "limits": self.limits.plan(),
        }


class Http2Upstream(Upstream):
    """HTTP/2 servers, gRPC among them: many requests share a few connections. Without `tls`, by prior knowledge (h2c)."""

    protocol: Literal["http2"]
    """What the endpoints speak: http2."""
    health: HttpHealth | None = None
    """Active health checks; without this key there are none. {} = with the defaults."""
    stream_idle: Duration = duration("5m")
    """Ends an exchange on which nothing has moved in either direction for so long. 0s = never."""
    limits: ReplyLimits = Field(default_factory=ReplyLimits)
    """What one response may be."""
    http2: Http2Settings = Field(default_factory=Http2Settings)
    """HTTP/2 towards the endpoints."""

    @property
    def alpn(self) -> list[str]:
        return ["h2"]

    def options(self) -> dict[str, Any]:
        return {
            "stream_idle_ms": self.stream_idle.ms,
            "pipeline": False,
            "limits": self.limits.plan(),
            **self.http2.plan(),
        }


# -- several ---------------------------------------------------------------------------------------------------------


class MixedListener(RedisService, HttpService, Listener):
    """HTTP and Redis clients on one port, told apart by their first bytes."""

    route_model: ClassVar[type[Route]] = HttpRoute

    protocol: list[Literal["tls", "http", "http2", "http1", "redis", "tcp"]]
    """What clients speak here, in the order in which it is tried."""


class TcpChain(Chain):
    """Clients that ask for certain server names; they speak tcp."""


class RedisChain(RedisService, Chain):
    """Clients that ask for certain server names; they speak redis."""


class HttpChain(HttpService, Chain):
    """Clients that ask for certain server names; they speak HTTP."""


class MixedChain(RedisService, HttpService, Chain):
    """Clients that ask for certain server names; they speak redis or HTTP."""

    route_model: ClassVar[type[Route]] = HttpRoute


@dataclass(frozen=True, slots=True)
class Protocol:
    """One protocol. family: protocols of one family have the same attributes, and their messages can be converted.
    connection_only: it has no requests to look into."""

    name: str
    family: str
    listener: type[Listener]
    upstream: type[Upstream]
    alpn: str = ""
    connection_only: bool = False


PROTOCOLS: Mapping[str, Protocol] = {
    "http1": Protocol("http1", "http", HttpListener, Http1Upstream, "http/1.1"),
    "http2": Protocol("http2", "http", HttpListener, Http2Upstream, "h2"),
    "redis": Protocol("redis", "redis", RedisListener, RedisUpstream),
    "tcp": Protocol("tcp", "tcp", TcpListener, TcpUpstream, connection_only=True),
}
"""Those that come with mosnpy, by name."""

ALIASES: Mapping[str, tuple[str, ...]] = {"http": ("http2", "http1")}
"""Names for several protocols; in the order in which they are tried."""

_LISTENERS: Mapping[frozenset[str], tuple[type[Listener], type[Chain]]] = {
    frozenset({"tcp"}): (TcpListener, TcpChain),
    frozenset({"redis"}): (RedisListener, RedisChain),
    frozenset({"http"}): (HttpListener, HttpChain),
    frozenset({"http", "redis"}): (MixedListener, MixedChain),
}


class ProtocolError(ValueError):
    """index: the item of the list at fault, None for the value as a whole. model: the protocol that was most likely meant."""

    def __init__(self, message: str, index: int | None = None, meant: str = "") -> None:
        super().__init__(message)
        self.index = index
        self.meant = meant


@dataclass(frozen=True, slots=True)
class Spoken:
    """What `protocol:` of a listener says. names: protocols in the order in which they are tried, aliases spelled out.
    tls: the list begins with tls, so TLS and plaintext may come."""

    names: tuple[str, ...]
    tls: bool = False

    @property
    def families(self) -> tuple[str, ...]:
        """In the order of the protocols."""
        return tuple(dict.fromkeys(PROTOCOLS[name].family for name in self.names))

    @property
    def alpn(self) -> list[str]:
        """What is offered in TLS handshakes."""
        return [PROTOCOLS[name].alpn for name in self.names if PROTOCOLS[name].alpn]


def spoken(value: object) -> Spoken:
    """Reads the value of `protocol:` of a listener. Raises ProtocolError with a sentence."""
    if not isinstance(value, list):
        return Spoken(_expanded(value, None))
    names: list[str] = []
    for i, item in enumerate(value):
        if item == "tls":
            if i:
                raise ProtocolError("tls stands first in the list: it carries the others", i)
            continue
        for name in _expanded(item, i):
            if name in names:
                via = "" if name == item else f" ({item} stands for {' and '.join(ALIASES[item])})"
                raise ProtocolError(f"{name} is listed twice{via}", i)
            if names and names[-1] == "tcp":
                raise ProtocolError(f"tcp takes whatever comes: {item} behind it would never get its turn", i)
            names.append(name)
    if not names:
        what = "tls only carries another protocol: add it" if value else "an empty list: name at least one protocol"
        raise ProtocolError(what)
    return Spoken(tuple(names), value[0] == "tls")


def _expanded(value: object, index: int | None) -> tuple[str, ...]:
    if isinstance(value, str) and value in ALIASES:
        return ALIASES[value]
    if isinstance(value, str) and value in PROTOCOLS:
        return (value,)
    known = [*ALIASES, *PROTOCOLS]
    if value == "tls":
        raise ProtocolError("tls only carries another protocol: write `protocol: http` and a `tls:` block", index)
    if value in ("https", "grpc", "h2", "h2c", "websocket", "ws"):
        better = "http2" if value in ("grpc", "h2", "h2c") else "http"
        raise ProtocolError(f"unknown protocol {shown(value)}, did you mean {better!r}?", index, better)
    hint = did_you_mean(value, known)
    meant = next((name for name in known if repr(name) in hint), "")
    raise ProtocolError(f"unknown protocol {shown(value)}{hint or ': known are ' + ', '.join(known)}", index, meant)


def models_for(families: tuple[str, ...]) -> tuple[type[Listener], type[Chain]]:
    """The models of a listener that speaks these families, and of its chains. tcp adds nothing to the others."""
    return _LISTENERS[frozenset(families) - {"tcp"} or frozenset({"tcp"})]


def every_listener() -> list[type[Listener]]:
    """All models of listeners."""
    return [listener for listener, _ in _LISTENERS.values()]


def every_chain() -> list[type[Chain]]:
    """All models of chains."""
    return [chain for _, chain in _LISTENERS.values()]
