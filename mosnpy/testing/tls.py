"""TLS clients for tests: blocking sockets of Python's ssl, and the steps of a handshake by hand."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from mosnpy.testing.loop_thread import shared_loop
from mosnpy.testing.waiting import FACTOR

_T = TypeVar("_T")
V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@contextmanager
def dial(
    address: tuple[str, int] | str,
    context: ssl.SSLContext,
    name: str = "localhost",
    *,
    session: ssl.SSLSession | None = None,
    timeout: float = 10,
) -> Iterator[ssl.SSLSocket]:
    """A connection that has shaken hands. Raises ssl.SSLError when the server does not want to."""
    assert not isinstance(address, str)
    plain = socket.create_connection(address, timeout * FACTOR)
    try:
        wire = context.wrap_socket(plain, server_hostname=name, session=session, suppress_ragged_eofs=False)
    except BaseException:
        plain.close()
        raise
    try:
        yield wire
    finally:
        wire.close()


def ask(wire: ssl.SSLSocket, data: bytes = b"ping") -> bytes:
    """Sends, and reads as much: for echoing servers."""
    wire.sendall(data)
    return read(wire, len(data))


def read(wire: socket.socket, size: int) -> bytes:
    """Exactly so much; less at the end of the stream."""
    parts = bytearray()
    while len(parts) < size and (part := wire.recv(min(size - len(parts), 1 << 20))):
        parts += part
    return bytes(parts)


def read_all(wire: socket.socket) -> bytes:
    """Up to the end of the stream, which with TLS is close_notify; another end raises."""
    return read(wire, 1 << 62)


def echoed(
    address: tuple[str, int] | str,
    context: ssl.SSLContext | None,
    block: bytes,
    times: int = 1,
    name: str = "localhost",
) -> bytes:
    """Sends blocks and reads at the same time; the SHA-256 of what came back. OpenSSL's objects are for one thread: asyncio's turn."""

    async def run() -> bytes:
        assert not isinstance(address, str)
        digest = hashlib.sha256()
        reader, writer = await asyncio.open_connection(
            *address, ssl=context, server_hostname=name if context else None, limit=1 << 20
        )

        async def send() -> None:
            for _ in range(times):
                writer.write(block)
                await writer.drain()

        sending = asyncio.create_task(send())
        left = len(block) * times
        while left and (part := await reader.read(1 << 20)):
            left -= len(part)
            digest.update(part)
        await sending
        writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        assert not left, f"{left} bytes are missing"
        return digest.digest()

    return shared_loop().call(run(), 60)


def refused(address: tuple[str, int] | str, context: ssl.SSLContext, name: str = "localhost") -> str:
    """The reason of the alert that ends the handshake, or the first read: TLS 1.3 clients are done before their server."""
    try:
        with dial(address, context, name) as wire:
            wire.sendall(b"ping")
            wire.recv(1)
    except ssl.SSLError as error:
        return error.reason or str(error)
    except ConnectionError:
        return "reset"
    return ""


class StepClient:
    """A client that shakes hands in steps: `hello` sends its first message, `finish` does the rest."""

    def __init__(self, address: tuple[str, int] | str, context: ssl.SSLContext, name: str = "localhost") -> None:
        assert not isinstance(address, str)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.plain = socket.create_connection(address, 10 * FACTOR)

    def __enter__(self) -> StepClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.plain.close()

    def hello(self) -> None:
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()
        self.plain.sendall(self._outgoing.read())

    def finish(self) -> None:
        self._step(self.tls.do_handshake)

    def ask(self, data: bytes, size: int) -> bytes:
        """Sends, and reads what comes first, at most `size` bytes of it."""
        self.tls.write(data)
        return self.read(size)

    def read(self, size: int) -> bytes:
        return self._step(lambda: self.tls.read(size))

    def taken(self) -> bytes:
        """The records that are to be sent, for the test to send."""
        return self._outgoing.read()

    def _step(self, call: Callable[[], _T]) -> _T:
        while True:
            try:
                return call()
            except ssl.SSLWantReadError:
                self._send()
                if not (data := self.plain.recv(1 << 16)):
                    raise ConnectionError("the connection has ended") from None
                self._incoming.write(data)
            finally:
                self._send()

    def _send(self) -> None:
        if data := self.taken():
            self.plain.sendall(data)


def client_hello(name: str | None = "localhost", context: ssl.SSLContext | None = None) -> bytes:
    """The first bytes of a client, as OpenSSL makes them."""
    context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname=name).do_handshake()
    return outgoing.read()
