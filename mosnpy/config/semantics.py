"""What a configuration means: the second pass, over whatever the first one (validate.py) could read.

References to upstreams, attributes and expressions in rules, protocols that don't fit together, routes that can never match,
ports taken twice. Faults are added to the document, with their places.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mosnpy.config import installed
from mosnpy.config.attributes import Scope
from mosnpy.config.expression import ExpressionError, parse_expression
from mosnpy.config.glob import ACTIVE
from mosnpy.config.models import HASH_POLICIES
from mosnpy.config.predicate import both, parse_match
from mosnpy.config.protocols import PROTOCOLS
from mosnpy.config.reachability import unreachable
from mosnpy.config.report import did_you_mean, shown
from mosnpy.config.resolving import resolve_hosts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mosnpy.config.address import Address
    from mosnpy.config.attributes import Attributes
    from mosnpy.config.loader import Document
    from mosnpy.config.models import Route, Upstream
    from mosnpy.config.predicate import Predicate
    from mosnpy.config.validate import Draft, ListenerDraft

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
    connection_only = bool(one.protocol) and PROTOCOLS[one.protocol].listener.connection_only
    scope = Scope(one.protocol, attributes, connection_only)
    predicates: list[Predicate | None] = []
    names: dict[str, int] = {}
    for i, route in enumerate(one.routes):
        predicates.append(None)
        if route is None:
            continue
        path = one.route_path(name, i)
        _targets(document, draft, one, route, path)
        if one.protocol:
            predicates[i] = _rules(document, route, path, scope)
            route._predicate = predicates[i]
        if route.name is not None:
            if route.name in names:
                first = document.place(one.route_path(name, names[route.name]))
                where = f" at line {first.line}" if first else ""
                document.fault((*path, "name"), f"a route of this listener is already called {route.name!r}{where}")
            names.setdefault(route.name, i)
    for found in unreachable(predicates):
        first = document.place(one.route_path(name, found.by))
        where = f"route {found.by} (line {first.line})" if first else f"route {found.by}"
        message = f"this route can never match: {where} before it takes {found.what}"
        if found.others:
            message += "; nor can the one behind it" if found.others == 1 else f"; nor can the {found.others} behind it"
        document.fault(one.route_path(name, found.route), message)


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


def _targets(document: Document, draft: Draft, one: ListenerDraft, route: Route, path: Path) -> None:
    for below, target in route.targets:
        found = draft.upstreams.get(target)
        in_key = below[0] == "split"
        if found is None:
            known = did_you_mean(target, draft.upstreams)
            there = f": there are {', '.join(list(draft.upstreams)[:8])}" if draft.upstreams else ": there are none"
            if document.whole or known:
                document.fault((*path, *below), f"unknown upstream {target!r}{known or there}", key=in_key)
        elif found.protocol and one.protocol and found.protocol != one.protocol:
            message = f"upstream {target!r} speaks {found.protocol}, this listener {one.protocol}"
            document.fault((*path, *below), message, key=in_key)


def _rules(document: Document, route: Route, path: Path, scope: Scope) -> Predicate | None:
    """The route's predicate, None when it is faulty."""
    parts: list[Predicate | None] = []
    if route.match is not None:

        def fault(below: Path, message: str, key: bool) -> None:
            document.fault((*path, "match", *below), message, key=key)

        parts.append(parse_match(route.match, scope, fault))
        if parts[-1] is not None:
            _match_operations(document, route.match, (*path, "match"), scope)
    if route.when is not None:
        try:
            parsed = parse_expression(route.when, scope)
            parts.append(parsed)
            for attribute, value in _equalities(parsed):
                _operation(document, attribute, value, (*path, "when"), scope)
        except ExpressionError as error:
            document.fault((*path, "when"), str(error), text=route.when, offset=error.offset)
            parts.append(None)
    if route.sticky is not None:
        try:
            scope.find(route.sticky)
        except ValueError as error:
            document.fault((*path, "sticky"), str(error))
    good = [part for part in parts if part is not None]
    return both(*good) if len(good) == len(parts) else None


def _match_operations(document: Document, match: dict[str, Any], path: Path, scope: Scope) -> None:
    """Commands nobody knows, value by value."""
    for name, wanted in match.items():
        listed = isinstance(wanted, list)
        for i, value in enumerate(wanted if listed else [wanted]):
            if isinstance(value, str) and not ACTIVE.intersection(value) and not value.startswith("~"):
                below = (name, i) if listed else (name,)
                _operation(document, scope.find(name).name, value.removeprefix("!").upper(), (*path, *below), scope)


def _operation(document: Document, attribute: str, value: Any, path: Path, scope: Scope) -> None:
    """Says what is odd about an operation a rule asks for. Modules bring their own, so only near misses are doubtful."""
    known = installed.operations(scope.protocol)
    if not known or attribute not in ("operation", f"{scope.protocol}.command") or value in known:
        return
    first, *rest = re.split(r"[ |]", value)
    if rest and first in known:
        document.fault(path, f"{value!r} is two words: match command {first} and subcommand {rest[0]}")
    elif "." not in value and (hint := did_you_mean(value, known)):  # a module's commands have a dot
        message = f"{scope.protocol} has no command {value!r} unless a module brings it{hint}"
        document.fault(path, message, warning=True)


def _equalities(predicate: Predicate) -> Iterator[tuple[str, Any]]:
    """(attribute, value) of every equality in a predicate."""
    if predicate[0] in ("and", "or", "not"):
        for each in predicate[1:]:
            yield from _equalities(each)
    elif predicate[0] == "eq":
        yield predicate[1], predicate[2]
    elif predicate[0] == "in":
        for value in predicate[2]:
            yield predicate[1], value


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
        scope = Scope(upstream.protocol, attributes, protocol.listener.connection_only)
        try:
            scope.find(upstream.lb.hash)
        except ValueError as error:
            document.fault((*path, "lb", "hash"), str(error))
    if upstream.health is not None and upstream.health.type not in ("tcp", upstream.protocol):
        message = f"the endpoints speak {upstream.protocol}: a {upstream.health.type} check can't succeed"
        document.fault((*path, "health", "type"), message)


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
    used = {target for one in draft.listeners.values() for r in one.routes if r for _, target in r.targets}
    for name in draft.upstreams:
        if name not in used:
            document.fault(("upstreams", name), f"no route leads to upstream {name!r}", key=True, warning=True)
    own = {
        a: name for name, one in draft.listeners.items() if one.listener for a in one.listener.bind if a.port or a.path
    }
    for name, upstream in draft.upstreams.items():
        for i, endpoint in enumerate(upstream.upstream.endpoints if upstream.upstream else ()):
            listener = own.get(endpoint.address)
            if listener and any(t == name for r in draft.listeners[listener].routes if r for _, t in r.targets):
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
