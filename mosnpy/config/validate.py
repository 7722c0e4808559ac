"""The document against the models, part by part.

Every listener, route and upstream is validated by itself, so one broken part doesn't hide the rest: the semantic pass
(semantics.py) then works on what is left and the operator sees all faults in one run. A part that still makes sense without the
keys at fault is kept without them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from mosnpy.config.models import Config, Listener, RequestRoute, Route, Upstream
from mosnpy.config.protocols import PROTOCOLS
from mosnpy.config.report import did_you_mean, shown
from mosnpy.config.wording import is_about_key, sentence

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic_core import ErrorDetails

    from mosnpy.config.loader import Document

__all__ = ["Draft", "ListenerDraft", "UpstreamDraft", "validate"]

Path = tuple[str | int, ...]
_Part = TypeVar("_Part", bound=BaseModel)


@dataclass
class ListenerDraft:
    """What could be read of a listener. protocol: "" when unknown; routes: None where one is broken."""

    protocol: str
    listener: Listener | None
    routes: list[Route | None]

    def route_path(self, name: str, index: int) -> Path:
        """Where the route stands in the document; `to:` of a listener is its only route."""
        if self.listener is not None and self.listener.to is not None:
            return ("listeners", name)
        return ("listeners", name, "routes", index)


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


def _listener(document: Document, name: str, raw: Any) -> ListenerDraft:
    path: Path = ("listeners", name)
    protocol, model = _protocol(document, raw, path, "listener")
    if not isinstance(raw, dict):
        _part(document, model, raw, path)
        return ListenerDraft(protocol, None, [])
    assert issubclass(model, Listener)
    raw = dict(raw) if model is not Listener else _common_keys(raw, "listener")
    routes: list[Route | None] = []
    raw_routes = raw.get("routes")
    if isinstance(raw_routes, list) and raw_routes:
        route_model = model.route_model if model is not Listener else RequestRoute
        siblings = [p.listener.route_model for p in PROTOCOLS.values()]
        for i, each in enumerate(raw_routes):
            routes.append(_part(document, route_model, each, (*path, "routes", i), siblings))
        raw["routes"] = [route_model.model_construct(to="?")]
    listener = _part(document, model, raw, path, [p.listener for p in PROTOCOLS.values()])
    if listener is not None and listener.to is not None:
        routes = list(listener.all_routes())
    elif listener is not None:
        listener.routes = [r for r in routes if r is not None]
    return ListenerDraft(protocol, listener, routes)


def _upstream(document: Document, name: str, raw: Any) -> UpstreamDraft:
    path: Path = ("upstreams", name)
    protocol, model = _protocol(document, raw, path, "upstream")
    if isinstance(raw, dict) and model is Upstream:
        raw = _common_keys(raw, "upstream")
    upstream = _part(document, model, raw, path, [p.upstream for p in PROTOCOLS.values()])
    assert upstream is None or isinstance(upstream, Upstream)
    return UpstreamDraft(protocol, upstream)


def _protocol(document: Document, raw: Any, path: Path, kind: str) -> tuple[str, type[Any]]:
    """The protocol a part says it speaks ("" if unknown) and the model to read it with."""
    common: type[Any] = Listener if kind == "listener" else Upstream
    value = raw.get("protocol") if isinstance(raw, dict) else None
    if isinstance(value, str) and value in PROTOCOLS:
        return value, getattr(PROTOCOLS[value], kind)
    if not isinstance(raw, dict) or "protocol" not in raw:
        return "", common  # pydantic says that it is missing
    if isinstance(value, list):
        document.fault(
            (*path, "protocol"), "a list of protocols to detect from is not possible in this version: name one"
        )
        return "", common
    hint = did_you_mean(value, PROTOCOLS)
    document.fault(
        (*path, "protocol"), f"unknown protocol {shown(value)}{hint or ': known are ' + ', '.join(PROTOCOLS)}"
    )
    return "", next((getattr(p, kind) for n, p in PROTOCOLS.items() if repr(n) in hint), common)


def _common_keys(raw: dict[str, Any], kind: str) -> dict[str, Any]:
    """Without the keys only some protocol knows: the protocol is unknown, so they can't be judged."""
    common = (Listener if kind == "listener" else Upstream).model_fields
    special = {key for p in PROTOCOLS.values() for key in getattr(p, kind).model_fields} - set(common)
    return {key: value for key, value in raw.items() if key not in special}


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
        if loc[-1:] == ("[key]",):
            names.add(loc[:-1])
        else:
            broken.add(loc[0] if loc else "")
        if loc == ("protocol",) and each["type"] != "missing":
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
