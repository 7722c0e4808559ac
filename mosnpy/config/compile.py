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
from mosnpy.config.collecting import uncollected
from mosnpy.config.models import HASH_POLICIES
from mosnpy.config.predicate import TRUE
from mosnpy.config.protocols import PROTOCOLS, Spoken, spoken
from mosnpy.config.resolving import ResolvedAddress, bindable, resolve_hosts
from mosnpy.config.tables import Said, read_tables
from mosnpy.config.tls_files import tls_files
from mosnpy.errors import ConfigErrors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mosnpy.config.address import Address
    from mosnpy.config.attributes import Attributes
    from mosnpy.config.models import Chain, Config, Listener, Service, Upstream
    from mosnpy.config.report import Fault
    from mosnpy.config.tables import Entry, Table
    from mosnpy.config.tls import ChainTls, ClientTls

__all__ = ["Compiled", "LocalRegistry", "Registry", "compile_config", "compile_plan"]


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

    @property
    def secret(self) -> bytes:
        """32 random bytes from which session tickets are sealed; empty: each core takes its own."""
        ...


class LocalRegistry:
    """A registry for one compilation whose numbers nobody keeps: `check`, tests."""

    secret = b""

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
    password, endpoints [{name, family, host, port, slot}]. upstreams: as in the plan, without passwords. files: what the plan
    names and the cores read: certificates, keys, authorities.
    """

    generation: int
    plan: bytes
    workers: int | str
    drain_timeout_ms: int
    listeners: list[dict[str, Any]] = field(default_factory=list)
    admin: dict[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)
    upstreams: list[dict[str, Any]] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def compile_plan(config: Config, registry: Registry, generation: int) -> bytes:
    """The plan alone, for a core. Raises ConfigErrors as compile_config does."""
    return compile_config(config, registry, generation).plan


def compile_config(
    config: Config, registry: Registry, generation: int, attributes: Attributes | None = None
) -> Compiled:
    """Everything the processes need. Resolves host names: takes as long as the resolver does.

    Raises ConfigErrors when a name can't be resolved. A config that did not come from load() may raise ValueError.
    """
    with uncollected():
        return _Compiler(config, registry, generation, attributes or installed.attributes()).run()


class _Compiler:
    def __init__(self, config: Config, registry: Registry, generation: int, attributes: Attributes) -> None:
        self.config = config
        self.registry = registry
        self.generation = generation
        self.attributes = attributes
        self.indices = {name: i for i, name in enumerate(config.upstreams)}
        self.faults: list[Fault] = []
        self.resolved: dict[str, list[ResolvedAddress] | str] = {}
        self.tables: list[dict[str, Any]] = []  # of the plan

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
            "codecs": self.sections(),
            "upstreams": upstreams,
            "listeners": listeners,
            "tables": self.tables,  # last: it is the largest, and a reader need not pass by it
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
            self.files(),
        )

    def files(self) -> list[str]:
        blocks: list[ChainTls | ClientTls | None] = [u.tls for u in self.config.upstreams.values()]
        for one in self.config.listeners.values():
            blocks += [one.tls, *(chain.tls for chain in one.chains)]
        return sorted({name for block in blocks for name in tls_files(block)})

    def tls(self, block: ChainTls | None, mode: str, alpn: list[str]) -> dict[str, Any] | None:
        if block is None:
            return None
        return {**block.plan(mode, alpn), "ticket_key": self.registry.secret if block.session_tickets else b""}

    def fault(self, path: tuple[str | int, ...], message: str) -> None:
        from mosnpy.config.report import Fault

        document = self.config.document
        dotted = ".".join(map(str, path))
        self.faults.append(document.fault(path, message) if document is not None else Fault(message, path=dotted))

    # -- upstreams -------------------------------------------------------------------------------------------------

    def upstream(self, name: str, u: Upstream) -> dict[str, Any]:
        hashed = u.lb.policy in HASH_POLICIES
        scope = Scope(PROTOCOLS[u.protocol].family, self.attributes)
        return {
            "name": name,
            "codec": u.protocol,
            "stats": self.registry.block("upstream", name),
            "connect_timeout_ms": u.connect_timeout.ms,
            "idle_timeout_ms": u.pool.idle_timeout.ms,
            "connections": u.shared_connections,
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
            "tls": u.tls.plan(_host_name(u), u.alpn) if u.tls is not None else None,
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
                    "tls": plan["tls"],
                    "ask": health.plan(),
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
        said = spoken(one.protocol)
        mode = "permissive" if said.tls else one.tls.mode if one.tls is not None else "terminate"
        common = {
            "name": name,
            "stats": self.registry.block("listener", name),
            "max_connections": one.max_connections,
            "idle_timeout_ms": one.idle_timeout.ms,
            "proxy_protocol": one.proxy_protocol == "accept",
            "client_buffer": int(one.client_buffer),
            "protocols": self.protocols(name, name, one, said),
            "tls": self.tls(one.tls, mode, said.alpn),
            "chains": [self.chain(name, chain, said, one.tls, mode) for chain in one.chains],
        }
        entries = []
        permissions = int(one.socket_mode, 8) if one.socket_mode else None
        for i, address in enumerate(one.bind):
            path = ("listeners", name, "bind", i)
            number = self.registry.listener(str(address))
            sockets.append(self.socket(name, number, address, path, one.backlog, permissions if address.path else None))
            entries.append({**common, "id": number})
        return entries

    def chain(self, listener: str, one: Chain, theirs: Spoken, tls: ChainTls | None, mode: str) -> dict[str, Any]:
        """tls, theirs, mode: of the listener, for what the chain doesn't say."""
        said = spoken(one.protocol) if one.protocol is not None else theirs
        own = one.tls or tls
        return {
            "name": one.name,
            "sni": one.sni,
            "protocols": self.protocols(listener, f"{listener}.{one.name}", one, said),
            "tls": self.tls(own, mode, said.alpn),
        }

    def protocols(self, listener: str, stem: str, one: Service, said: Spoken) -> list[dict[str, Any]]:
        """What is spoken, in order of detection. stem: before the numbers of routes without a name."""
        tables = {family: self.routes(listener, stem, table) for family, table in self.read(one, said).items()}
        places = {family: self.table(family, routes) for family, routes in tables.items()}
        return [
            {"codec": name, "options": one.options(name), "table": places[PROTOCOLS[name].family]}
            for name in said.names
        ]

    def table(self, family: str, routes: list[dict[str, Any]]) -> int:
        """Its place in the plan. Chains of a listener share one where their routes have the same names, and so the same statistics."""
        codec = next(name for name, protocol in PROTOCOLS.items() if protocol.family == family)
        table = {"codec": codec, "routes": routes}
        for place, known in enumerate(self.tables):
            if known == table:
                return place
        self.tables.append(table)
        return len(self.tables) - 1

    def read(self, one: Service, said: Spoken) -> dict[str, Table]:
        """As the semantic pass left them; read now for a configuration that did not come from load()."""
        if one._tables is not None:
            return one._tables

        def say(fault: Said) -> None:
            if not fault.warning:
                raise ValueError(f"{'.'.join(map(str, fault.path))}: {fault.message}")

        protocols = {name: upstream.protocol for name, upstream in self.config.upstreams.items()}
        return read_tables(one.flat_routes(), said, self.attributes, protocols, say)

    def routes(self, listener: str, stem: str, table: Table) -> list[dict[str, Any]]:
        scope = Scope(table[0].family if table else "", self.attributes)
        return [self.route(listener, stem, entry, scope) for entry in table]

    def route(self, listener: str, stem: str, entry: Entry, scope: Scope) -> dict[str, Any]:
        route = entry.flat.route
        name = entry.name(stem)
        mirror = route.mirrored
        out: dict[str, Any] = {
            "name": name,
            "stats": self.registry.block("route", f"{listener}/{entry.counted_as(stem)}"),
            "when": None if entry.predicate == TRUE else entry.predicate,
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
        out.update(entry.actions)
        return out

    # -- codecs ----------------------------------------------------------------------------------------------------

    def sections(self) -> dict[str, Any]:
        """The parts of the codecs in use; each operation a codec names is counted in a block of its own."""
        sections: dict[str, Any] = {}
        spoken_here = (name for one in self.config.listeners.values() for name in _names(one))
        for protocol in dict.fromkeys(spoken_here):
            names = sorted(installed.operations(protocol))
            blocks = {name: self.registry.block("operation", f"{protocol}.{name}") for name in names}
            section = installed.plan_section(protocol, blocks)
            if section is not None:
                sections[protocol] = section
        return sections


def _names(listener: Listener) -> list[str]:
    """Every protocol of a listener and its chains."""
    said = [listener.protocol, *(chain.protocol for chain in listener.chains if chain.protocol is not None)]
    return [name for each in said for name in spoken(each).names]


def _host_name(upstream: Upstream) -> str | None:
    """The host name of all endpoints, where they have the same."""
    hosts = {each.address.host if each.address.family == "name" else None for each in upstream.endpoints}
    return hosts.pop() if len(hosts) == 1 else None
