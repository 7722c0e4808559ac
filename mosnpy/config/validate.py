"""The document against the models, part by part.

Every listener, route and upstream is validated by itself, so one broken part doesn't hide the rest: the semantic pass
(semantics.py) then works on what is left and the operator sees all faults in one run. A part that still makes sense without the
keys at fault is kept without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from mosnpy.config.models import Chain, Config, Listener, Service, Upstream
from mosnpy.config.protocols import (
    ALIASES,
    PROTOCOLS,
    ProtocolError,
    Spoken,
    every_chain,
    every_listener,
    models_for,
    spoken,
)
from mosnpy.config.report import did_you_mean, shown
from mosnpy.config.routes import FlatRoute, Route, RouteGroup, Rule, flat
from mosnpy.config.wording import is_about_key, sentence

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic_core import ErrorDetails

    from mosnpy.config.loader import Document

__all__ = ["Draft", "ListenerDraft", "ServiceDraft", "UpstreamDraft", "validate"]

Path = tuple[str | int, ...]
_DEEPEST = 24  # steps to a group: about ten groups within groups
_Part = TypeVar("_Part", bound=BaseModel)


@dataclass
class ServiceDraft:
    """What could be read of a listener itself, or of one of its chains. spoken: None when unknown. complete: every route
    could be read. service: None when too much is broken; its routes are there all the same."""

    path: Path
    spoken: Spoken | None
    service: Service | None
    routes: list[FlatRoute]
    complete: bool = True


@dataclass
class ListenerDraft:
    """What could be read of a listener. services: the listener itself, then its chains."""

    listener: Listener | None
    services: list[ServiceDraft] = field(default_factory=list)

    def routes(self) -> Iterator[FlatRoute]:
        """All its routes, those of chains included."""
        for service in self.services:
            yield from service.routes


@dataclass
class UpstreamDraft:
    """What could be read of an upstream. protocol: "" when unknown."""

    protocol: str
    upstream: Upstream | None


@dataclass
class Draft:
    """What could be read of a configuration. config: there when no schema fault was found."""

    listeners: dict[str, ListenerDraft] = field(default_factory=dict)
    upstreams: dict[str, UpstreamDraft] = field(default_factory=dict)
    top: Config | None = None
    config: Config | None = None


def validate(document: Document) -> Draft:
    """Reads a document; faults are added to it."""
    before = sum(f.severity == "error" for f in document.faults)
    draft = Draft()
    data = dict(document.data)
    raw_listeners, raw_upstreams = data.get("listeners"), data.get("upstreams")
    if isinstance(raw_listeners, dict):
        for name, raw in raw_listeners.items():
            draft.listeners[name] = _listener(document, name, raw)
        data["listeners"] = dict.fromkeys(raw_listeners, Listener.model_construct(to="?"))
    if isinstance(raw_upstreams, dict):
        for name, raw in raw_upstreams.items():
            draft.upstreams[name] = _upstream(document, name, raw)
        data["upstreams"] = dict.fromkeys(raw_upstreams, Upstream.model_construct(protocol="?"))
    if document.whole or data:
        draft.top = _part(document, Config, data, (), skip_missing=not document.whole)
    # Put in behind pydantic's back: it would run every part's own checks once more.
    if draft.top is not None:
        draft.top.listeners = {n: d.listener for n, d in draft.listeners.items() if d.listener is not None}
        draft.top.upstreams = {n: d.upstream for n, d in draft.upstreams.items() if d.upstream is not None}
    if draft.top is not None and sum(f.severity == "error" for f in document.faults) == before:
        draft.config = draft.top
        draft.config._document = document
    return draft


# -- listeners -------------------------------------------------------------------------------------------------------


def _listener(document: Document, name: str, raw: Any) -> ListenerDraft:
    path: Path = ("listeners", name)
    found, model, chain_model = _spoken(document, raw, path)
    if not isinstance(raw, dict):
        _part(document, model, raw, path)
        return ListenerDraft(None)
    raw = dict(raw)
    raw_chains = raw.pop("chains", None)
    if raw_chains is not None and not (isinstance(raw_chains, list) and raw_chains):
        raw["chains"] = raw_chains  # the model says what is wrong
        raw_chains = None
    own = _service(document, raw, path, found, model, every_listener())
    listener = own.service
    assert listener is None or isinstance(listener, Listener)
    draft = ListenerDraft(listener, [own])
    for i, each in enumerate(raw_chains or ()):
        draft.services.append(_chain(document, each, (*path, "chains", i), found, chain_model, listener))
    if listener is not None:
        listener.chains = [one.service for one in draft.services[1:] if isinstance(one.service, Chain)]
    return draft


def _chain(
    document: Document,
    raw: Any,
    path: Path,
    found: Spoken | None,
    model: type[Chain],
    listener: Listener | None,
) -> ServiceDraft:
    if isinstance(raw, dict) and "protocol" in raw:
        found, _, model = _spoken(document, raw, path)
        if found is not None and found.tls:
            document.fault((*path, "protocol"), "tls is of no use here: a chain is chosen by the TLS handshake")
    if not isinstance(raw, dict):
        _part(document, model, raw, path)
        return ServiceDraft(path, found, None, [], False)
    draft = _service(document, dict(raw), path, found, model, every_chain())
    if draft.service is not None:
        for name in ("protocol", "tls", "http", "auth", "limits"):
            theirs = getattr(listener, name, None)
            if name in model.model_fields and name not in draft.service.model_fields_set and theirs is not None:
                setattr(draft.service, name, theirs)
    return draft


def _service(
    document: Document,
    raw: dict[str, Any],
    path: Path,
    found: Spoken | None,
    model: type[Service],
    siblings: list[Any],
) -> ServiceDraft:
    """A listener or chain, its routes one by one."""
    if found is None:
        raw = _common_keys(raw, model, siblings)
    rules: list[Rule | None] = []
    raw_routes = raw.get("routes")
    if isinstance(raw_routes, list) and raw_routes:
        reader = _Routes(document, model.route_model, siblings)
        rules = reader.read(raw_routes, (*path, "routes"))
        raw["routes"] = [Route.model_construct(to="?")]
    service = _part(document, model, raw, path, siblings)
    if service is not None and service.to is not None:
        return ServiceDraft(path, found, service, list(service.flat_routes()))
    if service is not None:
        service.routes = [rule for rule in rules if rule is not None]
    return ServiceDraft(path, found, service, list(flat(rules)), None not in rules)


class _Routes:
    """Routes and groups of them, each by itself."""

    def __init__(self, document: Document, model: type[Route], siblings: Iterable[Any]) -> None:
        self.document = document
        self.model = model
        self.siblings = list(dict.fromkeys(each.route_model for each in siblings))

    def read(self, raw: list[Any], path: Path) -> list[Rule | None]:
        return [
            self.group(each, (*path, i))
            if isinstance(each, dict) and "routes" in each
            else _part(self.document, self.model, each, (*path, i), self.siblings)
            for i, each in enumerate(raw)
        ]

    def group(self, raw: dict[str, Any], path: Path) -> RouteGroup | None:
        """A group; what only a route can have is said to be misplaced."""
        for key in [key for key in raw if key not in RouteGroup.model_fields and key in self.model.model_fields]:
            message = f"a group of routes has match, when and name; {key} belongs to the routes inside"
            self.document.fault((*path, key), message, key=True)
        raw = {
            key: value
            for key, value in raw.items()
            if key in RouteGroup.model_fields or key not in self.model.model_fields
        }
        inner = raw["routes"]
        if not isinstance(inner, list) or not inner:
            _part(self.document, RouteGroup, raw, path)
            return None
        if len(path) > _DEEPEST:
            self.document.fault(path, "groups of routes are nested too deep")
            return None
        rules = self.read(inner, (*path, "routes"))
        group = _part(self.document, RouteGroup, {**raw, "routes": [Rule.model_construct()]}, path)
        if group is not None:
            group.routes = rules  # type: ignore[assignment]  # one that can't be read is left out by flat()
        return group


def _spoken(document: Document, raw: Any, path: Path) -> tuple[Spoken | None, type[Listener], type[Chain]]:
    """What a listener says it speaks (None if unknown), and the models to read it and its chains with."""
    if not isinstance(raw, dict) or "protocol" not in raw:
        return None, Listener, Chain  # pydantic says that it is missing
    try:
        found = spoken(raw["protocol"])
    except ProtocolError as error:
        place = (*path, "protocol") if error.index is None else (*path, "protocol", error.index)
        document.fault(place, str(error))
        meant = ALIASES.get(error.meant, (error.meant,))
        if meant[0] not in PROTOCOLS:
            return None, Listener, Chain
        return None, *models_for((PROTOCOLS[meant[0]].family,))
    return found, *models_for(found.families)


def _common_keys(raw: dict[str, Any], model: type[Any], siblings: Iterable[Any]) -> dict[str, Any]:
    """Without the keys only some protocol knows: the protocol is unknown, so they can't be judged."""
    special = {key for each in siblings for key in each.model_fields} - set(model.model_fields)
    return {key: value for key, value in raw.items() if key not in special}


# -- upstreams -------------------------------------------------------------------------------------------------------


def _upstream(document: Document, name: str, raw: Any) -> UpstreamDraft:
    path: Path = ("upstreams", name)
    siblings = [p.upstream for p in PROTOCOLS.values()]
    value = raw.get("protocol") if isinstance(raw, dict) else None
    protocol, model = "", Upstream
    if isinstance(value, str) and value in PROTOCOLS:
        protocol, model = value, PROTOCOLS[value].upstream
    elif isinstance(raw, dict) and "protocol" in raw:
        hint = did_you_mean(value, PROTOCOLS)
        message = f"unknown protocol {shown(value)}{hint or ': known are ' + ', '.join(PROTOCOLS)}"
        if value in ("http", "https"):
            message = "servers are asked in one version: write http1 or http2" + (
                ", and `tls: {}`" * (value == "https")
            )
            model = PROTOCOLS["http1"].upstream
        elif isinstance(value, list):
            message = "the endpoints of an upstream speak one protocol: a list is for listeners"
        document.fault((*path, "protocol"), message)
        model = next((p.upstream for n, p in PROTOCOLS.items() if repr(n) in hint), model)
    if isinstance(raw, dict) and model is Upstream:
        raw = _common_keys(raw, model, siblings)
    upstream = _part(document, model, raw, path, siblings)
    assert upstream is None or isinstance(upstream, Upstream)
    return UpstreamDraft(protocol, upstream)


# -- parts -----------------------------------------------------------------------------------------------------------


def _misspelt(missing: tuple[int | str, ...], errors: Iterable[ErrorDetails]) -> bool:
    """Whether an unknown key beside a missing one is most likely that key: then one fault is enough."""
    unknown = (e["loc"] for e in errors if e["type"] == "extra_forbidden" and e["loc"][:-1] == missing[:-1])
    return any(did_you_mean(loc[-1], [str(missing[-1])]) for loc in unknown)


def _part(
    document: Document,
    model: type[_Part],
    raw: Any,
    path: Path,
    siblings: Iterable[type[BaseModel]] = (),
    skip_missing: bool = False,
) -> _Part | None:
    """One part, or None when too much of it is broken. Faults are added to the document."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    broken: set[int | str] = set()
    names: set[tuple[int | str, ...]] = set()
    for each in errors:
        loc = each["loc"]
        if loc[-1:] == ("[key]",) and len(loc) == 3:
            names.add(loc[:-1])
        else:
            broken.add(loc[0] if loc else "")
        if loc[:1] == ("protocol",) and each["type"] != "missing":
            continue  # said already, with the protocols there are
        if each["type"] == "missing" and (skip_missing or _misspelt(loc, errors)):
            continue
        if not path and each["type"] == "missing" and loc == ("version",):
            document.fault((), "'version' is missing: start the file with `version: 1`", key=True)
            continue
        where = (*path, *(step for step in loc if step != "[key]"))
        document.fault(where, sentence(each, model, siblings), key=is_about_key(each))
    if not isinstance(raw, dict) or "" in broken:
        return None
    left = {key: value for key, value in raw.items() if key not in broken}
    for field_name, name in names:  # entries of maps whose names alone are wrong
        left[str(field_name)] = {key: value for key, value in left.get(str(field_name), {}).items() if key != name}
    try:
        return model.model_validate(left)
    except ValidationError:
        return None
