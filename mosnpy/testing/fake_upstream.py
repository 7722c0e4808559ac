"""A scripted upstream: does what a broken server would do, at the moment the test asks for it.

    with FakeUpstream(answer(b"+OK\\r\\n")) as upstream:   # every command gets this reply
        ...
        upstream.script = stall                            # from now on requests are read and never answered

A script is an async function called once per request: `async def script(peer, request) -> None`. The session commands a
proxy may send on its own when it connects (HELLO, AUTH, SELECT, CLIENT, COMMAND, PING …) are answered before the script
sees anything, as a plain RESP2 server would; `session` overrides that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from mosnpy.testing.resp import parse, reply_end
from mosnpy.testing.scripted_server import ScriptedServer, reset

Request = list[bytes]
Script = Callable[["Peer", Request], Awaitable[None]]
Session = Callable[[Request], "bytes | None"]


class Peer:
    """One accepted connection, as the scripts see it."""

    def __init__(self, upstream: FakeUpstream, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.upstream, self.reader, self.writer = upstream, reader, writer
        self.requests: list[Request] = []

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def drip(self, data: bytes, size: int = 1) -> None:
        """The same bytes in pieces of `size`, each its own segment as far as TCP_NODELAY gets."""
        for at in range(0, len(data), size):
            await self.send(data[at : at + size])
            await asyncio.sleep(0)

    def close(self) -> None:
        """FIN after what was written."""
        self.writer.close()

    def reset(self) -> None:
        """RST: what was written may be lost on the way."""
        reset(self.writer)


def resp2_session(request: Request) -> bytes | None:
    """What an old Redis answers to the commands that set a connection up; None = the script's turn."""
    name = request[0].upper()
    if name == b"HELLO":
        return b"-ERR unknown command 'HELLO', with args beginning with: \r\n"
    if name in (b"AUTH", b"SELECT", b"CLIENT", b"READONLY", b"UNWATCH", b"DISCARD"):
        return b"+OK\r\n"
    if name == b"PING":
        return b"+PONG\r\n"
    if name == b"RESET":
        return b"+RESET\r\n"
    if name == b"COMMAND":
        return b"*0\r\n"
    return None


def no_session(_: Request) -> bytes | None:
    """Leaves every command to the script."""
    return None


class FakeUpstream(ScriptedServer):
    """A listening socket with a script behind it. All attributes may be changed while it runs."""

    def __init__(
        self, script: Script, *, session: Session = resp2_session, on_connect: Callable[[Peer], Awaitable[None]] | None = None,
        port: int = 0,
    ) -> None:  # fmt: skip
        super().__init__(port=port, limit=1 << 26)
        self.script, self.session, self.on_connect = script, session, on_connect
        self.peers: list[Peer] = []  # open now
        self.requests: list[Request] = []  # those the script saw, over all connections, in order of arrival

    def close_all(self) -> None:
        """FIN on every open connection: what an idle timeout of the server looks like."""
        self._each(Peer.close)

    def reset_all(self) -> None:
        self._each(Peer.reset)

    def push(self, data: bytes) -> None:
        """Unasked bytes on every open connection."""
        self._each(lambda peer: peer.writer.write(data))

    def _each(self, act: Callable[[Peer], object]) -> None:
        self.on_loop(lambda: [act(peer) for peer in list(self.peers)])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(self, reader, writer)
        self.peers.append(peer)
        try:
            if self.on_connect is not None:
                await self.on_connect(peer)
            buffer = bytearray()
            while chunk := await reader.read(1 << 20):
                buffer += chunk
                await self._requests(peer, buffer)
        finally:
            self.peers.remove(peer)

    async def _requests(self, peer: Peer, buffer: bytearray) -> None:
        at = 0
        while at < len(buffer) and (end := reply_end(buffer, at)) >= 0:
            request = [member.value or b"" for member in parse(bytes(buffer[at:end])).members]
            at = end
            reply = self.session(request)
            if reply is not None:
                await peer.send(reply)
                continue
            peer.requests.append(request)
            self.requests.append(request)
            await self.script(peer, request)
        del buffer[:at]


def answer(reply: bytes) -> Script:
    async def script(peer: Peer, request: Request) -> None:
        await peer.send(reply)

    return script


async def echo_argument(peer: Peer, request: Request) -> None:
    """Answers the last argument as a bulk string: shows which request a reply belongs to."""
    await peer.send(b"$%d\r\n%b\r\n" % (len(request[-1]), request[-1]))


async def stall(peer: Peer, request: Request) -> None:
    """Reads, never answers."""


def garbage(data: bytes) -> Script:
    """Answers with bytes that are no RESP."""
    return answer(data)


def close_after(part: bytes, *, reset: bool = False) -> Script:
    """Sends the beginning of a reply and closes: an upstream that dies mid-reply."""

    async def script(peer: Peer, request: Request) -> None:
        await peer.send(part)
        if reset:
            peer.reset()
        else:
            peer.close()

    return script


def slow(reply: bytes, seconds: float) -> Script:
    """Answers each request `seconds` after it came."""

    async def script(peer: Peer, request: Request) -> None:
        await asyncio.sleep(seconds)
        await peer.send(reply)

    return script


def dripping(reply: bytes, size: int = 1) -> Script:
    async def script(peer: Peer, request: Request) -> None:
        await peer.drip(reply, size)

    return script
