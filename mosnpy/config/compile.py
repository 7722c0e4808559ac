"""A validated configuration to the plan that workers run.

The plan is one MessagePack map, read by csrc/core/plan.c (upstreams, endpoints, listeners), csrc/route (tables) and the codecs
(options and sections). Names of upstreams become indices, addresses numeric, durations whole milliseconds; statistics
slots, health slots and listener ids come from the registry, which keeps them by name over reloads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import msgpack

from mosnpy.config import installed
from mosnpy.config.attributes import Scope
from mosnpy.config.expression import parse_expression
from mosnpy.config.models import HASH_POLICIES
from mosnpy.config.predicate import TRUE, both, parse_match
from mosnpy.config.resolving import ResolvedAddress, bindable, resolve_hosts
from mosnpy.errors import ConfigErrors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mosnpy.config.address import Address
    from mosnpy.config.attributes import Attributes
    from mosnpy.config.models import Config, Listener, Route, Upstream
    from mosnpy.config.predicate import Predicate
    from mosnpy.config.report import Fault

__all__ = ["Compiled", "LocalRegistry", "Registry", "compile_config", "compile_plan", "route_predicate"]


class Registry(Protocol):
    """Where numbers come from that must stay the same over reloads (mosnpy.observe.slots has the real one)."""

    def block(self, kind: str, name: str) -> int:
        """First statistics slot of this listener, upstream, endpoint, route or operation."""
        ...

    def health(self, name: str) -> int:
        """The endpoint's byte in the health table."""
        ...

    def listener(self, key: str) -> int:
        """The id of the listening socket with this address."""
        ...


class LocalRegistry:
    """A registry for one compilation whose numbers nobody keeps: `check`, tests."""

    def __init__(self, sizes: Mapping[str, int] | None = None) -> None:
        self.sizes = sizes or {}  # slots by kind of block, as mosnpy.core.block_sizes() says; 64 for what isn't there
        self.top = self.sizes.get("worker", 64)
        self.bases: dict[tuple[str, str], int] = {}
        self.endpoints: dict[str, int] = {}
        self.sockets: dict[str, int] = {}

    def block(self, kind: str, name: str) -> int:
        if (kind, name) not in self.bases:
            self.bases[kind, name] = self.top
            self.top += self.sizes.get(kind, 64)
        return self.bases[kind, name]

    def health(self, name: str) -> int:
        return self.endpoints.setdefault(name, len(self.endpoints))

    def listener(self, key: str) -> int:
        return self.sockets.setdefault(key, len(self.sockets) + 1)


@dataclass(slots=True)
class Compiled:
    """What the processes need to run a configuration. Plain data only, it travels between them.

    plan: MessagePack, for the cores. listeners: sockets to open: id, name, family (ipv4, ipv6, unix; any = both IP families),
    host (numeric address or path), port, backlog, mode (permissions of a Unix socket or None). admin: the same for the admin API, None = off.
    checks: active health checks: upstream, protocol, type, interval_ms, timeout_ms, healthy_after, unhealthy_after, username,
    password, endpoints [{name, family, host, port, slot}]. upstreams: as in the plan, without passwords.
    """

    generation: int
    plan: bytes
    workers: int | str
    drain_timeout_ms: int
    listeners: list[dict[str, Any]] = field(default_factory=list)
    admin: dict[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    upstreams: list[dict[str, Any]] = field(default_factory=list)


def compile_plan(config: Config, registry: Registry, generation: int) -> bytes:
    """The plan alone, for a core. Raises ConfigErrors as compile_config does."""
    return compile_config(config, registry, generation).plan


def compile_config(
    config: Config, registry: Registry, generation: int, attributes: Attributes | None = None
) -> Compiled:
    """Everything the processes need. Resolves host names: takes as long as the resolver does.

    Raises ConfigErrors when a name can't be resolved. A config that did not come from load() may raise ValueError.
    """
    return _Compiler(config, registry, generation, attributes or installed.attributes()).run()


def route_predicate(route: Route, scope: Scope) -> Predicate:
    """What a route asks of a message. Raises ValueError with a sentence (semantics.py says it with a place)."""
    if route.predicate is not None:
        return route.predicate
    parts: list[Predicate] = []
    if route.match is not None:

        def fault(path: tuple[str | int, ...], message: str, _key: bool) -> None:
            raise ValueError(f"{'.'.join(map(str, path))}: {message}")

        parsed = parse_match(route.match, scope, fault)
        assert parsed is not None
        parts.append(parsed)
    if route.when is not None:
        parts.append(parse_expression(route.when, scope))
    return both(*parts)


class _Compiler:
    def __init__(self, config: Config, registry: Registry, generation: int, attributes: Attributes) -> None:
        self.config = config
        self.registry = registry
        self.generation = generation
        self.attributes = attributes
        self.indices = {name: i for i, name in enumerate(config.upstreams)}
        self.faults: list[Fault] = []
        self.resolved: dict[str, list[ResolvedAddress] | str] = {}

    def run(self) -> Compiled:
        names = [e.address for u in self.config.upstreams.values() for e in u.endpoints]
        self.resolved = resolve_hosts(a.host for a in names if a.family == "name")
        upstreams = [self.upstream(name, u) for name, u in self.config.upstreams.items()]
        sockets: list[dict[str, Any]] = []
        listeners = [each for name, one in self.config.listeners.items() for each in self.listener(name, one, sockets)]
        admin = None
        if self.config.admin is not None:
            admin = self.socket("admin", 0, self.config.admin.bind, ("admin", "bind"))
        if self.faults:
            raise ConfigErrors(self.faults)
        plan = {
            "version": 1,
            "generation": self.generation,
            "busy_poll_us": self.config.busy_poll.us,
            "listeners": listeners,
            "upstreams": upstreams,
            "codecs": self.sections(),
        }
        packed: bytes = msgpack.packb(plan)
        return Compiled(
            self.generation,
            packed,
            self.config.workers,
            self.config.drain_timeout.ms,
            sockets,
            admin,
            self.checks(upstreams),
            [{key: value for key, value in u.items() if key != "options"} for u in upstreams],
        )

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        from mosnpy.config.report import Fault

        document = self.config.document
        dotted = ".".join(map(str, path))
        self.faults.append(document.fault(path, message) if document is not None else Fault(message, path=dotted))

    # -- upstreams -------------------------------------------------------------------------------------------------

    def upstream(self, name: str, u: Upstream) -> dict[str, Any]:
        hashed = u.lb.policy in HASH_POLICIES
        scope = Scope(u.protocol, self.attributes)
        return {
            "name": name,
            "codec": u.protocol,
            "stats": self.registry.block("upstream", name),
            "connect_timeout_ms": u.connect_timeout.ms,
            "idle_timeout_ms": u.pool.idle_timeout.ms,
            "connections": u.pool.connections,
            "max_connections": u.pool.max_connections,
            "max_pending": u.pool.max_pending,
            "attempts": u.attempts,
            "lb": {
                "policy": u.lb.policy,
                "hash": scope.find(u.lb.hash).name if hashed and u.lb.hash else None,
                "panic_percent": round(u.lb.panic_threshold),
                "table_size": u.lb.table_size or 0,
                "rehash": u.lb.on_unhealthy != "fail",
            },
            "ejection": {"failures": u.ejection.failures, "base_ms": u.ejection.base.ms, "max_ms": u.ejection.max.ms},
            "proxy_protocol": {"off": 0, "v1": 1, "v2": 2}[u.proxy_protocol],
            "options": u.options(),
            "endpoints": self.endpoints(name, u),
        }

    def endpoints(self, upstream: str, u: Upstream) -> list[dict[str, Any]]:
        found: dict[tuple[str, str, int], dict[str, Any]] = {}
        for i, endpoint in enumerate(u.endpoints):
            for name, address in self.addresses(endpoint.address, ("upstreams", upstream, "endpoints", i)):
                key = f"{upstream}/{name}"
                found.setdefault(
                    (address.family, address.host, address.port),
                    {
                        "name": name,
                        "family": address.family,
                        "host": address.host,
                        "port": address.port,
                        "weight": endpoint.weight,
                        "slot": self.registry.health(key),
                        "stats": self.registry.block("endpoint", key),
                        "labels": endpoint.labels,
                    },
                )
        return list(found.values())

    def addresses(self, address: Address, path: tuple[str | int, ...]) -> list[tuple[str, ResolvedAddress]]:
        """(name, numeric address) of what one configured address stands for.

        A name with one address goes on under its own name: the endpoint stays where it is on a hash ring when it moves.
        """
        if address.family == "unix":
            return [(address.path, ResolvedAddress("unix", address.path, 0))]
        if address.family != "name":
            return [(str(address), ResolvedAddress(address.family, address.host, address.port))]
        hosts = self.resolved[address.host]
        if isinstance(hosts, str):
            self.fault(path, f"can't resolve {address.host!r}: {hosts}")
            return []
        placed = [host._replace(port=address.port) for host in hosts]
        return [(str(address) if len(placed) == 1 else str(each), each) for each in placed]

    def checks(self, upstreams: list[dict[str, Any]]) -> list[dict[str, Any]]:
        checks = []
        for plan in upstreams:
            health = self.config.upstreams[plan["name"]].health
            if health is None:
                continue
            checks.append(
                {
                    "upstream": plan["name"],
                    "protocol": plan["codec"],
                    "type": health.type,
                    "interval_ms": health.interval.ms,
                    "timeout_ms": health.timeout.ms,
                    "healthy_after": health.healthy_after,
                    "unhealthy_after": health.unhealthy_after,
                    "username": plan["options"].get("username", ""),
                    "password": plan["options"].get("password", ""),
                    "endpoints": [
                        {key: e[key] for key in ("name", "family", "host", "port", "slot")} for e in plan["endpoints"]
                    ],
                }
            )
        return checks

    # -- listeners -------------------------------------------------------------------------------------------------

    def socket(
        self,
        name: str,
        number: int,
        address: Address,
        path: tuple[str | int, ...],
        backlog: int = 128,
        mode: int | None = None,
    ) -> dict[str, Any]:
        found = bindable(address)
        if isinstance(found, str):
            self.fault(path, found)
            found = ResolvedAddress("any", "", 0)
        place = {"family": found.family, "host": found.host, "port": found.port}
        return {"id": number, "name": name, **place, "backlog": backlog, "mode": mode}

    def listener(self, name: str, one: Listener, sockets: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One plan entry per address: they differ in their id alone."""
        scope = Scope(one.protocol, self.attributes, one.connection_only)
        routes = [self.route(name, i, route, scope) for i, route in enumerate(one.all_routes())]
        common = {
            "name": name,
            "stats": self.registry.block("listener", name),
            "max_connections": one.max_connections,
            "idle_timeout_ms": one.idle_timeout.ms,
            "proxy_protocol": one.proxy_protocol == "accept",
            "client_buffer": int(one.client_buffer),
            "protocols": [{"codec": one.protocol, "options": one.options(), "table": {"routes": routes}}],
            "tls": None,
            "chains": [],
        }
        entries = []
        mode = int(one.socket_mode, 8) if one.socket_mode else None
        for i, address in enumerate(one.bind):
            path = ("listeners", name, "bind", i)
            number = self.registry.listener(str(address))
            sockets.append(self.socket(name, number, address, path, one.backlog, mode if address.path else None))
            entries.append({**common, "id": number})
        return entries

    def route(self, listener: str, index: int, route: Route, scope: Scope) -> dict[str, Any]:
        name = route.name or f"{listener}.{index}"
        predicate = route_predicate(route, scope)
        mirror = route.mirrored
        out: dict[str, Any] = {
            "name": name,
            "stats": self.registry.block("route", f"{listener}/{name}"),
            "when": None if predicate == TRUE else predicate,
            "timeout_ms": route.timeout_ms,
            "mirror": {"to": self.indices[mirror.to], "percent": float(mirror.percent)} if mirror else None,
        }
        if route.to is not None:
            out["to"] = self.indices[route.to]
        elif route.split is not None:
            out["split"] = [[self.indices[upstream], weight] for upstream, weight in route.split.items() if weight]
            if route.sticky is not None:
                out["sticky"] = scope.find(route.sticky).name
        elif route.reply is not None:
            out["reply"] = {"error": route.reply.error}
        return out

    # -- codecs ----------------------------------------------------------------------------------------------------

    def sections(self) -> dict[str, Any]:
        """The parts of the codecs in use; each operation a codec names is counted in a block of its own."""
        sections: dict[str, Any] = {}
        for protocol in dict.fromkeys(part.protocol for part in self.config.listeners.values()):
            names = sorted(installed.operations(protocol))
            blocks = {name: self.registry.block("operation", f"{protocol}.{name}") for name in names}
            section = installed.plan_section(protocol, blocks)
            if section is not None:
                sections[protocol] = section
        return sections
