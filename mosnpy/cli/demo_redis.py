"""A small in-memory Redis for `mosnpy demo` where no redis-server is installed: `python -m mosnpy.cli.demo_redis PORT`.

Strings, counters, expiry and what the proxy and the demo's client ask for; RESP2 only. It is no server to keep data in.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable

_OK = b"+OK\r\n"
_NIL = b"$-1\r\n"


def _bulk(value: bytes | None) -> bytes:
    return _NIL if value is None else b"$%d\r\n%b\r\n" % (len(value), value)


def _array(parts: list[bytes]) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(parts)


def _number(value: int) -> bytes:
    return b":%d\r\n" % value


class Store:
    """The data, and one method per command: arguments in, encoded reply out."""

    def __init__(self) -> None:
        self._values: dict[bytes, bytes] = {}
        self._ends: dict[bytes, float] = {}
        self._commands: dict[bytes, tuple[int, Callable[..., bytes]]] = {  # least number of arguments
            b"PING": (0, lambda word=b"": _bulk(word) if word else b"+PONG\r\n"),
            b"ECHO": (1, _bulk),
            b"GET": (1, lambda key: _bulk(self._get(key))),
            b"SET": (2, self._set),
            b"SETEX": (3, lambda key, seconds, value: self._set(key, value, b"EX", seconds)),
            b"MGET": (1, lambda *keys: _array([_bulk(self._get(key)) for key in keys])),
            b"MSET": (2, self._mset),
            b"DEL": (1, self._del),
            b"UNLINK": (1, self._del),
            b"EXISTS": (1, lambda *keys: _number(sum(self._get(key) is not None for key in keys))),
            b"INCR": (1, lambda key: self._add(key, b"1")),
            b"DECR": (1, lambda key: self._add(key, b"-1")),
            b"INCRBY": (2, self._add),
            b"APPEND": (2, self._append),
            b"STRLEN": (1, lambda key: _number(len(self._get(key) or b""))),
            b"EXPIRE": (2, self._expire),
            b"TTL": (1, self._ttl),
            b"DBSIZE": (0, lambda: _number(len(self._values))),
            b"FLUSHALL": (0, self._flush),
            b"FLUSHDB": (0, self._flush),
            b"SELECT": (1, lambda number: _OK if number == b"0" else b"-ERR DB index is out of range\r\n"),
            b"CLIENT": (1, lambda *words: _OK),
            b"COMMAND": (0, lambda *words: b"*0\r\n"),
            b"INFO": (0, lambda *sections: _bulk(b"# Server\r\nredis_version:7.0.0\r\nredis_mode:standalone\r\n")),
        }

    def run(self, words: list[bytes]) -> bytes:
        name, arguments = words[0].upper(), words[1:]
        least, command = self._commands.get(name, (-1, None))
        if command is None:
            return b"-ERR unknown command '%b'\r\n" % words[0][:64]
        if len(arguments) < least:
            return b"-ERR wrong number of arguments for '%b' command\r\n" % words[0].lower()
        try:
            return command(*arguments)
        except TypeError:
            return b"-ERR wrong number of arguments for '%b' command\r\n" % words[0].lower()
        except ValueError:
            return b"-ERR value is not an integer or out of range\r\n"

    def _get(self, key: bytes) -> bytes | None:
        if self._ends.get(key, time.monotonic() + 1) <= time.monotonic():
            self._drop(key)
        return self._values.get(key)

    def _drop(self, key: bytes) -> bool:
        self._ends.pop(key, None)
        return self._values.pop(key, None) is not None

    def _set(self, key: bytes, value: bytes, *options: bytes) -> bytes:
        self._drop(key)
        self._values[key] = value
        for option, number in zip(options[::2], options[1::2], strict=False):
            if option.upper() in (b"EX", b"PX"):
                self._ends[key] = time.monotonic() + int(number) / (1 if option.upper() == b"EX" else 1000)
        return _OK

    def _mset(self, *pairs: bytes) -> bytes:
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            self._set(key, value)
        return _OK

    def _del(self, *keys: bytes) -> bytes:
        return _number(sum(self._drop(key) for key in keys))

    def _add(self, key: bytes, by: bytes) -> bytes:
        value = int(self._get(key) or b"0") + int(by)
        self._values[key] = b"%d" % value
        return _number(value)

    def _append(self, key: bytes, more: bytes) -> bytes:
        self._values[key] = (self._get(key) or b"") + more
        return _number(len(self._values[key]))

    def _expire(self, key: bytes, seconds: bytes) -> bytes:
        if self._get(key) is None:
            return _number(0)
        self._ends[key] = time.monotonic() + int(seconds)
        return _number(1)

    def _ttl(self, key: bytes) -> bytes:
        if self._get(key) is None:
            return _number(-2)
        return _number(round(self._ends[key] - time.monotonic()) if key in self._ends else -1)

    def _flush(self, *mode: bytes) -> bytes:
        self._values.clear()
        self._ends.clear()
        return _OK


async def _serve(store: Store, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while (line := await reader.readline()).endswith(b"\r\n"):
            if not line.startswith(b"*"):
                words = line.split()
            else:
                words = []
                for _ in range(int(line[1:])):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
            if words:
                writer.write(store.run(words))
                await writer.drain()
    except (ValueError, asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def serve(port: int, host: str = "127.0.0.1") -> None:
    store = Store()
    server = await asyncio.start_server(lambda reader, writer: _serve(store, reader, writer), host, port, backlog=512)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(serve(int(sys.argv[1])))
    except KeyboardInterrupt:
        pass
