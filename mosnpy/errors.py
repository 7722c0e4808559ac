"""The exceptions of mosnpy, and the reasons for which the proxy itself answers a request.

Everything may import this module, workers included: it imports nothing but the standard library's cheapest parts.

On the data path an expected condition is a value (a `Failure`, a verdict); an exception ends one connection, one stream or
one command of the operator, never a worker.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mosnpy.config.report import Fault

__all__ = ["CodecError", "ConfigError", "ConfigErrors", "Failure", "MosnError", "UpstreamError", "UsageError"]


class Failure(IntEnum):
    """Why the proxy itself answers. Numbers are those of `enum failure` in csrc/core/base.h: they index statistics slots."""

    flag: str
    """Two letters for the access log."""
    text: str
    """The reason as a sentence fragment."""

    def __new__(cls, value: int, flag: str, text: str) -> Failure:
        member = int.__new__(cls, value)
        member._value_ = value
        member.flag = flag
        member.text = text
        return member

    NONE = 0, "--", "no failure"
    NO_ROUTE = 1, "NR", "no route matches"
    NO_ENDPOINT = 2, "UH", "no usable endpoint"
    CONNECT = 3, "UF", "upstream connection failed"
    TIMEOUT = 4, "UT", "upstream request timeout"
    OVERFLOW = 5, "UO", "too many pending requests or connections"
    RATE_LIMITED = 6, "RL", "rate limit exceeded"
    DENIED = 7, "DE", "request denied by policy"
    UPSTREAM_RESET = 8, "UC", "upstream connection closed before replying"
    BAD_REQUEST = 9, "BR", "protocol error in the request"
    BAD_REPLY = 10, "BU", "protocol error in the reply"
    DRAINING = 11, "DR", "the proxy is shutting down"
    CLIENT_GONE = 12, "DC", "the client closed the connection"
    SLOW_CLIENT = 13, "SC", "the client does not read its replies"
    INTERNAL = 14, "IN", "internal error"


class MosnError(Exception):
    """Base of every exception mosnpy raises on purpose."""


class ConfigError(MosnError):
    """A configuration can't be used.

    file: path as the operator gave it, "" where the fault belongs to no file; line, column: 1-based, 0 = not known;
    path: place in the document, such as "listeners.cache.routes.1.to".
    """

    def __init__(self, message: str, *, file: str = "", line: int = 0, column: int = 0, path: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.file = file
        self.line = line
        self.column = column
        self.path = path

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        return f"{place}: {self.message}" if place else self.message


class ConfigErrors(ConfigError):
    """All faults of a configuration at once; file, line and column are those of the first.

    faults: at least one error, in the order of their places; warnings may be among them. str() is the whole report.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        first = next((f for f in faults if f.severity == "error"), faults[0])
        super().__init__(first.message, file=first.file, line=first.line, column=first.column, path=first.path)
        self.faults = tuple(faults)

    def __str__(self) -> str:
        return "\n".join(fault.render() for fault in self.faults)


class CodecError(MosnError):
    """A peer sent bytes its protocol does not allow. The connection can't go on.

    code: short name of the rule broken; offset: bytes into the input, -1 = not known; detail: what was found.
    """

    def __init__(self, code: str, offset: int = -1, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.offset = offset
        self.detail = detail


class UsageError(MosnError):
    """Our caller did what the state of things does not allow: sent after the end, used what is closed."""


class UpstreamError(MosnError):
    """A request could not be served by its upstream; `failure` says why."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(f"{failure.text}: {detail}" if detail else failure.text)
        self.failure = failure
        self.detail = detail
