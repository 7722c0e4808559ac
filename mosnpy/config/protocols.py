"""What each protocol adds to listeners, routes and upstreams."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, model_validator

from mosnpy.config.models import Listener, Model, Name, RequestRoute, Route, Secret, Upstream, between, duration, size
from mosnpy.config.units import Duration, Size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PROTOCOLS", "Protocol", "RedisListener", "RedisUpstream", "TcpListener", "TcpUpstream"]


class TcpListener(Listener):
    """Bytes through, one upstream connection per client."""

    connection_only: ClassVar[bool] = True

    protocol: Literal["tcp"]
    """What clients speak here: tcp passes everything on as it is."""
    idle_timeout: Duration = duration("1h")
    """Closes a connection on which nothing has moved in either direction for so long; 0s = never."""


class TcpUpstream(Upstream):
    """Endpoints that get bytes as they come."""

    protocol: Literal["tcp"]
    """What the endpoints speak: tcp passes everything on as it is."""


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


class RedisListener(Listener):
    """Redis clients, RESP2 and RESP3."""

    route_model: ClassVar[type[Route]] = RequestRoute

    protocol: Literal["redis"]
    """What clients speak here: redis, RESP2 and RESP3 on the same port."""
    routes: list[SerializeAsAny[RequestRoute]] = Field(default_factory=list)  # type: ignore[assignment]  # a narrower list
    """Tried in order; the first that matches takes the request."""
    auth: RedisLogin | None = None
    """Passwords the proxy itself asks for; without them AUTH goes to the upstream."""
    limits: RedisLimits = Field(default_factory=RedisLimits)
    """What one client may ask for."""

    def options(self) -> dict[str, Any]:
        login = {"auth": self.auth.plan()} if self.auth is not None else {}
        return {**login, "limits": self.limits.plan()}


class UpstreamLogin(Model):
    """How the proxy introduces itself to the endpoints."""

    username: Annotated[str, Field(min_length=1)] | None = None
    """ACL user; without it the password of the user `default` is meant."""
    password: Secret
    """Password."""


class RedisUpstream(Upstream):
    """Redis servers: replicas of each other, or shards (with ring_hash or maglev)."""

    default_hash: ClassVar[str] = "redis.key"
    default_on_unhealthy: ClassVar[Literal["fail", "rehash"]] = "fail"
    default_health: ClassVar[Literal["tcp", "redis"]] = "redis"

    protocol: Literal["redis"]
    """What the endpoints speak: redis."""
    auth: UpstreamLogin | None = None
    """User and password the proxy logs in with."""
    resp3: Literal["auto", "off"] = "auto"
    """auto: RESP3 is offered to the endpoints, RESP2 used where they refuse; off: always RESP2."""

    def options(self) -> dict[str, Any]:
        login: dict[str, Any] = {}
        if self.auth is not None:
            login = {"username": self.auth.username or "", "password": self.auth.password.get_secret_value()}
        return {**login, "resp3": self.resp3 == "auto"}


@dataclass(frozen=True, slots=True)
class Protocol:
    """The models of one protocol."""

    name: str
    listener: type[Listener]
    upstream: type[Upstream]


PROTOCOLS: Mapping[str, Protocol] = {
    "redis": Protocol("redis", RedisListener, RedisUpstream),
    "tcp": Protocol("tcp", TcpListener, TcpUpstream),
}
"""Those that come with mosnpy, by name."""
