"""mosnpy.Proxy: the proxy inside another program's event loop."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import uvloop

import mosnpy
from mosnpy.errors import ConfigErrors
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.waiting import free_port

pytestmark = pytest.mark.usefixtures("built")


def config(server: RedisServer, **listeners: str) -> dict[str, Any]:
    return {
        "version": 1,
        "listeners": {
            name: {"bind": bind, "protocol": "redis", "to": "main"}
            for name, bind in (listeners or {"cache": "127.0.0.1:0"}).items()
        },
        "upstreams": {"main": {"protocol": "redis", "endpoints": [server.endpoint]}},
    }


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    factory = uvloop.new_event_loop if request.param == "uvloop" else asyncio.new_event_loop

    def run(coroutine: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(coroutine, 30))
        gc.collect()

    return run


def client(address: tuple[str, int] | str) -> redis.asyncio.Redis:
    if isinstance(address, str):
        return redis.asyncio.Redis(unix_socket_path=address)
    return redis.asyncio.Redis(host=address[0], port=address[1])


def test_traffic_statistics_and_a_clean_end(run: Any, main_server: RedisServer) -> None:
    main_server.clean()

    async def play() -> None:
        async with mosnpy.Proxy(config(main_server)) as proxy:
            async with client(proxy.address("cache")) as cache:
                await cache.set("a", "1")
                assert await cache.get("a") == b"1"
                assert proxy.counts()["clients"] == 1
            stats = proxy.stats()
            assert stats["operations"]["redis.SET"]["requests_total"] == 1
            assert stats["upstreams"]["main"]["endpoints"][main_server.endpoint]["requests_total"] >= 2
        assert proxy.leaks == 0
        with pytest.raises(RuntimeError, match="does not run"):
            proxy.stats()

    run(play())


def test_listeners_on_port_0_and_unix(run: Any, main_server: RedisServer, short_tmp: Path) -> None:
    path = short_tmp / f"s-{free_port()}"

    async def play() -> None:
        async with mosnpy.Proxy(
            config(main_server, one="127.0.0.1:0", two="127.0.0.1:0", three=f"unix:{path}")
        ) as proxy:
            assert proxy.address("one") != proxy.address("two")
            assert proxy.address("three") == str(path)
            for name in ("one", "two", "three"):
                async with client(proxy.address(name)) as cache:
                    assert await cache.ping()
            with pytest.raises(KeyError):
                proxy.address("four")
        assert not path.exists()

    run(play())


def test_reload(run: Any, main_server: RedisServer) -> None:
    async def play() -> None:
        async with mosnpy.Proxy(config(main_server)) as proxy:
            before = proxy.address("cache")
            async with client(before) as cache:
                await cache.set("a", "1")
                changed = config(main_server)
                changed["listeners"]["cache"] = {
                    "bind": "127.0.0.1:0", "protocol": "redis",
                    "routes": [{"match": {"redis.key": "a"}, "reply": {"error": "ERR no"}}, {"to": "main"}],
                }  # fmt: skip
                await proxy.reload(changed)
                assert proxy.address("cache") == before
                with pytest.raises(redis.ResponseError, match="no"):
                    await cache.get("a")
                with pytest.raises(ConfigErrors, match="unknown upstream 'mian', did you mean 'main'"):
                    await proxy.reload(
                        {
                            **changed,
                            "listeners": {"cache": {**changed["listeners"]["cache"], "routes": [{"to": "mian"}]}},
                        }
                    )
                assert await cache.get("b") is None
                await proxy.reload()  # the same again
                assert proxy.stats()["workers"][0]["plan_generation"] == 3

    run(play())


def test_listeners_come_and_go(run: Any, main_server: RedisServer) -> None:
    async def play() -> None:
        first, second = free_port(), free_port()
        async with mosnpy.Proxy(config(main_server, one=f"127.0.0.1:{first}")) as proxy:
            await proxy.reload(config(main_server, one=f"127.0.0.1:{first}", two=f"127.0.0.1:{second}"))
            async with client(("127.0.0.1", second)) as cache:
                assert await cache.ping()
            await proxy.reload(config(main_server, two=f"127.0.0.1:{second}"))
            with pytest.raises(OSError):
                await asyncio.open_connection("127.0.0.1", first)

    run(play())


def test_clients_that_are_still_there_at_the_end(run: Any, main_server: RedisServer) -> None:
    async def play() -> None:
        proxy = mosnpy.Proxy(config(main_server))
        await proxy.start()
        address = proxy.address("cache")
        assert isinstance(address, tuple)
        idle = await asyncio.open_connection(*address)
        busy = await asyncio.open_connection(*address)
        busy[1].write(b"BLPOP nothing 0\r\n")
        await busy[1].drain()
        await asyncio.wait_for(proxy.close(0.2), 10)
        assert proxy.leaks == 0
        assert await idle[0].read() == b""
        await busy[0].read()
        for _, writer in (idle, busy):
            writer.close()

    run(play())


@pytest.mark.parametrize("form", ["text", "file", "path"])
def test_other_forms_of_configuration(main_server: RedisServer, tmp_path: Path, form: str) -> None:
    from mosnpy.config import to_yaml

    text = to_yaml(config(main_server))
    file = tmp_path / "a.yaml"
    file.write_text(text)

    async def play() -> None:
        async with mosnpy.Proxy({"text": text, "file": str(file), "path": file}[form]) as proxy:
            async with client(proxy.address("cache")) as cache:
                assert await cache.ping()

    asyncio.run(play())


def test_what_can_not_be_started(main_server: RedisServer) -> None:
    async def play() -> None:
        with pytest.raises(ConfigErrors):
            await mosnpy.Proxy({"version": 1}).start()
        port = free_port()
        async with mosnpy.Proxy(config(main_server, one=f"127.0.0.1:{port}")) as proxy:
            with pytest.raises(OSError, match="address already in use"):
                await mosnpy.Proxy(config(main_server, one=f"127.0.0.1:{port}")).start()
            with pytest.raises(RuntimeError, match="runs already"):
                await proxy.start()

    asyncio.run(play())


def test_two_at_once(run: Any, main_server: RedisServer) -> None:
    """One proxy before another, in one loop."""

    async def play() -> None:
        async with mosnpy.Proxy(config(main_server)) as inner:
            host, port = inner.address("cache")
            outer_config = config(main_server)
            outer_config["upstreams"]["main"]["endpoints"] = [f"{host}:{port}"]
            async with mosnpy.Proxy(outer_config) as outer, client(outer.address("cache")) as cache:
                await cache.set("a", "1")
                assert await cache.get("a") == b"1"

    run(play())
