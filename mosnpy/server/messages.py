"""What the processes say to each other.

A message is a frozen dataclass; on the wire it is a MessagePack array [name, fields…]. Both ends are the same build (one
is a fork of the other), so there is no versioning. Field types are those MessagePack knows: int, str, bytes, bool, None,
lists, and dicts with str keys.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import msgpack


@dataclass(frozen=True, slots=True)
class ListenerSpec:
    """Where a listener of the plan listens."""

    id: int
    name: str
    family: str  # ipv4, ipv6, unix
    host: str  # numeric address, or the path of a Unix socket
    port: int
    backlog: int
    mode: int | None = None  # permissions of a Unix socket

    @property
    def address(self) -> str:
        if self.family == "unix":
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if self.family == "ipv6" else f"{self.host}:{self.port}"

    @property
    def place(self) -> tuple[str, str, int]:
        """What must stay the same for the socket to be kept."""
        return self.family, self.host, self.port


@dataclass(frozen=True, slots=True)
class Message:
    names: ClassVar[dict[str, type[Message]]] = {}

    def __init_subclass__(cls) -> None:
        Message.names[cls.__name__] = cls


# ---- a loader to the supervisor, once, then it exits -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Loaded(Message):
    """A configuration without faults, compiled."""

    generation: int
    plan: bytes
    listeners: list[dict[str, Any]]  # of ListenerSpec
    registry: bytes  # of SlotRegistry
    zero: list[list[int]]  # (base, slots) to zero in every row before the plan is used
    workers: int
    drain_timeout_ms: int
    admin: dict[str, Any] | None  # of ListenerSpec; None: no admin API
    checks: list[dict[str, Any]]  # active health checks by upstream (mosnpy.upstream.health.Check.several)
    upstreams: list[dict[str, Any]]  # as in the plan, without what is secret
    effective: str  # the configuration with every default and without what is secret, JSON in one line
    warnings: list[str]
    files: dict[str, list[int]] = field(default_factory=dict)  # what the cores read, as it was (mosnpy.server.files)

    @property
    def specs(self) -> list[ListenerSpec]:
        return [ListenerSpec(**listener) for listener in self.listeners]


@dataclass(frozen=True, slots=True)
class Faulty(Message):
    """A configuration with faults, each a text of one or several lines."""

    faults: list[str]


# ---- supervisor to worker --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sockets(Message):
    """Comes with one descriptor per id: the listening sockets of the listeners with these ids."""

    ids: list[int]


@dataclass(frozen=True, slots=True)
class Plan(Message):
    generation: int
    plan: bytes
    listeners: list[int]  # ids; their sockets came before


@dataclass(frozen=True, slots=True)
class Drain(Message):
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Reopen(Message):
    """Open the log file anew: it was moved. Empty: the log goes to stderr."""

    log_file: str


# ---- worker to supervisor --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied(Message):
    """This plan is in force: streams that start now follow it."""

    generation: int


@dataclass(frozen=True, slots=True)
class Refused(Message):
    """The core can't build this plan; the one before stays in force."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class Released(Message):
    """The worker has let go of this listener's socket."""

    id: int


@dataclass(frozen=True, slots=True)
class Drained(Message):
    """Every connection has ended; the worker exits now."""


# ---- supervisor and controller ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status(Message):
    """Whenever something of it has changed."""

    generation: int
    draining: bool
    workers: list[dict[str, Any]]  # index, pid, state, generation, restarts, since
    reload: dict[str, Any]  # the latest: ok, time, faults
    started: float
    pid: int
    sources: list[str]
    listeners: list[dict[str, Any]]  # name, address as bound


@dataclass(frozen=True, slots=True)
class Reload(Message):
    """Controller: load the configuration anew. Answered by Reloaded with the same ticket."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Reloaded(Message):
    ticket: int
    ok: bool
    generation: int
    faults: list[str]


@dataclass(frozen=True, slots=True)
class Shutdown(Message):
    """Controller: drain and exit, as SIGTERM does."""


def pack(message: Message) -> bytes:
    values = [getattr(message, field.name) for field in fields(message)]
    packed = msgpack.packb([type(message).__name__, *values])
    assert isinstance(packed, bytes)
    return packed


def unpack(frame: bytes) -> Message:
    name, *values = msgpack.unpackb(frame)
    return Message.names[name](*values)
