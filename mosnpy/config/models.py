"""What a configuration is made of: the models, their defaults and their meaning.

The text under each field is its description in the JSON Schema and in docs/reference/configuration.md. Unknown keys are
refused everywhere and types are strict: nothing that could be a slip is read as something else. What one object alone can
tell is checked here, what needs a second one (is there such an upstream?) in semantics.py.

This is the shape every protocol shares, without routes (routes.py); what each adds stands in protocols.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, SerializeAsAny, StringConstraints, model_validator

from mosnpy.config.collecting import uncollected
from mosnpy.config.fields import (
    Bind,
    Count,
    Model,
    Name,
    Target,
    Text,
    Workers,
    between,
    duration,
    expanded,
    listed,
    size,
)
from mosnpy.config.routes import FlatRoute, Route, Rule, flat
from mosnpy.config.tls import ChainTls, ClientTls, ServerName, ServerTls
from mosnpy.config.units import Duration, Percent, Size

if TYPE_CHECKING:
    from mosnpy.config.loader import Document
    from mosnpy.config.tables import Table

__all__ = [
    "HASH_POLICIES",
    "Admin",
    "Balancing",
    "Chain",
    "CodecSource",
    "Config",
    "Ejection",
    "Endpoint",
    "Health",
    "Listener",
    "Pool",
    "Service",
    "Upstream",
]


# -- listeners -------------------------------------------------------------------------------------------------------


class Service(Model):
    """What clients speak, and where their requests go: a listener, or a chain of one."""

    route_model: ClassVar[type[Route]] = Route

    routes: list[SerializeAsAny[Rule]] = Field(default_factory=list)
    """Tried in order; the first that matches takes the message."""
    to: Name | None = None
    """Short for a single route that sends everything to this upstream."""

    # By family of protocols, once the semantic pass has read the routes.
    _tables: dict[str, Table] | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _has_routes(self) -> Self:
        if self.to is not None and self.routes:
            raise ValueError("a listener has either `to` or `routes`: add a last route without match instead of `to`")
        if self.to is None and not self.routes:
            raise ValueError("this listener sends nothing anywhere: it needs `to: upstream` or `routes`")
        return self

    def flat_routes(self, steps: tuple[str | int, ...] = ()) -> Iterator[FlatRoute]:
        """The routes in the order in which they are tried, `to:` spelled out. steps: the place of the service."""
        if self.to is not None:
            return iter([FlatRoute(self.route_model(to=self.to), (), steps, None)])
        return flat(self.routes, steps)

    def options(self, protocol: str) -> dict[str, Any]:
        """The options of that codec, as the plan has them."""
        return {}


class Chain(Service):
    """Its own certificate, protocol and routes for clients that ask for certain server names (SNI). What it doesn't
    say is as the listener has it."""

    name: Name
    """Name in statistics, before those of its routes."""
    sni: Annotated[list[ServerName], listed, Field(min_length=1)]
    """Server names of the TLS handshake, `*.example.com` for all below. An exact name goes before a star, a longer star before a shorter one."""
    protocol: Any = None
    """What these clients speak. Default: what the listener says."""
    tls: ChainTls | None = None
    """Certificate and demands of this chain. Default: those of the listener."""


class Listener(Service):
    """Where clients connect, what they speak, and where their requests go."""

    chain_model: ClassVar[type[Chain]] = Chain

    bind: Annotated[list[Bind], listed, Field(min_length=1)]
    """Address or list of addresses: `host:port`, `:port` (every address, IPv4 and IPv6), `"[v6]:port"`, `unix:/path`."""
    protocol: Any
    """What clients speak here: a protocol, `http` (HTTP/2 or HTTP/1), or a list to tell apart by the first bytes."""
    tls: ServerTls | None = None
    """TLS towards clients; without this key there is none."""
    chains: list[SerializeAsAny[Chain]] = Field(default_factory=list, max_length=10_000)
    """Other certificates and routes for certain server names (SNI)."""
    filters: list[Any] = Field(default_factory=list)
    """Built-in filters by name, in order. This version has none yet, so every name is refused."""
    max_connections: Annotated[int, Field(ge=1, le=4_000_000)] = 65_536
    """Most client connections at once, per worker; more are closed at once."""
    backlog: Annotated[int, Field(ge=1, le=65_535)] = 4096
    """Connections the kernel keeps waiting to be accepted, per worker."""
    idle_timeout: Duration = duration("0s")
    """Closes a client connection on which nothing has moved for so long; 0s = never."""
    client_buffer: Annotated[Size, between("64KiB", "2GiB")] = size("64MiB")
    """Most bytes of replies kept for a client that doesn't read them; beyond, it is disconnected."""
    proxy_protocol: Literal["off", "accept"] = "off"
    """accept: every connection starts with a PROXY protocol header (v1 or v2), which names the real client."""
    socket_mode: Annotated[str, StringConstraints(pattern=r"^0?[0-7]{3}$")] | None = None
    """Permissions of Unix sockets in octal, in quotes: "0660". Without it the umask decides."""

    def services(self) -> Sequence[tuple[tuple[str | int, ...], Service]]:
        """The listener itself and its chains, each with its place."""
        return [((), self), *((("chains", i), chain) for i, chain in enumerate(self.chains))]

    def route_count(self) -> int:
        """Routes, those of chains and groups included."""
        return sum(1 for steps, service in self.services() for _ in service.flat_routes(steps))


# -- upstreams -------------------------------------------------------------------------------------------------------


class Endpoint(Model):
    """One address of an upstream."""

    address: Target
    """`host:port`, `"[v6]:port"` or `unix:/path`. A name with several addresses stands for several endpoints."""
    weight: Annotated[int, Field(ge=1, le=65_535)] = 1
    """Share of the requests (of the keys, for hash policies) relative to the other endpoints."""
    labels: dict[str, str] = Field(default_factory=dict)
    """Facts about the endpoint, such as {zone: a}, shown in statistics."""


HASH_POLICIES = ("ring_hash", "maglev")
Policy = Literal["round_robin", "random", "least_request", "ring_hash", "maglev"]


class Balancing(Model):
    """How an endpoint is picked."""

    policy: Policy = "round_robin"
    """round_robin, random, least_request (the less busy of two random ones), ring_hash and maglev (by hash of an attribute)."""
    hash: Text | None = None
    """For ring_hash and maglev: the attribute whose value decides. Default: redis.key for redis, client_ip for tcp."""
    table_size: Annotated[int, Field(ge=16, le=8 << 20)] | None = None
    """Places on the ring (default 1024) or rows of the maglev table (a prime, default 65537)."""
    panic_threshold: Percent = Percent(50)
    """When fewer endpoints than this share are usable, all are tried: a broken health check must not stop everything. 0 = never."""
    on_unhealthy: Literal["fail", "rehash"] | None = None
    """For ring_hash and maglev: requests for an endpoint that is out fail, or move to others. Default: fail for redis (its keys live there), else rehash."""

    @model_validator(mode="after")
    def _hash_options(self) -> Self:
        if self.policy not in HASH_POLICIES:
            for name in ("hash", "table_size", "on_unhealthy"):
                if getattr(self, name) is not None:
                    raise ValueError(f"{name} is for {' and '.join(HASH_POLICIES)}; the policy is {self.policy}")
        if self.policy == "maglev" and self.table_size is not None and not _is_prime(self.table_size):
            raise ValueError(f"the table_size of maglev must be a prime, {self.table_size} is none; try 65537")
        return self


def _is_prime(number: int) -> bool:
    return number > 1 and all(number % divisor for divisor in range(2, int(number**0.5) + 1))


class Pool(Model):
    """Connections to each endpoint."""

    connections: Annotated[int, Field(ge=1, le=1024)] = 1
    """Shared connections per endpoint and worker, where the protocol lets clients share them."""
    max_connections: Count = 1024
    """Most connections per endpoint and worker, those of one client alone (transactions, blocking commands, tcp) included."""
    max_pending: Count = 4096
    """Most requests that wait for one connection to be made; more fail at once."""
    idle_timeout: Duration = duration("60s")
    """Closes connections nobody has used for so long; 0s = never."""


class Ejection(Model):
    """An endpoint that can't be connected to is left out for a while, each time twice as long."""

    failures: Annotated[int, Field(ge=0, le=1_000_000)] = 3
    """Failed connects in a row; 0 = never leave it out."""
    base: Duration = duration("1s")
    """Length of the first break."""
    max: Duration = duration("30s")
    """Length of the longest break."""

    @model_validator(mode="after")
    def _grows(self) -> Self:
        if self.max < self.base:
            raise ValueError(f"max ({self.max}) is shorter than base ({self.base})")
        return self


class Health(Model):
    """Active health checks, made by the controller for all workers."""

    types: ClassVar[tuple[str, ...]] = ("tcp",)

    type: Literal["tcp"] | None = None
    """tcp: a connection can be made (with TLS, if the upstream has it)."""
    interval: Duration = duration("5s")
    """Time between two checks of an endpoint."""
    timeout: Duration = duration("1s")
    """Longest wait for a check."""
    healthy_after: Annotated[int, Field(ge=1, le=1000)] = 2
    """Good checks in a row that bring an endpoint back."""
    unhealthy_after: Annotated[int, Field(ge=1, le=1000)] = 3
    """Bad checks in a row that take an endpoint out."""

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        for name in ("interval", "timeout"):
            if not getattr(self, name):
                raise ValueError(f"{name} can't be 0s; leave health out to have no checks")
        return self

    def default_type(self) -> str:
        """What is checked unless `type` says otherwise."""
        return "tcp"

    def plan(self) -> dict[str, Any]:
        """What the checks need to know beside times and counts."""
        return {}


class Upstream(Model):
    """A named set of endpoints that serve the same."""

    default_hash: ClassVar[str] = "client_ip"
    default_on_unhealthy: ClassVar[Literal["fail", "rehash"]] = "rehash"
    protocol: str
    """What the endpoints speak; the listeners that send here must speak the same (HTTP/1 and HTTP/2 count as one)."""
    endpoints: Annotated[list[Annotated[Endpoint, expanded("address")]], Field(min_length=1)]
    """Addresses, or mappings {address, weight, labels}."""
    lb: Annotated[Balancing, expanded("policy")] = Field(default_factory=Balancing)
    """How an endpoint is picked: a policy's name, or a mapping."""
    pool: Pool = Field(default_factory=Pool)
    """Connections to each endpoint."""
    connect_timeout: Duration = duration("1s")
    """Longest wait for a connection to be made."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 2
    """Attempts to connect for one request in all, each to another endpoint where there is one."""
    ejection: Ejection = Field(default_factory=Ejection)
    """Leaves out endpoints that can't be connected to."""
    tls: ClientTls | None = None
    """TLS towards the endpoints; {} = with the system's CAs. Without this key there is none."""
    health: Health | None = None
    """Active health checks; without this key there are none. {} = with the defaults."""
    proxy_protocol: Literal["off", "v1", "v2"] = "off"
    """Starts each connection with a PROXY protocol header that names the client."""

    @model_validator(mode="after")
    def _protocol_defaults(self) -> Self:
        if not self.connect_timeout:
            raise ValueError("connect_timeout can't be 0s: an endpoint that is down would hold requests for minutes")
        if self.lb.policy in HASH_POLICIES:
            hash_by = self.lb.hash or self.default_hash
            fate = self.lb.on_unhealthy or self.default_on_unhealthy
            places = self.lb.table_size or (65_537 if self.lb.policy == "maglev" else 1024)
            self.lb = self.lb.model_copy(update={"hash": hash_by, "on_unhealthy": fate, "table_size": places})
        if self.health is not None and self.health.type is None:
            self.health = self.health.model_copy(update={"type": self.health.default_type()})
        return self

    @property
    def shared_connections(self) -> int:
        """Connections that clients share, per endpoint."""
        return self.pool.connections

    @property
    def alpn(self) -> list[str]:
        """What is offered in TLS handshakes."""
        return []

    def options(self) -> dict[str, Any]:
        """The codec's own options, as the plan has them."""
        return {}


# -- the whole -------------------------------------------------------------------------------------------------------


class Admin(Model):
    """The admin API: statistics, state, reload, drain. It has no passwords, so it belongs on a loopback address."""

    bind: Bind
    """Address to serve it on, such as 127.0.0.1:9901 or unix:/run/mosnpy/admin.sock."""


class CodecSource(Model):
    """A protocol that does not come with mosnpy."""

    use: Text
    """Where it is: `./file.py:Name` or `package.module:Name`."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Passed to it."""


class Config(Model):
    """A whole configuration, all files and defaults united."""

    version: Literal[1]
    """Version of this format: 1."""
    workers: Workers = 1
    """Worker processes; auto = one per processor."""
    admin: Annotated[Admin, expanded("bind")] | None = None
    """The admin API; without this key there is none. Short: the address."""
    busy_poll: Duration = duration("0s")
    """How long a worker looks for work before it sleeps: lower latency for processor time. 50us is a good value, 0s = off."""
    drain_timeout: Duration = duration("30s")
    """On shutdown: how long requests in flight and connected clients may take to finish."""
    listeners: Annotated[dict[Name, SerializeAsAny[Listener]], Field(min_length=1)]
    """Where clients connect, by name."""
    upstreams: dict[Name, SerializeAsAny[Upstream]] = Field(default_factory=dict)
    """Where requests go, by name."""
    codecs: dict[Name, CodecSource] = Field(default_factory=dict)
    """Protocols that do not come with mosnpy, by name. This version can't load any yet."""
    include: Annotated[list[str], listed] = Field(default_factory=list)
    """More files, such as [conf.d/*.yaml], relative to this one, in lexical order. Listeners, upstreams and codecs are united by name; the same name twice is an error."""

    _document: Document | None = PrivateAttr(default=None)

    @property
    def document(self) -> Document | None:
        """The files it was read from, for places in later faults."""
        return self._document

    def effective(self) -> dict[str, Any]:
        """Everything in force, defaults included, as plain data. Passwords are shown as asterisks."""
        with uncollected():
            return self._effective()

    def _effective(self) -> dict[str, Any]:
        whole: dict[str, Any] = self.model_dump(mode="json", exclude={"include", "codecs"}, exclude_none=True)
        for listener in whole["listeners"].values():
            for service in (listener, *listener["chains"]):
                _without_timeouts(service["routes"])
        return whole


def _without_timeouts(routes: list[dict[str, Any]]) -> None:
    """Routes that ask nobody wait for nobody."""
    for route in routes:
        if "routes" in route:
            _without_timeouts(route["routes"])
        elif "to" not in route and "split" not in route:
            route.pop("timeout", None)
