"""The demo's HTTP: a small web server (`python -m mosnpy.cli.demo_http PORT`), clients that check every reply, and a tour of
what routes do, over HTTP/1 and HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from mosnpy.cli.demo_traffic import Tally

_ITEMS = 1000
_LONGEST = 64 << 10


def page_of(path: str) -> str:
    return f"this is {path}\n"


# -- the server --------------------------------------------------------------------------------------------------------


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP/1.1 with keep-alive, GET only: each page tells its path, its host and whom it believes to speak to."""
    with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        while True:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = first.split(" ")[1]
            fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = page_of(path)
            if path.startswith("/hello"):
                body = f"path {path}, client {fields.get('x-client', 'unknown')}\n"
            writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())
            await writer.drain()
    writer.close()


async def _run(port: int) -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", port, limit=_LONGEST)
    async with server:
        await server.serve_forever()


# -- clients -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    fields: dict[str, str]
    body: str


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """One reply of a server that says how long its bodies are."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return Answer(int(first.split(" ")[1]), fields, body.decode())


class WebTraffic:
    """`clients` keep-alive connections that share `rate` requests per second and count into `tally`."""

    def __init__(self, address: tuple[str, int], clients: int, rate: float, tally: Tally) -> None:
        self._address = address
        self._clients = clients
        self._pause = clients / rate
        self._tally = tally

    async def run(self) -> None:
        await asyncio.gather(*(self._client(random.Random(number)) for number in range(self._clients)))

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
            except (OSError, ValueError, asyncio.IncompleteReadError) as error:
                self._lost(error)
            finally:
                writer.close()

    def _lost(self, error: Exception) -> None:
        self._tally.errors += 1
        self._tally.last_error = str(error)

    async def _talk(self, choice: random.Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        due = time.monotonic() + choice.uniform(0, self._pause)
        while True:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._pause, time.monotonic() - 1.0)
            path = f"/items/{choice.randrange(_ITEMS)}"
            writer.write(f"GET {path} HTTP/1.1\r\nhost: shop.example.com\r\n\r\n".encode())
            answer = await read_answer(reader)
            self._tally.replies += 1
            if answer.status != 200:
                self._tally.errors += 1
                self._tally.last_error = f"status {answer.status} for {path}"
            else:
                self._tally.wrong += answer.body != page_of(path)


# -- the tour ----------------------------------------------------------------------------------------------------------

_STOPS = (
    ("/hello", "shop.example.com", "as it is"),
    ("/v1/hello", "shop.example.com", "rewritten"),
    ("/old/hello?x=1", "shop.example.com", "a redirect"),
    ("/admin", "shop.example.com", "a reply of its own"),
)


async def tour(port: int) -> list[str]:
    """Requests over HTTP/1 and HTTP/2 on the same port, and what came back, one line each. Raises OSError, ValueError."""
    lines = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for path, host, what in _STOPS:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        lines.append(_line("HTTP/1", path, await read_answer(reader), what))
    writer.close()
    answers = await _over_http2(port, [(path, host) for path, host, _ in _STOPS])
    for (path, _, what), answer in zip(_STOPS, answers, strict=True):
        lines.append(_line("HTTP/2", path, answer, "converted" if answer.status == 200 else what))
    return lines


def _line(version: str, path: str, answer: Answer, what: str) -> str:
    said = answer.fields.get("location") or answer.body.strip()
    return f"  {version} {path:14} {answer.status}  {said:32} {what}"  # within 80 columns


async def _over_http2(port: int, asked: Sequence[tuple[str, str]]) -> list[Answer]:
    """All at once on one connection."""
    from h2 import events
    from h2.config import H2Configuration
    from h2.connection import H2Connection

    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    connection = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    ids = []
    for path, host in asked:
        ids.append(connection.get_next_available_stream_id())
        pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", host), (":path", path)]
        connection.send_headers(ids[-1], pseudo, end_stream=True)
    heads: dict[int, dict[str, str]] = {}
    bodies = dict.fromkeys(ids, b"")
    waiting = set(ids)
    while waiting:
        writer.write(connection.data_to_send())
        data = await reader.read(_LONGEST)
        if not data:
            raise OSError("the connection was closed")
        for event in connection.receive_data(data):
            if isinstance(event, events.ResponseReceived):
                heads[event.stream_id or 0] = {str(name): str(value) for name, value in event.headers or ()}
            elif isinstance(event, events.DataReceived):
                bodies[event.stream_id or 0] += event.data or b""
            elif isinstance(event, (events.StreamEnded, events.StreamReset)):
                waiting.discard(event.stream_id or 0)
    writer.close()
    return [Answer(int(heads[id][":status"]), heads[id], bodies[id].decode()) for id in ids]


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(int(sys.argv[1])))
