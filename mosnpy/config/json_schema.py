"""The JSON Schema of configurations, for editors (`mosnpy schema`).

Put `# yaml-language-server: $schema=./mosnpy.schema.json` on top of a file and the editor completes keys and attributes by
protocol: inside a redis route `match:` offers key, command, db; inside a tcp one client_ip and listener.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from mosnpy.config import installed
from mosnpy.config.attributes import Scope
from mosnpy.config.models import Config
from mosnpy.config.protocols import PROTOCOLS

if TYPE_CHECKING:
    from mosnpy.config.attributes import AttributeInfo, Attributes
    from mosnpy.config.protocols import Protocol

__all__ = ["schema"]

DIALECT = "http://json-schema.org/draft-07/schema#"  # what yaml-language-server understands best
_DEFS = "#/$defs/"


def schema(attributes: Attributes | None = None) -> dict[str, Any]:
    """The whole schema, as plain data. attributes: names rules may use, by protocol (those of the installed codecs by default)."""
    known = attributes or installed.attributes()
    models: list[Any] = [(Config, "validation")]
    models += [
        (part, "validation") for p in PROTOCOLS.values() for part in (p.listener, p.upstream, p.listener.route_model)
    ]
    _, generated = models_json_schema(list(dict.fromkeys(models)), ref_template=_DEFS + "{model}")
    defs: dict[str, Any] = generated["$defs"]
    for protocol in PROTOCOLS.values():
        _add_routes(defs, protocol, known)
    _one_of(defs, "listeners", [p.listener.__name__ for p in PROTOCOLS.values()])
    _one_of(defs, "upstreams", [p.upstream.__name__ for p in PROTOCOLS.values()])
    _short_forms(defs)
    whole = defs.pop("Config")
    used = _reachable(whole, defs)
    return {
        "$schema": DIALECT,
        "title": "mosnpy configuration",
        **_plain(whole),
        "$defs": {n: _plain(defs[n]) for n in used},
    }


def _one_of(defs: dict[str, Any], field: str, names: list[str]) -> None:
    """The values of a top-level map are one of these, told apart by `protocol`."""
    entry = defs["Config"]["properties"][field]
    entry["additionalProperties"] = {"anyOf": [{"$ref": _DEFS + name} for name in names]}


def _add_routes(defs: dict[str, Any], protocol: Protocol, attributes: Attributes) -> None:
    """A route definition per protocol, whose `match` knows the protocol's attributes."""
    scope = Scope(protocol.name, attributes, protocol.listener.connection_only)
    name = f"{protocol.name.capitalize()}Route"
    route = dict(defs[protocol.listener.route_model.__name__])
    properties = {each: _match_value(scope.find(each)) for each in sorted(scope.names())}
    match = dict(route["properties"]["match"])
    match.pop("anyOf", None)
    match |= {"type": "object", "properties": properties, "additionalProperties": False}
    sticky = {**route["properties"]["sticky"], "type": "string", "enum": sorted(scope.names())}
    sticky.pop("anyOf", None)
    route["properties"] = {**route["properties"], "match": match, "sticky": sticky}
    route["title"] = name
    defs[name] = route
    listener = defs[protocol.listener.__name__]
    listener["properties"]["routes"] = {
        **listener["properties"]["routes"],
        "items": {"$ref": _DEFS + name},
    }


def _match_value(info: AttributeInfo) -> dict[str, Any]:
    text: dict[str, Any] = {"type": "string"}
    if info.values:
        text = {"type": "string", "anyOf": [{"enum": list(info.values)}, {"pattern": "^!|[*?~\\[]"}]}
    one = {
        "int": {"anyOf": [{"type": "integer"}, text]},
        "bool": {"anyOf": [{"type": "boolean"}, {"enum": ["!true", "!false"]}]},
    }.get(info.type, text)
    return {"description": f"{info.doc} ({info.name})", "anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


def _short_forms(defs: dict[str, Any]) -> None:
    """What pydantic's before-validators take beside the full form, which its schema does not show."""

    def also(model: str, field: str, short: dict[str, Any]) -> None:
        entry = defs[model]["properties"][field]
        full = entry.pop("anyOf", None) or [{"$ref": entry.pop("$ref")}]
        entry["anyOf"] = [*(each for each in full if each.get("type") != "null"), short]

    also("Config", "admin", {"type": "string"})
    also("RequestRoute", "mirror", {"type": "string"})
    defs["RedisRoute"]["properties"]["mirror"] = defs["RequestRoute"]["properties"]["mirror"]
    policies = {"enum": defs["Balancing"]["properties"]["policy"]["enum"]}
    include = defs["Config"]["properties"]["include"]
    include["anyOf"] = [{key: include.pop(key) for key in ("type", "items")}, {"type": "string"}]
    for protocol in PROTOCOLS.values():
        upstream, listener = protocol.upstream.__name__, protocol.listener.__name__
        also(upstream, "lb", policies)
        items = defs[upstream]["properties"]["endpoints"]
        items["items"] = {"anyOf": [items["items"], {"type": "string"}]}
        bind = defs[listener]["properties"]["bind"]
        listed = {key: bind.pop(key) for key in ("type", "items", "minItems")}
        bind["anyOf"] = [listed["items"], listed]


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
