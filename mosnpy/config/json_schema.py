"""The JSON Schema of configurations, for editors (`mosnpy schema`).

Put `# yaml-language-server: $schema=./mosnpy.schema.json` on top of a file and the editor completes keys and attributes by
protocol: inside a redis route `match:` offers key, command, db; inside a tcp one client_ip and listener.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from mosnpy.config import installed
from mosnpy.config.attributes import Scope
from mosnpy.config.models import Config
from mosnpy.config.protocols import ALIASES, PROTOCOLS, every_chain, every_listener
from mosnpy.config.routes import RouteGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mosnpy.config.attributes import AttributeInfo, Attributes
    from mosnpy.config.models import Chain, Listener

__all__ = ["schema"]

DIALECT = "http://json-schema.org/draft-07/schema#"  # what yaml-language-server understands best
_DEFS = "#/$defs/"


def schema(attributes: Attributes | None = None) -> dict[str, Any]:
    """The whole schema, as plain data. attributes: names rules may use, by family (those of the installed codecs by default)."""
    known = attributes or installed.attributes()
    listeners, chains = every_listener(), every_chain()
    upstreams = [p.upstream for p in PROTOCOLS.values()]
    models: list[Any] = [Config, *listeners, *chains, *upstreams, *(each.route_model for each in listeners), RouteGroup]
    _, generated = models_json_schema(
        [(each, "validation") for each in dict.fromkeys(models)], ref_template=_DEFS + "{model}"
    )
    defs: dict[str, Any] = generated["$defs"]
    _short_forms(defs, listeners, upstreams)
    for listener, chain in zip(listeners, chains, strict=True):
        _add_routes(defs, listener, chain, known)
    _one_of(defs, "listeners", listeners)
    _one_of(defs, "upstreams", upstreams)
    whole = defs.pop("Config")
    used = _reachable(whole, defs)
    return {
        "$schema": DIALECT,
        "title": "mosnpy configuration",
        **_plain(whole),
        "$defs": {n: _plain(defs[n]) for n in used},
    }


def _one_of(defs: dict[str, Any], field: str, models: Sequence[type[Any]]) -> None:
    """The values of a top-level map are one of these, told apart by `protocol`."""
    entry = defs["Config"]["properties"][field]
    (name,) = entry["patternProperties"]
    entry["patternProperties"] = {name: {"anyOf": [{"$ref": _DEFS + each.__name__} for each in models]}}


def _add_routes(defs: dict[str, Any], listener: type[Listener], chain: type[Chain], attributes: Attributes) -> None:
    """Definitions of the routes and groups of a kind of listener, whose `match` knows its attributes."""
    name = listener.__name__.removesuffix("Listener")
    families = {"Mixed": ("http", "redis"), "Http": ("http",)}.get(name, (name.lower(),))
    properties: dict[str, Any] = {}
    families_of: dict[str, Any] = {}
    for family in families:
        scope = Scope(family, attributes, family == "tcp")
        members = {each for each in scope.names() if each.endswith(".*")}
        properties |= {each: _match_value(scope.find(each)) for each in sorted(set(scope.names()) - members)}
        for each in sorted(members):
            info = scope.find(each[:-1] + "x")
            families_of[f"^{re.escape(each[:-1])}."] = _match_value(replace(info, name=each))
    match = {"type": "object", "properties": properties, "additionalProperties": False}
    if families_of:
        match["patternProperties"] = families_of
    for kind in (listener.route_model, RouteGroup):
        part = dict(defs[kind.__name__])
        kept = {key: value for key, value in part["properties"]["match"].items() if key != "anyOf"}
        part["properties"] = {**part["properties"], "match": {**kept, **match}}
        part["title"] = f"{name}Route" if kind is not RouteGroup else f"{name}Group"
        defs[part["title"]] = part
    rules = {"anyOf": [{"$ref": f"{_DEFS}{name}Route"}, {"$ref": f"{_DEFS}{name}Group"}]}
    group = defs[f"{name}Group"]["properties"]
    group["routes"] = {**group["routes"], "items": rules}
    for model in (listener, chain):
        part = defs[model.__name__]["properties"]
        part["routes"] = {**part["routes"], "items": rules}
    if "sticky" in defs[f"{name}Route"]["properties"]:
        route = defs[f"{name}Route"]["properties"]
        sticky = {key: value for key, value in route["sticky"].items() if key != "anyOf"}
        patterns = [{"pattern": pattern} for pattern in families_of]
        route["sticky"] = {**sticky, "type": "string", "anyOf": [{"enum": sorted(properties)}, *patterns]}
    defs[listener.__name__]["properties"]["chains"]["items"] = {"$ref": _DEFS + chain.__name__}


def _match_value(info: AttributeInfo) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string"}
    if info.values:
        text = {"type": "string", "anyOf": [{"enum": list(info.values)}, {"pattern": "^!|[*?~\\[]"}]}
    one = {
        "int": {"anyOf": [{"type": "integer"}, text]},
        "bool": {"anyOf": [{"type": "boolean"}, {"enum": ["!true", "!false"]}]},
    }.get(info.type, text)
    return {"description": f"{info.doc} ({info.name})", "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _short_forms(defs: dict[str, Any], listeners: Sequence[type[Any]], upstreams: Sequence[type[Any]]) -> None:
    """What pydantic's before-validators take beside the full form, which its schema does not show."""

    def also(model: str, field: str, short: dict[str, Any]) -> None:
        entry = defs[model]["properties"][field]
        full = entry.pop("anyOf", None) or [{"$ref": entry.pop("$ref")}]
        entry["anyOf"] = [*(each for each in full if each.get("type") != "null"), short]

    def or_one(model: str, field: str) -> None:
        entry = defs[model]["properties"][field]
        listed = {key: entry.pop(key) for key in ("type", "items", "minItems") if key in entry}
        entry["anyOf"] = [listed["items"], listed]

    also("Config", "admin", {"type": "string"})
    for model in dict.fromkeys(each.route_model.__name__ for each in listeners):
        if "mirror" in defs[model]["properties"]:
            also(model, "mirror", {"type": "string"})
    or_one("Config", "include")
    policies = {"enum": defs["Balancing"]["properties"]["policy"]["enum"]}
    for each in upstreams:
        also(each.__name__, "lb", policies)
        items = defs[each.__name__]["properties"]["endpoints"]
        items["items"] = {"anyOf": [items["items"], {"type": "string"}]}
    for each in listeners:
        or_one(each.__name__, "bind")
    for each in every_chain():
        or_one(each.__name__, "sni")
        defs[each.__name__]["properties"]["protocol"] |= {
            "anyOf": [
                {"type": "string", "enum": [*ALIASES, *PROTOCOLS]},
                {"type": "array", "items": {"type": "string"}},
            ]
        }


def _reachable(root: dict[str, Any], defs: dict[str, Any]) -> list[str]:
    """Definitions that are referred to, directly or not, sorted."""
    found: set[str] = set()

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            reference = value.get("$ref", "")
            name = reference.removeprefix(_DEFS) if isinstance(reference, str) else ""
            if name in defs and name not in found:
                found.add(name)
                walk(defs[name])
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(root)
    return sorted(found)


def _plain(value: Any, names: bool = False) -> Any:
    """Without generated titles and "or null": a key is left out, not set to null. names: the keys are names of properties."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    out = {
        key: _plain(each, key in ("properties", "$defs"))
        for key, each in value.items()
        if names or not (key == "title" or (key == "default" and each is None))
    }
    choices = out.get("anyOf")
    if not names and isinstance(choices, list):
        left = [each for each in choices if each != {"type": "null"}]
        if len(left) == 1:
            del out["anyOf"]
            out |= {key: each for key, each in left[0].items() if key not in out}
        else:
            out["anyOf"] = left
    return out
