"""What a codec says of itself: its name, the facts rules may ask of its messages, its limits, how connections are shared.

Plain dataclasses and the standard library only: workers import this too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from mosnpy.codec.limits import Limit

__all__ = ["Attribute", "AttributeType", "Codec", "PoolMode"]

AttributeType = Literal["str", "int", "bool", "strs"]
"""strs: several strings; a rule holds if it holds for any of them."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")


class PoolMode(StrEnum):
    """How requests of several clients share an upstream connection. The same words as enum pool_mode in csrc/codec.h."""

    PING_PONG = "ping_pong"
    """One request at a time: HTTP/1."""
    PIPELINE = "pipeline"
    """Several, replies in order: Redis, Kafka."""
    MULTIPLEX = "multiplex"
    """Several, replies by id: HTTP/2, Dubbo."""
    PINNED = "pinned"
    """The connection belongs to one client: TCP."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A typed fact of a message, by its full name: `redis.key`; a name that ends with `.*` is a family, with any name in
    the star's place.

    values: every value it can have, where that is a closed set. upper: values are in upper case whatever the client wrote.
    form: what values look like, so that slips in rules are found. Of a family, field: its members are names of HTTP fields.
    """

    name: str
    type: AttributeType
    doc: str
    values: tuple[str, ...] = ()
    upper: bool = False
    form: Literal["", "host", "path", "method", "field"] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """The description of a protocol.

    namespaces: first words of the names of its attributes; its own name, unless codecs share their attributes.
    native: the bytes are handled by C under the same name (csrc/codecs/). port: where servers of the protocol usually listen.
    plan_section: the codec's own part of the plan, given the statistics block of each operation that is counted
    (mosnpy/config/compile.py asks for it); operations: the names of those operations.
    """

    name: str
    doc: str
    pool_mode: PoolMode
    native: bool = False
    namespaces: tuple[str, ...] = ()
    port: int | None = None
    attributes: tuple[Attribute, ...] = ()
    limits: tuple[Limit, ...] = ()
    operations: Callable[[], tuple[str, ...]] | None = None
    plan_section: Callable[[Mapping[str, int]], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"codec name {self.name!r}: lower-case letters, digits and _, at most 32, a letter first")
        spaces = self.namespaces or (self.name,)
        for attribute in self.attributes:
            if attribute.name.partition(".")[0] not in spaces or attribute.name.endswith("."):
                raise ValueError(
                    f"codec {self.name}: attribute {attribute.name!r} must be called {spaces[0]}.<something>"
                )
        for kind in ("attributes", "limits"):
            seen = [each.name for each in getattr(self, kind)]
            if len(set(seen)) != len(seen):
                raise ValueError(f"codec {self.name}: {kind} name something twice")

    def limit(self, name: str) -> Limit:
        """The limit of that name. Raises KeyError."""
        for limit in self.limits:
            if limit.name == name:
                return limit
        raise KeyError(name)
