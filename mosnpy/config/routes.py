"""Routes: which messages, and where to. What HTTP adds stands in http_routes.py.

A group gives several routes one match. The models keep groups as they were written; flat() lists the routes in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, SerializeAsAny, StringConstraints, model_validator

from mosnpy.config.fields import Model, Name, Text, duration, expanded
from mosnpy.config.units import Duration, Percent

__all__ = ["AnyRoute", "FlatRoute", "Mirror", "Reply", "RequestRoute", "Route", "RouteGroup", "Rule", "flat"]


class Reply(Model):
    """An answer given by the proxy itself."""

    error: Annotated[str, StringConstraints(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """Text of the protocol's error, such as `ERR disabled by the operator`; for tcp the connection is just closed."""

    def plan(self) -> dict[str, Any]:
        """As the plan has it."""
        return {"error": self.error}


class Mirror(Model):
    """Copies of requests to a second upstream; its replies are thrown away."""

    to: Name
    """Upstream that gets the copies."""
    percent: Percent = Percent(100)
    """Share of the requests to copy."""


class Rule(Model):
    """What routes and groups of them have in common."""

    match: dict[str, Any] | None = None
    """Attribute: value, all of which must hold. A value is a value, a list [any of], "glob*", "~regex", "!not" or ">10"."""
    when: Text | None = None
    """An expression that must hold, such as `access == "read" && redis.key.startsWith("a:")`; with `match`, both must."""
    name: Name | None = None
    """Name in statistics and logs; without one it is the listener's name and the route's number. Beyond the first 1000 routes of a listener, those without a name are counted together."""


class RouteGroup(Rule):
    """Several routes with one match, which must hold as well as their own. Its `name` goes before theirs."""

    routes: list[SerializeAsAny[Rule]] = Field(min_length=1)
    """Routes or further groups, tried in order."""


class Route(Rule):
    """Which messages, and where to. Routes are tried in order; the first that matches takes the message.

    A route without `match` and `when` takes everything. It has exactly one of `to`, `split` and `reply`; or it has `routes`
    and is a group, whose `match` and `when` hold for all of them.
    """

    ways: ClassVar[tuple[str, ...]] = ("to", "split", "reply")
    more_keys: ClassVar[tuple[str, ...]] = ("routes",)  # with it, it is a group

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

    @model_validator(mode="after")
    def _one_way_out(self) -> Self:
        ways = [way for way in self.ways if getattr(self, way) is not None]
        if len(ways) != 1:
            found = f"this one has {' and '.join(ways)}" if ways else "this one has none"
            raise ValueError(f"a route has exactly one of {', '.join(self.ways[:-1])} and {self.ways[-1]}; {found}")
        if self.split is not None and not any(self.split.values()):
            raise ValueError("all weights of split are 0")
        if self.sticky is not None and self.split is None:
            raise ValueError("sticky only works with split")
        return self

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

    @property
    def only_http(self) -> str:
        """The key that makes it a route for HTTP alone, "" where there is none."""
        return ""


class RequestRoute(Route):
    """A route of a protocol that has requests and replies."""

    timeout: Duration = duration("15s")
    """Longest wait for the reply of one request; 0s = no limit."""
    mirror: Annotated[Mirror, expanded("to")] | None = None
    """Copies requests to a second upstream, whose replies are thrown away. Short: the upstream's name."""

    @model_validator(mode="after")
    def _replies_go_nowhere(self) -> Self:
        way: Literal["replies", "redirects"] = "replies" if self.reply is not None else "redirects"
        if self.to is None and self.split is None:
            for name in ("timeout", "mirror"):
                if name in self.model_fields_set:
                    raise ValueError(f"a route that {way} asks no upstream: {name} has no meaning here")
        return self

    @property
    def timeout_ms(self) -> int:
        return 0 if self.to is None and self.split is None else self.timeout.ms

    @property
    def mirrored(self) -> Mirror | None:
        return self.mirror

    @property
    def targets(self) -> list[tuple[tuple[str, ...], str]]:
        mirrors = [(("mirror", "to"), self.mirror.to)] if self.mirror else []
        return [*super().targets, *mirrors]


AnyRoute = Route | RouteGroup


@dataclass(slots=True)
class FlatRoute:
    """A route with the groups around it. steps: its place below the listener; name: given, with those of its groups."""

    route: Route
    groups: tuple[RouteGroup, ...]
    steps: tuple[str | int, ...]
    name: str | None

    def group_steps(self, i: int) -> tuple[str | int, ...]:
        """The place of its i-th group, the outermost first."""
        return self.steps[: len(self.steps) - 2 * (len(self.groups) - i)]


def flat(
    rules: Sequence[Rule | None],
    steps: tuple[str | int, ...] = (),
    groups: tuple[RouteGroup, ...] = (),
    prefix: str = "",
) -> Iterator[FlatRoute]:
    """The routes in the order in which they are tried; None, one that can't be read, is left out."""
    for i, rule in enumerate(rules):
        here = (*steps, "routes", i)
        if isinstance(rule, RouteGroup):
            inner = f"{prefix}{rule.name}." if rule.name is not None else prefix
            yield from flat(rule.routes, here, (*groups, rule), inner)
        elif isinstance(rule, Route):
            name = f"{prefix}{rule.name}" if rule.name is not None else f"{prefix}{i}" if prefix else None
            yield FlatRoute(rule, groups, here, name)
