"""The names rules may use: attributes by protocol, with their types.

The common ones stand here, each codec tells its own (installed.py). The C core has the last word: it refuses a plan with a
name it doesn't know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mosnpy.config.report import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["COMMON", "AttributeInfo", "Attributes", "Scope", "UnknownAttributeError"]

Type = Literal["str", "int", "bool", "strs"]


@dataclass(frozen=True, slots=True)
class AttributeInfo:
    """One attribute. type: "strs" holds several strings, a comparison holds if any of them does.

    values: every value it can have, where that is a closed set. connection: known before the first request, so that
    protocols without requests can use it. upper: values are upper case, whatever the client wrote. form: what values look
    like, where that tells slips: host, path, method, field (of a family: its members are names of header fields).

    A name that ends with `.*` is a family: any name may stand in the star's place.
    """

    name: str
    type: Type
    doc: str
    values: tuple[str, ...] = ()
    connection: bool = False
    upper: bool = False
    form: str = ""


Attributes: TypeAlias = "Mapping[str, Mapping[str, AttributeInfo]]"
"""Family of protocols (and "common") -> full attribute name -> what it is."""


def _named(infos: Iterable[AttributeInfo]) -> dict[str, AttributeInfo]:
    return {info.name: info for info in infos}


COMMON: Mapping[str, AttributeInfo] = _named(
    [
        AttributeInfo("protocol", "str", "name of the codec", connection=True),
        AttributeInfo("operation", "str", "what is asked: GET, Produce, find, POST, sayHello"),
        AttributeInfo("resource", "str", "what it is asked of: key, topic, db.collection, path, interface"),
        AttributeInfo("access", "str", "what it does to the data", values=("read", "write", "admin", "session")),
        AttributeInfo("idempotent", "bool", "asking twice equals asking once"),
        AttributeInfo("request_size", "int", "bytes of the request"),
        AttributeInfo(
            "client_ip", "str", "address of the client (from the PROXY protocol where enabled)", connection=True
        ),
        AttributeInfo("client_id", "str", "authenticated name of the client: TLS SAN, SASL or ACL user, API key"),
        AttributeInfo("listener", "str", "name of the listener", connection=True),
        AttributeInfo(
            "tls.sni",
            "str",
            "server name the client asked for in its TLS handshake, in lower case",
            connection=True,
            form="host",
        ),
        AttributeInfo(
            "tls.san", "strs", "names in the verified client certificate: DNS, URI, IP, mail", connection=True
        ),
        AttributeInfo("tls.subject", "str", "subject of the verified client certificate", connection=True),
        AttributeInfo("tls.version", "str", "1.2 or 1.3; absent without TLS", values=("1.2", "1.3"), connection=True),
        AttributeInfo("tls.alpn", "str", "protocol agreed on in the TLS handshake: h2, http/1.1", connection=True),
    ]
)
"""Those of every protocol."""

UPPER_OPERATIONS = frozenset({"redis"})
"""Protocols whose `operation` is upper case."""


class UnknownAttributeError(ValueError):
    """A rule uses a name that messages of this protocol don't have."""


_FIELD_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")


@dataclass(frozen=True, slots=True)
class Scope:
    """The names that hold inside one listener. protocol: its family, which short names leave out. connection_only: the
    protocol has no requests to look into."""

    protocol: str
    attributes: Mapping[str, Mapping[str, AttributeInfo]]
    connection_only: bool = False
    _found: dict[str, AttributeInfo] = field(default_factory=dict, init=False, repr=False, compare=False)
    parsed: dict[tuple[str, str], tuple[bool, tuple[Any, ...]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )
    """What parse_value() made of a text, by attribute: ten thousand hosts with the same ten paths are usual."""

    def find(self, name: str) -> AttributeInfo:
        """The attribute of that full or short name. Raises UnknownAttributeError with a sentence."""
        info = self._found.get(name)
        if info is None:
            info = self._found[name] = self._find(name)
        return info

    def _find(self, name: str) -> AttributeInfo:
        common = self.attributes.get("common", COMMON)
        own = self.attributes.get(self.protocol, {})
        if name == "operation" and self.protocol == "http":
            return replace(common[name], form="method")
        info = own.get(name) or common.get(name) or own.get(f"{self.protocol}.{name}") or self._member(name, own)
        if info is None or info.name.endswith(".*"):
            raise UnknownAttributeError(self._unknown(name))
        if self.connection_only and not info.connection:
            known = ", ".join(n for n, i in common.items() if i.connection)
            raise UnknownAttributeError(
                f"{self.protocol} has no requests to look into: only {known} can be used, not {name!r}"
            )
        return info

    def _member(self, name: str, own: Mapping[str, AttributeInfo]) -> AttributeInfo | None:
        """The member of a family: header.x-tenant of http.header.*."""
        for family, info in own.items():
            if not family.endswith(".*"):
                continue
            stem = family[:-1]
            for start in (stem, stem.removeprefix(f"{self.protocol}.")):
                if name.startswith(start) and (member := name[len(start) :]):
                    return replace(info, name=stem + _member_name(member, info), form="")
        return None

    def names(self) -> list[str]:
        """Every name that may stand in a rule, short ones last; of families the form `header.*`."""
        common = self.attributes.get("common", COMMON)
        own = self.attributes.get(self.protocol, {})
        usable = [n for n, i in [*own.items(), *common.items()] if i.connection or not self.connection_only]
        short = [n.removeprefix(self.protocol + ".") for n in usable if n.startswith(self.protocol + ".")]
        return usable + [n for n in short if n not in usable]

    def upper(self, info: AttributeInfo) -> bool:
        """Whether the values of this attribute are upper case."""
        return info.upper or (info.name == "operation" and self.protocol in UPPER_OPERATIONS)

    def _unknown(self, name: str) -> str:
        prefix = name.split(".")[0]
        if prefix in self.attributes and prefix not in (self.protocol, "common") and "." in name:
            return f"{name!r} is an attribute of {prefix}, this listener speaks {self.protocol}"
        known = ", ".join([*self.attributes.get(self.protocol, {}), *self.attributes.get("common", COMMON)])
        guess = did_you_mean(name, [each.removesuffix(".*") for each in self.names()])
        if f"{name}.*" in self.names():
            guess = f": name the one you mean, such as {name}.x"
        return f"{self.protocol} has no attribute {name!r}{guess or ': there are ' + known}"


def _member_name(name: str, info: AttributeInfo) -> str:
    if info.form != "field":
        return name
    if not _FIELD_NAME.fullmatch(name):
        raise UnknownAttributeError(f"{name!r} can't be the name of a header")
    return name.lower()
