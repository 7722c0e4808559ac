"""The demo's parts: its small Redis, its checking client, its picture."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from mosnpy.cli.demo import Picture, own_command
from mosnpy.cli.demo_http import Answer, WebTraffic, _line, read_answer, serve
from mosnpy.cli.demo_redis import Store, _serve
from mosnpy.cli.demo_stage import _CONFIG
from mosnpy.cli.demo_traffic import Tally, Traffic, _command, _encode, _reply


def ask(store: Store, *words: str) -> bytes:
    return store.run([word.encode() for word in words])


def test_strings_and_counters() -> None:
    store = Store()
    assert ask(store, "get", "a") == b"$-1\r\n"
    assert ask(store, "SET", "a", "1") == b"+OK\r\n"
    assert ask(store, "GET", "a") == b"$1\r\n1\r\n"
    assert ask(store, "INCRBY", "a", "41") == b":42\r\n"
    assert ask(store, "MSET", "b", "2", "c", "3") == b"+OK\r\n"
    assert ask(store, "MGET", "a", "x", "c") == b"*3\r\n$2\r\n42\r\n$-1\r\n$1\r\n3\r\n"
    assert ask(store, "EXISTS", "a", "x", "b") == b":2\r\n"
    assert ask(store, "DEL", "a", "b", "x") == b":2\r\n"
    assert ask(store, "DBSIZE") == b":1\r\n"


def test_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("mosnpy.cli.demo_redis.time.monotonic", lambda: now)
    store = Store()
    ask(store, "SET", "a", "1", "EX", "10")
    assert (ask(store, "TTL", "a"), ask(store, "TTL", "x")) == (b":10\r\n", b":-2\r\n")
    now += 11
    assert ask(store, "GET", "a") == b"$-1\r\n"
    ask(store, "SET", "a", "1")
    assert ask(store, "TTL", "a") == b":-1\r\n"


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["NOPE"], b"-ERR unknown command 'NOPE'\r\n"),
        (["GET"], b"-ERR wrong number of arguments for 'get' command\r\n"),
        (["GET", "a", "b"], b"-ERR wrong number of arguments for 'get' command\r\n"),
        (["INCRBY", "a", "x"], b"-ERR value is not an integer or out of range\r\n"),
    ],
)
def test_mistakes(words: list[str], answer: bytes) -> None:
    assert ask(Store(), *words) == answer


def with_server(play: Any) -> Any:
    """Runs play(port, store) beside a served store."""

    async def run() -> Any:
        store = Store()
        server = await asyncio.start_server(lambda r, w: _serve(store, r, w), "127.0.0.1", 0)
        async with server:
            return await asyncio.wait_for(play(server.sockets[0].getsockname()[1], store), 20)

    return asyncio.run(run())


def test_pipelined_and_inline_commands() -> None:
    async def play(port: int, store: Store) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            b"PING\r\n" + _encode([b"SET", b"a", b"x\r\ny"]) + _encode([b"MGET", b"a", b"b"]) + _encode([b"GET", b"a"])
        )
        assert [await _reply(reader) for _ in range(4)] == [b"+PONG", b"+OK", b"*2", b"x\r\ny"]
        writer.write(b"*1\r\nGARBAGE\r\n")
        assert await reader.read() == b""
        writer.close()

    with_server(play)


async def traffic(port: int, enough: int) -> Tally:
    made = Traffic(("127.0.0.1", port), 3, 20_000)
    running = asyncio.create_task(made.run())
    while made.tally.replies < enough and made.tally.errors < enough:
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return made.tally


def test_traffic_finds_nothing_wrong_with_a_good_server() -> None:
    tally = with_server(lambda port, store: traffic(port, 500))
    assert (tally.wrong, tally.errors) == (0, 0)


def test_traffic_notices_a_reply_to_another_request() -> None:
    async def play(port: int, store: Store) -> Tally:
        store._get = lambda key: b"value of somebody else"  # type: ignore[method-assign]
        return await traffic(port, 500)

    assert with_server(play).wrong > 100


def test_traffic_counts_errors() -> None:
    async def play(port: int, store: Store) -> Tally:
        store._commands.clear()
        return await traffic(port, 50)

    tally = with_server(play)
    assert tally.errors >= 50
    assert tally.last_error.startswith("ERR unknown command")


def test_commands_are_those_the_small_redis_knows() -> None:
    store, choice = Store(), random.Random(1)
    assert not any(store.run(_command(choice)).startswith(b"-") for _ in range(500))


def test_the_tour_fits_a_narrow_terminal() -> None:
    longest = _line(
        "HTTP/1", "/old/hello?x=1", Answer(200, {}, "path /hello, client 127.0.0.1\n"), "a reply of its own"
    )
    assert len(longest) <= 80
    ports = dict.fromkeys(("admin", "cache", "web", "shard1", "shard2", "store", "site"), 12345)
    assert max(map(len, _CONFIG.format(**ports).splitlines())) <= 80


def test_its_own_command_is_found_without_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(binaries / "python"))
    assert own_command() == f"{binaries}/python -m mosnpy"
    (binaries / "mosnpy").touch(mode=0o755)
    assert own_command() == ".venv/bin/mosnpy"
    monkeypatch.setenv("PATH", str(binaries))
    assert own_command() == "mosnpy"


def stats(time: float, requests: int, buckets: list[int]) -> dict[str, Any]:
    counted = {"requests_total": requests}
    latency = {"bounds_us": [100, 1000], "buckets": buckets, "sum_us": 0}
    return {
        "time": time,
        "listeners": {"cache": {**counted, "connections_active": 2, "failures": {"TIMEOUT": 1}}},
        "upstreams": {"main": {**counted, "latency": latency, "endpoints": {"a:1": counted}}},
        "operations": {"redis.GET": counted},
    }


def test_a_picture_shows_what_came_since_the_one_before() -> None:
    clusters = {"upstreams": [{"name": "main", "endpoints": [
        {"name": "a:1", "health": "healthy", "ejected": False, "connections_active": 1},
    ]}]}  # fmt: skip
    picture = Picture(stats(0.0, 0, [0, 0, 0]))
    first = picture.draw(stats(2.0, 100, [100, 0, 0]), clusters, Tally(100), 2.0)
    assert "cache         2     50         1" in first
    assert "main         50  50 us  99 us  a:1       healthy      1     50" in first
    second = picture.draw(stats(3.0, 400, [100, 300, 0]), clusters, Tally(400), 3.0)
    assert "GET        300    400" in second
    assert "550 us" in second


def with_site(play: Any) -> Any:
    """Runs play(address) beside the demo's web server."""

    async def run() -> Any:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await asyncio.wait_for(play(server.sockets[0].getsockname()), 20)

    return asyncio.run(run())


def test_the_web_server_says_what_it_was_asked() -> None:
    async def play(address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"GET /items/7 HTTP/1.1\r\nhost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: b\r\nX-Client: c\r\n\r\n")
        first, second = await read_answer(reader), await read_answer(reader)
        assert (first.status, first.body) == (200, "this is /items/7\n")
        assert second.body == "path /hello, client c\n"
        writer.close()

    with_site(play)


async def web_traffic(address: tuple[str, int], enough: int) -> Tally:
    tally = Tally()
    running = asyncio.create_task(WebTraffic(address, 3, 20_000, tally).run())
    while tally.replies < enough and tally.errors < enough:
        await asyncio.sleep(0.005)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return tally


def test_web_traffic_finds_nothing_wrong_with_a_good_server() -> None:
    tally = with_site(lambda address: web_traffic(address, 300))
    assert (tally.wrong, tally.errors) == (0, 0)


def test_web_traffic_notices_a_reply_to_another_request(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = iter(f"this is page {number}\n" for number in range(10**9))
    monkeypatch.setattr("mosnpy.cli.demo_http.page_of", lambda path: next(pages))
    assert with_site(lambda address: web_traffic(address, 300)).wrong > 100
