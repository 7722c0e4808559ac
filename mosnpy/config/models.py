"""What a configuration is made of: the models, their defaults and their meaning.

The text under each field is its description in the JSON Schema and in docs/reference/configuration.md. Unknown keys are
refused everywhere and types are strict: nothing that could be a slip is read as something else. What one object alone can
tell is checked here, what needs a second one (is there such an upstream?) in semantics.py.

This is the shape every protocol shares; what redis and tcp add stands in protocols.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    SecretStr,
    SerializeAsAny,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from mosnpy.config.address import PATTERN as ADDRESS_PATTERN
from mosnpy.config.address import Address, bind_address, endpoint_address
from mosnpy.config.predicate import Predicate
from mosnpy.config.report import shown
from mosnpy.config.units import Between, Duration, Percent, Size

if TYPE_CHECKING:
    from mosnpy.config.loader import Document

__all__ = [
    "HASH_POLICIES",
    "Admin",
    "Balancing",
    "CodecSource",
    "Config",
    "Ejection",
    "Endpoint",
    "Health",
    "Listener",
    "Mirror",
    "Model",
    "Pool",
    "Reply",
    "RequestRoute",
    "Route",
    "Secret",
    "Upstream",
]


class Model(BaseModel):
    """Base of every part: strict types, no unknown keys, descriptions from the texts below the fields."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True, validate_default=False)

    @field_validator("*", mode="before")
    @classmethod
    def _something(cls, value: object) -> object:
        # `health:` with nothing behind it: off, or on with its defaults? Most often it is a slip of indentation.
        if value is None:
            raise ValueError(
                "nothing stands here: give a value ({} for all defaults of a mapping) or leave the key out"
            )
        return value


def duration(text: str) -> Any:
    """A default of type Duration."""
    return Duration.parse(text)


def size(text: str) -> Any:
    """A default of type Size."""
    return Size.parse(text)


def between(low: str, high: str) -> Between:
    """Bounds of a size."""
    return Between(Size.parse(low), Size.parse(high))


def _workers(value: object) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1024:
        raise ValueError(f"a number from 1 to 1024, or auto, is expected here, not {shown(value)}")
    return value


def _listed(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _expanded(key: str) -> BeforeValidator:
    """A short form: a text or number stands for a mapping with that one key."""
    return BeforeValidator(lambda value: {key: value} if isinstance(value, (str, int, float)) else value)


_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
Name = Annotated[str, StringConstraints(pattern=_NAME_PATTERN)]
Text = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Secret = Annotated[SecretStr, Field(strict=False, min_length=1)]
Workers = Annotated[
    int | Literal["auto"],
    PlainValidator(_workers),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": 1024}, {"const": "auto"}]}),
]
Bind = Annotated[
    Address,
    PlainValidator(bind_address),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{ADDRESS_PATTERN}$", "examples": ["127.0.0.1:6380", ":6380"]}),
]
Target = Annotated[
    Address,
    PlainValidator(endpoint_address),
    PlainSerializer(str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": f"^{ADDRESS_PATTERN}$", "examples": ["127.0.0.1:6379"]}),
]


# -- routes ----------------------------------------------------------------------------------------------------------


class Reply(Model):
    """An answer given by the proxy itself."""

    error: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """Text of the protocol's error, such as `ERR disabled by the operator`; for tcp the connection is just closed."""


class Mirror(Model):
    """Copies of requests to a second upstream; its replies are thrown away."""

    to: Name
    """Upstream that gets the copies."""
    percent: Percent = Percent(100)
    """Share of the requests to copy."""


class Route(Model):
    """Which messages, and where to. Routes are tried in order; the first that matches takes the message.

    A route without `match` and `when` takes everything. It has exactly one of `to`, `split` and `reply`.
    """

    match: dict[str, Any] | None = None
    """Attribute: value, all of which must hold. A value is a value, a list [any of], "glob*", "~regex", "!not" or ">10"."""
    when: Text | None = None
    """An expression that must hold, such as `access == "read" && redis.key.startsWith("a:")`; with `match`, both must."""
    name: Name | None = None
    """Name in statistics and logs; without one it is the listener's name and the route's number."""
    to: Name | None = None
    """Upstream that gets the messages."""
    split: (
        Annotated[dict[Name, Annotated[int, Field(ge=0, le=1_000_000)]], Field(min_length=1, max_length=64)] | None
    ) = None
    """Upstreams and their weights, such as {main: 95, canary: 5}; the shares are exact."""
    sticky: Text | None = None
    """With split: an attribute; messages with the same value of it go to the same upstream."""
    reply: Reply | None = None
    """Answer with an error instead of asking an upstream."""

    _predicate: Predicate | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _one_way_out(self) -> Self:
        ways = [way for way in ("to", "split", "reply") if getattr(self, way) is not None]
        if len(ways) != 1:
            found = f"this one has {' and '.join(ways)}" if ways else "this one has none"
            raise ValueError(f"a route has exactly one of to, split and reply; {found}")
        if self.split is not None and not any(self.split.values()):
            raise ValueError("all weights of split are 0")
        if self.sticky is not None and self.split is None:
            raise ValueError("sticky only works with split")
        return self

    @property
    def predicate(self) -> Predicate | None:
        """`match` and `when` as one predicate, once the semantic pass has read them."""
        return self._predicate

    @property
    def targets(self) -> list[tuple[tuple[str, ...], str]]:
        """Upstreams the route names, each with its path below the route."""
        named = [(("to",), self.to)] if self.to is not None else []
        return [*named, *((("split", name), name) for name in self.split or {})]

    @property
    def timeout_ms(self) -> int:
        """For the plan; 0 = none."""
        return 0

    @property
    def mirrored(self) -> Mirror | None:
        """For the plan."""
        return None


class RequestRoute(Route):
    """A route of a protocol that has requests and replies."""

    timeout: Duration = duration("15s")
    """Longest wait for the reply of one request; 0s = no limit."""
    mirror: Annotated[Mirror, _expanded("to")] | None = None
    """Copies requests to a second upstream, whose replies are thrown away. Short: the upstream's name."""

    @model_validator(mode="after")
    def _replies_go_nowhere(self) -> Self:
        if self.reply is not None:
            for name in ("timeout", "mirror"):
                if name in self.model_fields_set:
                    raise ValueError(f"a route that replies asks no upstream: {name} has no meaning here")
        return self

    @property
    def timeout_ms(self) -> int:
        return 0 if self.reply is not None else self.timeout.ms

    @property
    def mirrored(self) -> Mirror | None:
        return self.mirror

    @property
    def targets(self) -> list[tuple[tuple[str, ...], str]]:
        mirrors = [(("mirror", "to"), self.mirror.to)] if self.mirror else []
        return [*super().targets, *mirrors]


# -- listeners -------------------------------------------------------------------------------------------------------


class Listener(Model):
    """Where clients connect, what they speak, and where their requests go."""

    route_model: ClassVar[type[Route]] = Route
    connection_only: ClassVar[bool] = False

    bind: Annotated[list[Bind], BeforeValidator(_listed), Field(min_length=1)]
    """Address or list of addresses: `host:port`, `:port` (every address, IPv4 and IPv6), `"[v6]:port"`, `unix:/path`."""
    protocol: str
    """What clients speak here."""
    routes: list[SerializeAsAny[Route]] = Field(default_factory=list)
    """Tried in order; the first that matches takes the message."""
    to: Name | None = None
    """Short for a single route that sends everything to this upstream."""
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

    @model_validator(mode="after")
    def _has_routes(self) -> Self:
        if self.to is not None and self.routes:
            raise ValueError("a listener has either `to` or `routes`: add a last route without match instead of `to`")
        if self.to is None and not self.routes:
            raise ValueError("this listener sends nothing anywhere: it needs `to: upstream` or `routes`")
        return self

    def all_routes(self) -> list[Route]:
        """The routes, with `to:` spelled out."""
        return self.routes if self.to is None else [self.route_model(to=self.to)]

    def options(self) -> dict[str, Any]:
        """The codec's own options, as the plan has them."""
        return {}


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

    type: Literal["tcp", "redis"] | None = None
    """tcp: a connection can be made; redis: PING is answered. Default: by protocol."""
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


class Upstream(Model):
    """A named set of endpoints that serve the same."""

    default_hash: ClassVar[str] = "client_ip"
    default_on_unhealthy: ClassVar[Literal["fail", "rehash"]] = "rehash"
    default_health: ClassVar[Literal["tcp", "redis"]] = "tcp"

    protocol: str
    """What the endpoints speak; the listeners that send here must speak the same."""
    endpoints: Annotated[list[Annotated[Endpoint, _expanded("address")]], Field(min_length=1)]
    """Addresses, or mappings {address, weight, labels}."""
    lb: Annotated[Balancing, _expanded("policy")] = Field(default_factory=Balancing)
    """How an endpoint is picked: a policy's name, or a mapping."""
    pool: Pool = Field(default_factory=Pool)
    """Connections to each endpoint."""
    connect_timeout: Duration = duration("1s")
    """Longest wait for a connection to be made."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 2
    """Attempts to connect for one request in all, each to another endpoint where there is one."""
    ejection: Ejection = Field(default_factory=Ejection)
    """Leaves out endpoints that can't be connected to."""
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
            self.health = self.health.model_copy(update={"type": self.default_health})
        return self

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
    admin: Annotated[Admin, _expanded("bind")] | None = None
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
    include: Annotated[list[str], BeforeValidator(_listed)] = Field(default_factory=list)
    """More files, such as [conf.d/*.yaml], relative to this one, in lexical order. Listeners, upstreams and codecs are united by name; the same name twice is an error."""

    _document: Document | None = PrivateAttr(default=None)

    @property
    def document(self) -> Document | None:
        """The files it was read from, for places in later faults."""
        return self._document

    def effective(self) -> dict[str, Any]:
        """Everything in force, defaults included, as plain data. Passwords are shown as asterisks."""
        whole: dict[str, Any] = self.model_dump(mode="json", exclude={"include", "codecs"}, exclude_none=True)
        for listener in whole["listeners"].values():
            for route in listener["routes"]:
                if "reply" in route:
                    route.pop("timeout", None)  # nobody is asked
        return whole
