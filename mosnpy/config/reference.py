"""docs/reference/configuration.md, written from the models so that it can't say anything else than the code.

    python -m mosnpy.config.reference > docs/reference/configuration.md

A test compares the file with what this prints.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from mosnpy.config import installed
from mosnpy.config.address import Address
from mosnpy.config.attributes import COMMON
from mosnpy.config.fields import listed
from mosnpy.config.http_routes import HttpRoute
from mosnpy.config.models import Admin, CodecSource, Config, Listener, Upstream
from mosnpy.config.protocols import PROTOCOLS, HttpListener, RedisListener, TcpListener
from mosnpy.config.routes import RequestRoute, Route, RouteGroup
from mosnpy.config.units import Duration, Percent, Rate, Size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

__all__ = ["reference"]

_INTRODUCTION = """\
# Configuration

<!-- Written by `python -m mosnpy.config.reference` from mosnpy/config. Don't edit it by hand. -->

A configuration is one or more YAML files. `mosnpy check FILE` shows everything wrong with it in one run, `mosnpy run FILE`
starts it, `mosnpy schema` prints the JSON Schema for editors: put
`# yaml-language-server: $schema=./mosnpy.schema.json` on the first line of a file. Samples are in [config/](../../config/).

```yaml
version: 1
listeners:
  cache:
    bind: 127.0.0.1:6380
    protocol: redis
    to: main
upstreams:
  main: {protocol: redis, endpoints: [127.0.0.1:6379]}
```

## How it is read

- The files are YAML 1.2: `on`, `off`, `yes` and `no` are texts, `0o17` is a number, `22:22` is not. A key that stands twice is
  an error, so is one nobody knows. Merge keys (`<<`) don't exist.
- **Units.** Durations (`250ms`, `1.5s`, `1m30s`; us, ms, s, m, h, d), sizes (`64KiB`, `16MiB`, `1GB`) and rates (`100/s`,
  `20MiB/s`) carry their unit. A bare number there is an error. Percentages are `10` or `10%`.
- **Substitution**, in values, never in keys: `${VAR}`, `${VAR:-default}` (also when VAR is empty), `${file:/run/secrets/x}` (the
  file's text without its last newline). `$${` is a plain `${`. A value without quotes gets its type after that: `workers: ${N}`
  is a number. What stands in a variable is one value and can't add keys. Inside `{…}` and `[…]` write it in quotes.
- **Addresses** are `host:port`, `:port` (every address, IPv4 and IPv6; only to listen on), `"[v6]:port"` and `unix:/path`. YAML
  wants quotes around an address that starts with `[`, and around `:port` inside `[…]` and `{…}`. The host of an endpoint may
  be a name: it is resolved when the configuration is loaded. A name with several addresses stands for several endpoints; one
  that has IPv4 addresses stands for these alone.
- **Several files.** `include: [conf.d/*.yaml]` adds files, relative to the one it stands in, in lexical order. Given a
  folder, mosnpy reads its `*.yaml` and `*.yml`. Listeners, upstreams and codecs are united by name; the same name twice is an
  error that names both places, and so is a file that is included twice. Everything else may stand in one file only.
- **Names** of listeners, upstreams and routes have letters, digits, `_`, `.` and `-`, at most 64.

## Routes: match and when

`match:` maps attributes to values, all of which must hold. Inside a listener the protocol's prefix may be left out: `key` is
`redis.key`.

| value | holds when the attribute |
|---|---|
| `GET`, `3`, `true` | equals it |
| `[a, b]` | is any of them |
| `"user:*"` | fits the glob: `*` any run, `?` one byte, `[a-z]` a set, `\\\\` takes a character's meaning away |
| `"~^user:[0-9]+$"` | has a part that fits the regular expression (PCRE2); use `^` and `$` for the whole |
| `"!x"` | is not `x`, which may be any other form; also holds when the message has no such attribute |
| `">10"`, `">=10"`, `"<10"`, `"<=10"` | is a number so large; sizes may have units: `request_size: ">1MiB"` |
| `[a, "b*", "!abc"]` | fits any of those without `!` (if there are some) and none of those with `!` |
| `"*"` | is there |
| `"/users/{id}/posts"` | for `http.path`: fits segment by segment; a `{name}` is one that is not empty, `{name=**}` or `*` at the end all that follow |

Commands are compared in upper case, hosts in lower case; header names have no case. A comparison with an attribute the message does not have is false, its negation true. Of an
attribute with several values (`redis.keys`) any one may fit, and for `!` none may.

`when:` takes an expression, a subset of CEL: `==` `!=` `<` `<=` `>` `>=`, `&&` `||` `!`, parentheses, `x in ["a", "b"]`,
`"a" in redis.keys`, `x.startsWith("a")`, `x.endsWith("a")`, `x.contains("a")`, `x.matches(r"regex")`, `has(x)`; texts in quotes, whole
numbers, sizes (`1MiB`), `true` and `false`. `header["x-tenant"]` is the same as `header.x-tenant`.

```yaml
routes:
  - when: access == "write" && (redis.key.startsWith("a:") || request_size > 64KiB)
    to: main
  - match: {command: [GET, MGET], key: ["user:*", "!user:admin"]}
    to: replicas
```
"""

_DETECTION = """\
**Several protocols on one port.** `protocol:` may be a list: `[tls, http, redis]`. What a client sends first tells which one it
speaks; they are tried in the order of the list. `tcp` can only be the last: it takes what the others don't, and a client that
says nothing for a moment, for its server may have to speak first. `tls` stands first, needs a `tls:` block, and says that TLS may come
as well as plaintext. `http` stands for `[http2, http1]`; in TLS the client's ALPN decides between them. Each protocol gets the routes whose attributes it has and whose upstream speaks
it; a route that fits none of them is an error. HTTP/1 and HTTP/2 are converted into each other, so their routes may
lead to upstreams of either.

**Chains** choose by the server name a client asks for in its TLS handshake, before anything else is known of it: each has
its own certificate, protocol and routes. A name that no chain has goes to the listener itself."""

_GROUPS = """\
```yaml
routes:
  - match: {host: [shop.example.com, "*.shop.example.com"]}
    name: shop
    routes:
      - {name: api, match: {path: "/api/*"}, to: shop-api}     # its name is shop.api
      - to: shop-web
  - to: others
```
"""

_FILTERS = """\
## Filters

`filters:` is a list of mappings with one key, the filter's name. This version has no built-in filters, so every name is an
error.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRODUCTION, *_attributes(), "## Top level\n", _table(Config), _section("### admin", Admin)]
    parts += [_section("### codecs.NAME", CodecSource)]
    parts += ["## Listeners\n", "Keys of `listeners.NAME` for every protocol.\n", _table(Listener)]
    parts += [f"{_DETECTION}\n", *_nested(Listener, "listeners.NAME", set())]
    parts += _own("### Listeners of http", HttpListener, Listener, "listeners.NAME")
    parts += _own("### Listeners of redis", RedisListener, Listener, "listeners.NAME")
    parts += _own("### Listeners of tcp", TcpListener, Listener, "listeners.NAME")
    parts += [
        "## Routes\n",
        f"{_doc(Route)}\n",
        _table(Route),
        "### Routes of redis and http\n",
        _table(RequestRoute, without=Route),
    ]
    parts += _nested(RequestRoute, "routes[]", set())
    parts += ["### Routes of http\n", _table(HttpRoute, without=RequestRoute)]
    parts += _nested(HttpRoute, "routes[]", {RequestRoute})
    parts += [f"### Groups of routes\n\n{_doc(RouteGroup)}\n", _table(RouteGroup), _GROUPS]
    parts += [_FILTERS, "## Upstreams\n", "Keys of `upstreams.NAME` for every protocol.\n", _table(Upstream)]
    parts += _nested(Upstream, "upstreams.NAME", set())
    for protocol in PROTOCOLS.values():
        parts += _own(f"### Upstreams of {protocol.name}", protocol.upstream, Upstream, "upstreams.NAME")
    return "\n".join(parts).rstrip() + "\n"


def _attributes() -> Iterator[str]:
    yield "### Attributes\n"
    yield "| attribute | type | what it is |\n|---|---|---|"
    rows = [COMMON, *(attributes for name, attributes in installed.attributes().items() if name != "common")]
    types_ = {"str": "text", "int": "number", "bool": "true, false", "strs": "texts"}
    for info in (info for each in rows for info in each.values()):
        values = f": {', '.join(info.values)}" if info.values else ""
        yield f"| `{info.name}` | {types_[info.type]} | {info.doc}{values} |"
    alone = ", ".join(f"`{n}`" for n, info in COMMON.items() if info.connection)
    yield f"\ntcp has no requests, so its routes can only use {alone}.\n"


def _own(title: str, model: type[BaseModel], base: type[BaseModel], prefix: str) -> list[str]:
    """What a protocol's model has beyond the common one, or has otherwise."""
    return [f"{title}\n", f"{_doc(model)}\n", _table(model, without=base), *_nested(model, prefix, {base})]


def _section(title: str, model: type[BaseModel]) -> str:
    return f"{title}\n\n{_doc(model)}\n\n{_table(model)}"


def _nested(model: type[BaseModel], prefix: str, skip: set[type[BaseModel]]) -> Iterator[str]:
    """Sections of the models inside a model."""
    inherited = {name for base in skip for name in base.model_fields}
    for name, field in model.model_fields.items():
        inner = _model_in(field.annotation)
        if inner is None or (name in inherited and _same_field(field, _inherited(name, skip))) or name == "routes":
            continue
        where = f"{prefix}.{name}{'[]' if _is_list(field.annotation) else ''}"
        if issubclass(inner, (Listener, Upstream)):
            continue
        yield _section(f"### {where}", inner)
        yield from _nested(inner, where, set())


def _inherited(name: str, bases: set[type[BaseModel]]) -> FieldInfo | None:
    return next((base.model_fields[name] for base in bases if name in base.model_fields), None)


def _is_list(annotation: Any) -> bool:
    inner = [each for each in get_args(annotation) if each is not type(None)]
    if get_origin(annotation) in (Union, types.UnionType, Annotated) and inner:
        return _is_list(inner[0])
    return get_origin(annotation) is list


def _table(model: type[BaseModel], without: type[BaseModel] | None = None) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    for name, field in model.model_fields.items():
        if without is not None and _same_field(field, without.model_fields.get(name)):
            continue
        text = re.sub(r"\s+", " ", field.description or "").replace("|", "\\|")
        rows.append(f"| `{name}` | {_type(field.annotation, field.metadata)} | {_default(field)} | {text} |")
    return "\n".join(rows) + "\n"


def _same_field(one: FieldInfo, other: FieldInfo | None) -> bool:
    same = other is not None and one.description == other.description and one.default == other.default
    return same and other is not None and _model_in(one.annotation) is _model_in(other.annotation)


def _doc(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value is PydanticUndefined:
        return ""
    if isinstance(value, BaseModel):
        return "see below"
    if value in ([], {}):
        return ""
    return f"`{value}`"


_NAMED: dict[Any, str] = {
    str: "text",
    int: "number",
    bool: "true, false",
    Duration: "duration",
    Size: "size",
    Rate: "rate",
    Percent: "percentage",
    SecretStr: "text",
    Address: "address",
    Any: "value",
}


def _type(annotation: Any, metadata: Any = ()) -> str:
    """A type in words."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _NAMED:
        low, high = _bounds(metadata)
        return _NAMED[annotation] + (f", {low} to {high}" if low is not None and high is not None else "")
    if origin is Annotated:
        return _type(inner[0], [*inner[1:], *metadata])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (Union, types.UnionType):
        return " or ".join(_type(each, metadata) for each in inner if each is not type(None))
    if origin is list:
        one = _type(inner[0])
        single = listed in metadata
        return f"{one} or list of them" if single else f"list of {'filters' if one == 'value' else one}"
    if origin is dict:
        return "name: mapping" if _model_in(inner[1]) else f"name: {_type(inner[1])}"
    return "mapping" if _model_in(annotation) else str(annotation)


def _bounds(metadata: Any) -> tuple[Any, Any]:
    low = next((each.ge for each in metadata if hasattr(each, "ge")), None)
    high = next((each.le for each in metadata if hasattr(each, "le")), None)
    for each in metadata:
        for inner in getattr(each, "metadata", ()):
            low = getattr(inner, "ge", low)
            high = getattr(inner, "le", high)
    return low, high


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in get_args(annotation) if (found := _model_in(each))), None)


if __name__ == "__main__":
    sys.stdout.write(reference())
