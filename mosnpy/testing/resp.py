"""Raw RESP for tests: exact bytes out, exact bytes in, nothing interpreted unless asked.

A client library hides what a proxy could get wrong (the type byte, a null's spelling, the order of pushes), so tests
compare replies as bytes. `Wire` is a blocking client, `AsyncWire` the same for asyncio; `Node` and `parse` are for the
few tests that must look inside a reply (unordered sets, masks).

Spec: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from typing import ClassVar, NamedTuple, TypeAlias

from mosnpy.testing.waiting import FACTOR

Word: TypeAlias = "bytes | str | int | float"
Address: TypeAlias = "tuple[str, int] | str"  # TCP host and port, or the path of a Unix socket

_BULKS = b"$!="  # length, then that many bytes and CRLF
_LINES = b"+-:_#,("  # everything on the line
_GROUPS = {ord("*"): 1, ord("~"): 1, ord(">"): 1, ord("%"): 2, ord("|"): 2}  # count, then count × n values


class WireError(AssertionError):
    """The peer sent bytes that are no RESP, or closed when a reply was due."""


class Closed(WireError):
    """The peer closed the connection; `rest` is what had come of an unfinished reply."""

    def __init__(self, rest: bytes) -> None:
        super().__init__(f"connection closed, unfinished reply: {rest[:200]!r}")
        self.rest = rest


def word(value: Word) -> bytes:
    if isinstance(value, bytes):
        return value
    return str(value).encode()


def encode(*words: Word) -> bytes:
    """One command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for value in words:
        raw = word(value)
        parts.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    return b"".join(parts)


def encode_all(*commands: Sequence[Word]) -> bytes:
    return b"".join(encode(*command) for command in commands)


def reply_end(buffer: bytes | bytearray, start: int = 0) -> int:
    """Offset after the reply that begins at `start`; -1 when more bytes are needed.

    An attribute (`|`) belongs to the value after it and is part of that reply.
    """
    at, due = start, 1
    while due:
        end = buffer.find(b"\r\n", at)
        if end < 0:
            return -1
        kind, line = buffer[at], buffer[at + 1 : end]
        at = end + 2
        due -= 1
        if kind in _LINES:
            continue
        try:
            count = int(line)
        except ValueError:
            raise WireError(f"no RESP: {bytes(buffer[max(0, end - 80) : end + 20])!r}") from None
        if kind in _BULKS:
            if count >= 0:
                at += count + 2
                if at > len(buffer):
                    return -1
        elif kind in _GROUPS:
            due += max(count, 0) * _GROUPS[kind] + (kind == ord("|"))
        else:
            raise WireError(f"no RESP type: {bytes([kind])!r} in {bytes(buffer[start : end + 2])[:200]!r}")
    return at


class Node(NamedTuple):
    """One value of a reply: the type byte, then the line, the bulk, or the members (flat for maps)."""

    kind: str
    value: bytes | None
    members: tuple[Node, ...] = ()

    @property
    def is_error(self) -> bool:
        return self.kind in "-!"


def parse(raw: bytes, start: int = 0) -> Node:
    node, end = _parse(raw, start)
    if end != len(raw):
        raise WireError(f"bytes after the reply: {raw[end : end + 80]!r}")
    return node


def _parse(raw: bytes, at: int) -> tuple[Node, int]:
    end = raw.index(b"\r\n", at)
    kind, line = raw[at], raw[at + 1 : end]
    at = end + 2
    if kind in _BULKS:
        size = int(line)
        if size < 0:
            return Node("$", None), at
        return Node(chr(kind), raw[at : at + size]), at + size + 2
    if kind in _GROUPS:
        count = int(line)
        if count < 0:
            return Node("*", None), at
        members = []
        for _ in range(count * _GROUPS[kind] + (kind == ord("|"))):
            member, at = _parse(raw, at)
            members.append(member)
        return Node(chr(kind), b"", tuple(members)), at
    return Node(chr(kind), line), at


def shape(node: Node) -> object:
    """The types of a reply without its contents: for replies that can't be equal twice (clocks, counters)."""
    if node.kind in "*~>%|":
        return (node.kind, sorted({repr(shape(member)) for member in node.members}))
    return node.kind


def unordered(node: Node) -> object:
    """The reply with the members of its outermost group sorted: for replies whose order Redis leaves open."""
    if node.kind == "%":
        pairs = list(zip(node.members[::2], node.members[1::2], strict=True))
        return (node.kind, sorted(repr(pair) for pair in pairs))
    if node.kind in "*~":
        return (node.kind, sorted(repr(member) for member in node.members))
    return node


def split_replies(data: bytes) -> tuple[list[bytes], bytes]:
    """The whole replies in `data`, and what is left behind them."""
    replies, at = [], 0
    while at < len(data) and (end := reply_end(data, at)) >= 0:
        replies.append(data[at:end])
        at = end
    return replies, data[at:]


def texts(raw: bytes) -> list[str]:
    """The strings of a flat array, set or push, decoded."""
    return [(member.value or b"").decode() for member in parse(raw).members]


class Wire:
    """A blocking RESP client. Every read has a timeout, so that a lost reply fails the test instead of hanging it."""

    opened: ClassVar[list[Wire]] = []  # by the running test, which closes them at its end even when it fails half-way

    def __init__(self, address: Address, timeout: float = 10.0, receive_buffer: int = 0, *, keep: bool = False) -> None:
        """`receive_buffer` bytes of SO_RCVBUF make a slow reader felt early; 0 leaves the kernel's default. `keep`: outlives
        the test."""
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        if not isinstance(address, str) and ":" in address[0]:
            family = socket.AF_INET6
        self.socket = socket.socket(family)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout * FACTOR)
        try:
            self.socket.connect(address)
        except OSError:
            self.socket.close()
            raise
        if family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        if not keep:
            Wire.opened.append(self)

    @classmethod
    def close_opened(cls) -> None:
        while cls.opened:
            cls.opened.pop().close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.socket.close()

    def reset(self) -> None:
        """Closes with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.socket.close()

    def half_close(self) -> None:
        self.socket.shutdown(socket.SHUT_WR)

    def send(self, *words: Word) -> None:
        self.socket.sendall(encode(*words))

    def send_raw(self, data: bytes) -> None:
        self.socket.sendall(data)

    def _more(self) -> bool:
        try:
            chunk = self.socket.recv(1 << 20)
        except ConnectionResetError:
            chunk = b""
        self._buffer += chunk
        return bool(chunk)

    def reply(self) -> bytes:
        """The next reply or push, as its exact bytes."""
        while True:
            end = reply_end(self._buffer) if self._buffer else -1
            if end >= 0:
                raw = bytes(self._buffer[:end])
                del self._buffer[:end]
                return raw
            if not self._more():
                raise Closed(bytes(self._buffer))

    def replies(self, count: int) -> list[bytes]:
        return [self.reply() for _ in range(count)]

    def exactly(self, count: int) -> bytes:
        """Exactly `count` bytes, whatever they are."""
        while len(self._buffer) < count:
            if not self._more():
                raise Closed(bytes(self._buffer))
        raw = bytes(self._buffer[:count])
        del self._buffer[:count]
        return raw

    def rest(self) -> bytes:
        """Everything until the peer closes; fails when it doesn't within the timeout."""
        while self._more():
            pass
        raw = bytes(self._buffer)
        self._buffer.clear()
        return raw

    def rest_or_open(self, seconds: float) -> bytes:
        """Everything until the peer closes or falls silent for that long."""
        self.socket.settimeout(seconds)
        try:
            return self.rest()
        except TimeoutError:
            raw = bytes(self._buffer)
            self._buffer.clear()
            return raw

    def ask(self, *words: Word) -> bytes:
        self.send(*words)
        return self.reply()

    def ask_all(self, *commands: Sequence[Word]) -> list[bytes]:
        """A pipeline: all commands in one write, then as many replies."""
        self.send_raw(encode_all(*commands))
        return self.replies(len(commands))

    def ok(self, *words: Word) -> None:
        raw = self.ask(*words)
        assert raw == b"+OK\r\n", f"{words!r} answered {raw[:300]!r}"

    def hello(self, protocol: int, *options: Word) -> Node:
        node = parse(self.ask("HELLO", protocol, *options))
        assert not node.is_error, node
        return node

    def is_open(self) -> bool:
        """PING is answered (works in RESP2 subscribe mode too)."""
        try:
            return b"PONG" in self.ask("PING").upper()
        except (WireError, OSError):
            return False

    def silent(self, seconds: float = 0.05) -> bool:
        """Nothing arrives for that long. A negative needs a span; keep it short and prefer a fence command."""
        if self._buffer:
            return False
        before = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            chunk = self.socket.recv(1 << 16)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(before)
        self._buffer += chunk
        return False


class AsyncWire:
    """The same on asyncio, for tests that hold many connections or run beside an embedded proxy on its loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, timeout: float) -> None:
        self._reader, self._writer, self._timeout = reader, writer, timeout * FACTOR
        self._buffer = bytearray()

    @classmethod
    async def connect(cls, address: Address, timeout: float = 10.0) -> AsyncWire:
        if isinstance(address, str):
            reader, writer = await asyncio.open_unix_connection(address)
        else:
            reader, writer = await asyncio.open_connection(*address)
        return cls(reader, writer, timeout)

    async def __aenter__(self) -> AsyncWire:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self._writer.close()
        try:
            await self._writer.wait_closed()
        except OSError:
            pass  # closed by the other side first

    async def send(self, *words: Word) -> None:
        await self.send_raw(encode(*words))

    async def send_raw(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self) -> bytes:
        while True:
            end = reply_end(self._buffer) if self._buffer else -1
            if end >= 0:
                raw = bytes(self._buffer[:end])
                del self._buffer[:end]
                return raw
            chunk = await asyncio.wait_for(self._reader.read(1 << 20), self._timeout)
            if not chunk:
                raise Closed(bytes(self._buffer))
            self._buffer += chunk

    async def ask(self, *words: Word) -> bytes:
        await self.send(*words)
        return await self.reply()

    async def ask_all(self, *commands: Sequence[Word]) -> list[bytes]:
        await self.send_raw(encode_all(*commands))
        return [await self.reply() for _ in commands]
