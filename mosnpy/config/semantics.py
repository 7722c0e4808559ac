"""What a configuration means: the second pass, over whatever the first one (validate.py) could read.

References to upstreams, attributes and expressions in rules, protocols that don't fit together, routes that can never match,
ports taken twice. Faults are added to the document, with their places.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mosnpy.config.attributes import Scope
from mosnpy.config.models import HASH_POLICIES, Listener
from mosnpy.config.protocols import PROTOCOLS
from mosnpy.config.reachability import unreachable
from mosnpy.config.report import did_you_mean, shown
from mosnpy.config.resolving import resolve_hosts
from mosnpy.config.tables import Said, read_tables
from mosnpy.config.tls_files import check_tls

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mosnpy.config.address import Address
    from mosnpy.config.attributes import Attributes
    from mosnpy.config.loader import Document
    from mosnpy.config.models import Upstream
    from mosnpy.config.protocols import Spoken
    from mosnpy.config.tables import Table
    from mosnpy.config.tls import ChainTls
    from mosnpy.config.validate import Draft, ListenerDraft, ServiceDraft

__all__ = ["KNOWN_FILTERS", "examine", "examine_names"]

Path = tuple[str | int, ...]

KNOWN_FILTERS: tuple[str, ...] = ()
"""Built-in filters of this version."""


def examine(document: Document, draft: Draft, attributes: Attributes) -> None:
    """Runs every check that needs no network."""
    for name, listener in draft.listeners.items():
        _examine_listener(document, draft, name, listener, attributes)
    for name, one in draft.upstreams.items():
        if one.upstream is not None:
            _examine_upstream(document, name, one.upstream, attributes)
    _ports(document, draft)
    for name in _mapping(document.data.get("codecs")):
        message = f"codec {name!r}: this version can't load codecs; the protocols it has are {', '.join(PROTOCOLS)}"
        document.fault(("codecs", name), message, key=True)
    _doubts(document, draft)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# -- listeners -------------------------------------------------------------------------------------------------------


def _examine_listener(document: Document, draft: Draft, name: str, one: ListenerDraft, attributes: Attributes) -> None:
    raw = _mapping(_mapping(document.data.get("listeners")).get(name))
    filters = raw.get("filters")
    for i, each in enumerate(filters if isinstance(filters, list) else ()):
        _filter(document, ("listeners", name, "filters", i), each)
    upstreams = {upstream: each.protocol for upstream, each in draft.upstreams.items()}
    for service in one.services:
        _examine_service(document, draft, service, attributes, upstreams)
    listener = one.listener
    if listener is None:
        return
    if one.services[0].spoken is not None and one.services[0].spoken.tls:
        path = ("listeners", name, "protocol")
        if listener.tls is None:
            document.fault(path, "tls is in the list, so TLS may come: it needs a `tls:` block with a certificate")
        elif "mode" in listener.tls.model_fields_set and listener.tls.mode == "terminate":
            message = (
                "tls in the list of protocols says that plaintext may come as well; terminate says that it may not"
            )
            document.fault(("listeners", name, "tls", "mode"), message)
    if listener.chains and listener.tls is None:
        message = "chains are chosen by the server name of the TLS handshake: the listener itself needs `tls:`"
        if listener.protocol == "tcp":
            message += "; to pass TLS on as it is, write routes that match tls.sni"
        document.fault(("listeners", name, "chains"), message, key=True)
    _chain_names(document, name, listener)
    for service in one.services:
        tls = getattr(service.service, "tls", None)
        if tls is not None and (service is one.services[0] or tls is not listener.tls):
            check_tls(document, (*service.path, "tls"), tls)
            _offered(document, (*service.path, "tls"), tls, service.spoken or one.services[0].spoken)


def _offered(document: Document, path: Path, tls: ChainTls, said: Spoken | None) -> None:
    """A protocol offered in the handshake must be spoken behind it; tcp passes any on."""
    if said is None or "tcp" in said.names:
        return
    for i, name in enumerate(tls.alpn or ()):
        protocol = {"h2": "http2", "http/1.1": "http1"}.get(name)
        if protocol is not None and protocol not in said.names:
            document.fault(
                (*path, "alpn", i), f"{name} is {protocol}, which is not spoken here: {', '.join(said.names)}"
            )


def _examine_service(
    document: Document, draft: Draft, one: ServiceDraft, attributes: Attributes, upstreams: dict[str, str]
) -> None:
    """The routes of a listener or chain."""
    names: dict[str, int] = {}
    known_targets = draft.upstreams.keys()
    for i, flat in enumerate(one.routes):
        for below, target in flat.route.targets:
            if target not in known_targets:
                _unknown_target(document, draft, target, (*one.path, *flat.steps, *below), below[0] == "split")
        if flat.route.name is not None:
            assert flat.name is not None
            first = names.setdefault(flat.name, i)
            if first != i:
                place = document.place((*one.path, *one.routes[first].steps))
                where = f" at line {place.line}" if place else ""
                message = f"a route of this listener is already called {flat.name!r}{where}"
                document.fault((*one.path, *flat.steps, "name"), message)
    if one.spoken is None:
        return

    def say(said: Said) -> None:
        path = (*one.path, *said.path)
        document.fault(path, said.message, key=said.key, text=said.text, offset=said.offset, warning=said.warning)

    tables = read_tables(one.routes, one.spoken, attributes, upstreams, say)
    for family, table in tables.items():
        _reachable(document, one, family, table)
    if one.service is not None:
        one.service._tables = tables


def _reachable(document: Document, one: ServiceDraft, family: str, table: Table) -> None:
    """Says which routes of a table can never match, and when a protocol has none at all."""
    assert one.spoken is not None
    if not table and one.complete and not any(f.severity == "error" for f in document.faults):
        message = f"no route of this listener takes {family}: every request of it would be refused"
        document.fault((*one.path, "protocol"), message)
    for found in unreachable([entry.predicate for entry in table]):
        earlier, later = table[found.by].flat, table[found.route].flat
        number = earlier.steps[-1] if earlier.steps else 0
        place = document.place((*one.path, *earlier.steps))
        where = f"route {number} (line {place.line})" if place else f"route {number}"
        message = f"this route can never match: {where} before it takes {found.what}"
        if found.others:
            message += "; nor can the one behind it" if found.others == 1 else f"; nor can the {found.others} behind it"
        document.fault((*one.path, *later.steps), message)


def _chain_names(document: Document, name: str, listener: Listener) -> None:
    """Names and server names of chains are used once."""
    names: dict[str, int] = {}
    servers: dict[str, str] = {}
    for i, chain in enumerate(listener.chains):
        path: Path = ("listeners", name, "chains", i)
        if chain.name in names:
            document.fault((*path, "name"), f"a chain of this listener is already called {chain.name!r}")
        names.setdefault(chain.name, i)
        for k, server in enumerate(chain.sni):
            if server in servers:
                document.fault((*path, "sni", k), f"{server} is already a server name of chain {servers[server]!r}")
            servers.setdefault(server, chain.name)


def _filter(document: Document, path: Path, each: Any) -> None:
    name = next(iter(each)) if isinstance(each, dict) and len(each) == 1 else each
    if not isinstance(name, str):
        document.fault(path, "a filter is a mapping with one key, its name: {name: {…}}")
        return
    known = f"known are {', '.join(KNOWN_FILTERS)}" if KNOWN_FILTERS else "this version has no filters"
    if name not in KNOWN_FILTERS:
        document.fault(
            (*path, name), f"unknown filter {name!r}{did_you_mean(name, KNOWN_FILTERS) or ': ' + known}", key=True
        )


def _unknown_target(document: Document, draft: Draft, target: str, path: Path, in_key: bool) -> None:
    known = did_you_mean(target, draft.upstreams)
    there = f": there are {', '.join(list(draft.upstreams)[:8])}" if draft.upstreams else ": there are none"
    if document.whole or known:
        document.fault(path, f"unknown upstream {target!r}{known or there}", key=in_key)


# -- upstreams -------------------------------------------------------------------------------------------------------


def _examine_upstream(document: Document, name: str, upstream: Upstream, attributes: Attributes) -> None:
    path: Path = ("upstreams", name)
    seen: set[Address] = set()
    for i, endpoint in enumerate(upstream.endpoints):
        if endpoint.address in seen:
            document.fault(
                (*path, "endpoints", i), f"{endpoint.address} is already listed: give it a higher weight instead"
            )
        seen.add(endpoint.address)
    if upstream.lb.policy in HASH_POLICIES and upstream.lb.hash is not None:
        protocol = PROTOCOLS[upstream.protocol]
        scope = Scope(protocol.family, attributes, protocol.connection_only)
        try:
            scope.find(upstream.lb.hash)
        except ValueError as error:
            document.fault((*path, "lb", "hash"), str(error))
    if upstream.tls is not None:
        check_tls(document, (*path, "tls"), upstream.tls)
        hosts = {endpoint.address.host for endpoint in upstream.endpoints if endpoint.address.family == "name"}
        nameless = any(endpoint.address.family != "name" for endpoint in upstream.endpoints)
        unnamed = upstream.tls.sni is None and not upstream.tls.names
        if upstream.tls.verify and unnamed and (nameless or len(hosts) != 1):
            message = "the endpoints' certificates must be checked against a name: give `sni` or `names`"
            document.fault((*path, "tls"), message, key=True)
        if not upstream.tls.verify:
            message = "verify: false takes any certificate: whoever sits between can read and change everything"
            document.fault((*path, "tls", "verify"), message, warning=True)
    if upstream.health is not None and str(upstream.health.type) == "grpc" and upstream.protocol != "http2":
        document.fault((*path, "health", "type"), "gRPC needs HTTP/2: the endpoints speak http1")


# -- addresses -------------------------------------------------------------------------------------------------------


def _ports(document: Document, draft: Draft) -> None:
    """Addresses that can't be bound at once."""
    taken: dict[int | str, list[tuple[Address, Path, str]]] = {}
    for address, path, owner in _bound(draft):
        if not address.path and not address.port:
            continue
        mine = taken.setdefault(address.path or address.port, [])
        for other, there, holder in mine:
            if address.clashes(other):
                place = document.place(there)
                where = f" at {f'line {place.line}' if _same_file(document, path, there) else place}" if place else ""
                document.fault(path, f"{address} is already taken: {holder} listens on {other}{where}")
                break
        mine.append((address, path, owner))


def _bound(draft: Draft) -> Iterator[tuple[Address, Path, str]]:
    if draft.top is not None and draft.top.admin is not None:
        yield draft.top.admin.bind, ("admin", "bind"), "the admin API"
    for name, one in draft.listeners.items():
        for i, address in enumerate(one.listener.bind if one.listener is not None else ()):
            yield address, ("listeners", name, "bind", i), f"listener {name!r}"


def _same_file(document: Document, a: Path, b: Path) -> bool:
    first, second = document.place(a), document.place(b)
    return first is not None and second is not None and first.file == second.file


# -- doubts ----------------------------------------------------------------------------------------------------------


def _doubts(document: Document, draft: Draft) -> None:
    """Warnings: what works, but hardly as meant."""
    if draft.top is not None and draft.top.admin is not None and not draft.top.admin.bind.loopback:
        message = (
            f"the admin API on {draft.top.admin.bind} can be reached from other machines, and it asks for no password"
        )
        document.fault(("admin", "bind"), message, warning=True)
    if any(f.severity == "error" for f in document.faults):
        return  # what is broken may be what uses the rest
    used = {target for one in draft.listeners.values() for flat in one.routes() for _, target in flat.route.targets}
    for name in draft.upstreams:
        if name not in used:
            document.fault(("upstreams", name), f"no route leads to upstream {name!r}", key=True, warning=True)
    own = {
        a: name for name, one in draft.listeners.items() if one.listener for a in one.listener.bind if a.port or a.path
    }
    for name, upstream in draft.upstreams.items():
        for i, endpoint in enumerate(upstream.upstream.endpoints if upstream.upstream else ()):
            listener = own.get(endpoint.address)
            if listener and any(t == name for r in draft.listeners[listener].routes() for _, t in r.route.targets):
                message = f"{endpoint.address} is listener {listener!r} itself, which sends to this upstream: a loop"
                document.fault(("upstreams", name, "endpoints", i), message, warning=True)


def examine_names(document: Document, draft: Draft, patience: float) -> None:
    """Warnings for endpoints whose host name can't be resolved now. patience: seconds for all of them."""
    wanted: list[tuple[Path, str]] = []
    for name, one in draft.upstreams.items():
        for i, endpoint in enumerate(one.upstream.endpoints if one.upstream is not None else ()):
            if endpoint.address.family == "name":
                wanted.append((("upstreams", name, "endpoints", i), endpoint.address.host))
    found = resolve_hosts((host for _, host in wanted), patience)
    for path, host in wanted:
        answer = found[host]
        if isinstance(answer, str):
            document.fault(path, f"can't resolve {shown(host)}: {answer}", warning=True)
