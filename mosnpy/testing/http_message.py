"""HTTP/1 messages as tests see them: fields in their order and spelling, bodies as bytes, framing taken literally.

The parser here is deliberately strict and simple: a proxy under test that sends anything unusual fails the test. What is
latin-1 on the wire is `str` here, one character per byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from mosnpy.testing.resp import WireError

Fields = list[tuple[str, str]]
BODYLESS = (204, 304)


class HttpError(WireError):
    """The peer sent bytes that are no HTTP/1, or not what its own head announced."""


class CutShort(HttpError):
    """The connection ended within a message. `message` holds what came; `reset`: it ended by RST, not by FIN."""

    def __init__(self, what: str, message: Message | None, rest: bytes, reset: bool) -> None:
        super().__init__(f"{'reset' if reset else 'closed'} within {what}; had {rest[:200]!r}")
        self.message, self.rest, self.reset = message, rest, reset


class FieldAccess:
    """Reading fields by name, whatever their case."""

    fields: Fields

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def __getitem__(self, name: str) -> str:
        values = self.values(name)
        if len(values) != 1:
            raise KeyError(f"{name}: {len(values)} times in {self.fields}")
        return values[0]

    def get(self, name: str, default: str = "") -> str:
        values = self.values(name)
        return ", ".join(values) if values else default

    def __contains__(self, name: object) -> bool:
        return bool(self.values(str(name)))


@dataclass
class Message(FieldAccess):
    """A request or a response. `first` is the start line, `raw` the head as it came."""

    first: str
    fields: Fields
    raw: bytes
    body: bytes = b""
    chunks: list[int] = field(default_factory=list)  # sizes of the chunks a chunked body came in
    trailers: Fields = field(default_factory=list)
    interim: list[Message] = field(default_factory=list)  # 1xx before a response
    complete: bool = False

    # of a request
    @property
    def method(self) -> str:
        return self.first.split(" ")[0]

    @property
    def target(self) -> str:
        return self.first.split(" ")[1]

    # of a response
    @property
    def status(self) -> int:
        return int(self.first.split(" ")[1])

    @property
    def version(self) -> str:
        return self.first.split(" ")[0] if self.first.startswith("HTTP/") else self.first.rsplit(" ", 1)[1]

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def chunked(self) -> bool:
        return self.get("transfer-encoding").lower() == "chunked"

    @property
    def length(self) -> int | None:
        return int(self["content-length"]) if "content-length" in self else None

    @property
    def closes(self) -> bool:
        """Whether its sender says that the connection ends behind it."""
        tokens = {token.strip() for token in self.get("connection").lower().split(",")}
        return "close" in tokens or (self.version == "HTTP/1.0" and "keep-alive" not in tokens)


def parse_fields(lines: Iterable[bytes]) -> Fields:
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.strip() != name or b"\r" in line or b"\n" in line or b"\0" in line:
            raise HttpError(f"no field: {line!r}")
        fields.append((name.decode("latin-1"), value.strip(b" \t").decode("latin-1")))
    return fields


def parse_head(raw: bytes) -> Message:
    """A head with its empty line."""
    first, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
    message = Message(first.decode("latin-1"), parse_fields(lines), raw)
    if message.first.startswith("HTTP/"):
        parts = message.first.split(" ", 2)
        if parts[0] not in ("HTTP/1.1", "HTTP/1.0") or len(parts[1]) != 3 or not parts[1].isdigit():
            raise HttpError(f"no status line: {first!r}")
    elif len(message.first.split(" ")) != 3:
        raise HttpError(f"no request line: {first!r}")
    if "transfer-encoding" in message and "content-length" in message:
        raise HttpError(f"both framings: {raw!r}")
    if len(message.values("content-length")) > 1:
        raise HttpError(f"two lengths: {raw!r}")
    return message


def request_head(method: str, target: str, fields: Fields, version: str = "HTTP/1.1") -> bytes:
    lines = [f"{method} {target} {version}", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def response_head(status: int, fields: Fields, reason: str = "X", version: str = "HTTP/1.1") -> bytes:
    lines = [f"{version} {status} {reason}", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def chunked(*pieces: bytes, trailers: Fields = []) -> bytes:  # noqa: B006 - never changed
    """A whole chunked body: these pieces, the last chunk, these trailers."""
    end = "".join(f"{name}: {value}\r\n" for name, value in trailers).encode("latin-1")
    return b"".join(chunk(piece) for piece in pieces if piece) + b"0\r\n" + end + b"\r\n"


def response(
    status: int = 200, body: bytes = b"", *fields: tuple[str, str], reason: str = "X", version: str = "HTTP/1.1"
) -> bytes:
    """A whole response with Content-Length."""
    return response_head(status, [*fields, ("Content-Length", str(len(body)))], reason, version) + body
