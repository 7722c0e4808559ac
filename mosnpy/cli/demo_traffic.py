"""The demo's traffic: a few clients that set and get, never faster than they should, and check every reply.

A key's value follows from the key, so a client knows what a GET must bring without asking anybody. A reply that belongs to
another request shows at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

_KEYS = 2000  # different keys per kind
_PIPELINE = 8  # commands in flight per client


def value_of(key: bytes) -> bytes:
    return b"value of " + key


@dataclass(slots=True)
class Tally:
    replies: int = 0
    wrong: int = 0
    errors: int = 0  # error replies and lost connections
    last_error: str = ""


class Traffic:
    """`clients` connections that share `rate` requests per second."""

    def __init__(self, address: tuple[str, int], clients: int, rate: float) -> None:
        self._address = address
        self._clients = clients
        self._pause = _PIPELINE * clients / rate
        self.tally = Tally()
        self._others: list[Callable[[], Coroutine[None, None, None]]] = []

    def beside(self, other: Callable[[], Coroutine[None, None, None]]) -> None:
        """More traffic, that runs as long as this does."""
        self._others.append(other)

    async def run(self) -> None:
        clients = (self._client(random.Random(number)) for number in range(self._clients))
        await asyncio.gather(*clients, *(other() for other in self._others))

    async def _client(self, choice: random.Random) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_connection(*self._address)
            except OSError as error:
                self._lost(error)
                await asyncio.sleep(0.1)
                continue
            try:
                await self._talk(choice, reader, writer)
            except (OSError, asyncio.IncompleteReadError) as error:
                self._lost(error)
            finally:
                writer.close()

    def _lost(self, error: Exception) -> None:
        self.tally.errors += 1
        self.tally.last_error = str(error)

    async def _talk(self, choice: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = time.monotonic() + choice.uniform(0, self._pause)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._pause, time.monotonic() - 1.0)
            commands = [_command(choice) for _ in range(_PIPELINE)]
            writer.write(b"".join(_encode(command) for command in commands))
            for command in commands:
                self._check(command, await _reply(reader))

    def _check(self, command: list[bytes], reply: bytes | None) -> None:
        self.tally.replies += 1
        if reply is not None and reply.startswith(b"-"):
            self.tally.errors += 1
            self.tally.last_error = reply.decode("utf-8", "replace")[1:].strip()
        elif command[0] == b"SET":
            self.tally.wrong += reply != b"+OK"
        elif command[0] == b"GET":
            self.tally.wrong += reply not in (None, value_of(command[1]))
        elif reply is None or not reply.startswith((b":", b"*")):
            self.tally.wrong += 1


def _command(choice: random.Random) -> list[bytes]:
    kind = choice.choices([b"session:%d", b"user:%d", b"page:%d"], [3, 5, 2])[0]
    key = kind % choice.randrange(_KEYS)
    roll = choice.random()
    if roll < 0.70:
        return [b"GET", key]
    if roll < 0.95:
        return [b"SET", key, value_of(key)]
    if roll < 0.98:
        return [b"MGET", *(kind % choice.randrange(_KEYS) for _ in range(5))]  # spread over the shards, one array back
    return [b"INCR", b"counter:%d" % choice.randrange(100)]


def _encode(words: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


async def _reply(reader: asyncio.StreamReader) -> bytes | None:
    """A line with its type, the contents of a bulk, None for nil; of an array only the first line is kept."""
    line = (await reader.readuntil(b"\r\n"))[:-2]
    if line.startswith(b"$"):
        size = int(line[1:])
        return None if size < 0 else (await reader.readexactly(size + 2))[:-2]
    if line.startswith(b"*"):
        for _ in range(int(line[1:])):
            await _reply(reader)
    return line
