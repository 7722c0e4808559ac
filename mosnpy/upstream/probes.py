"""One health check of one endpoint: connect, perhaps ask, judge the answer.

A probe returns "" when the endpoint is fit for work, else the reason why not, in words for the operator.
"""

from __future__ import annotations

import asyncio

from mosnpy.upstream.dialing import Target, connect

__all__ = ["Target", "probe_redis", "probe_tcp"]

_LONGEST_REPLY = 4096  # bytes; the replies to AUTH and PING are one short line each

# Replies of a server that is up but can't serve: still loading its data, or a replica without its master.
_UNFIT = (b"-LOADING", b"-MASTERDOWN", b"-ERR max number of clients")


async def probe_tcp(target: Target) -> str:
    """Fit: it accepts a connection, and where the upstream has TLS, the handshake succeeds."""
    _, writer = await connect(target, _LONGEST_REPLY)
    writer.close()
    return ""


async def probe_redis(target: Target, username: str = "", password: str = "") -> str:
    """Fit: it answers PING. NOAUTH and the like are answers too: whether clients may log in is not for us to judge."""
    reader, writer = await connect(target, _LONGEST_REPLY)
    try:
        words = [username.encode(), password.encode()] if username else [password.encode()]
        asked = _command(b"AUTH", *words) if password else b""
        writer.write(asked + _command(b"PING"))
        if asked:
            await reader.readuntil(b"\r\n")
        return _judge(await reader.readuntil(b"\r\n"))
    except asyncio.IncompleteReadError as cut:
        said = cut.partial[:100]
        return f"closed the connection{' after ' + repr(said) if said else ' without an answer'}"
    except asyncio.LimitOverrunError:
        return "answered something that is not Redis"
    finally:
        writer.close()


def _judge(line: bytes) -> str:
    if line.startswith(_UNFIT):
        return line[1:].decode("utf-8", "replace").strip()
    if line.startswith((b"+", b"-")):
        return ""
    return f"answered something that is not Redis: {line[:60]!r}"


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
