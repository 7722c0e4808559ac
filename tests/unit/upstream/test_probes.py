"""What counts as an answer to a health check."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mosnpy.upstream.probes import Target, probe_redis, probe_tcp


async def against(
    answer: bytes, probe: Callable[[Target], Awaitable[str]], unix: Path | None = None
) -> tuple[str, bytes]:
    """(the verdict, what the server got): the server sends `answer` when the last word has come, then closes."""
    got = b""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal got
        while not got.endswith(b"PING\r\n"):
            more = await reader.read(1000)
            if not more:
                break
            got += more
        writer.write(answer)
        writer.close()

    if unix is not None:
        server = await asyncio.start_unix_server(serve, unix)
        target = Target("unix", str(unix), 0)
    else:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        target = Target("ipv4", *server.sockets[0].getsockname())
    async with server:
        return await asyncio.wait_for(probe(target), 10), got


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"+PONG\r\n", ""),
        (b"-NOAUTH Authentication required.\r\n", ""),
        (b"-NOPERM this user has no permissions\r\n", ""),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "LOADING Redis is loading the dataset in memory"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "MASTERDOWN Link with MASTER is down"),
        (b"-ERR max number of clients reached\r\n", "ERR max number of clients reached"),
        (b"HTTP/1.1 400 Bad Request\r\n", "answered something that is not Redis: b'HTTP/1.1 400 Bad Request\\r\\n'"),
        (b"", "closed the connection without an answer"),
        (b"+PO", "closed the connection after b'+PO'"),
        (b"x" * 100_000, "answered something that is not Redis"),
    ],
)
def test_redis(answer: bytes, verdict: str) -> None:
    assert asyncio.run(against(answer, probe_redis)) == (verdict, b"*1\r\n$4\r\nPING\r\n")


def test_redis_with_a_password() -> None:
    verdict, got = asyncio.run(against(b"+OK\r\n+PONG\r\n", lambda target: probe_redis(target, "", "secret")))
    assert (verdict, got) == ("", b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*1\r\n$4\r\nPING\r\n")


def test_redis_with_a_user_the_server_does_not_know() -> None:
    answer = b"-WRONGPASS invalid username-password pair\r\n-NOAUTH Authentication required.\r\n"
    verdict, got = asyncio.run(against(answer, lambda target: probe_redis(target, "me", "secret")))
    assert (verdict, got[:20]) == ("", b"*3\r\n$4\r\nAUTH\r\n$2\r\nme")


def test_redis_on_a_unix_socket(tmp_path: Path) -> None:
    assert asyncio.run(against(b"+PONG\r\n", probe_redis, tmp_path / "s"))[0] == ""


def test_tcp() -> None:
    assert asyncio.run(against(b"", probe_tcp))[0] == ""


def test_tcp_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        asyncio.run(probe_tcp(Target("unix", str(tmp_path / "none"), 0)))
