"""Fixtures of the whole suite: shared Redis servers, shared proxies, and the two fronts every end-to-end test runs against.

Servers and proxies live as long as the session and are cleaned between tests; a proxy whose worker died during a test
fails that test. Tests that break things start their own.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mosnpy.testing.front import Front
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import BINARY, RedisServer
from mosnpy.testing.resp import Wire
from mosnpy.testing.waiting import free_port

DATA = Path(__file__).parent / "data"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "e2e: needs real servers or sockets")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(autouse=True)
def close_wires() -> Iterator[None]:
    """Raw connections a test left open, most often by failing, are closed with it."""
    yield
    Wire.close_opened()


def require_redis() -> None:
    if BINARY is None:
        pytest.skip("redis-server is not installed (Debian: apt install redis-server)")


def require_proxy() -> None:
    try:
        importlib.import_module("mosnpy.core")
    except ImportError as error:
        pytest.skip(f"mosnpy.core can't be imported (make build): {error}")


@pytest.fixture(scope="session")
def built() -> None:
    """Skips what needs the proxy where it is not built."""
    require_proxy()


@pytest.fixture(scope="session")
def short_tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a short path: Unix sockets allow 107 bytes."""
    path = Path("/tmp") / f"mosnpy-{free_port()}"
    path.mkdir()
    yield path
    shutil.rmtree(path, ignore_errors=True)


Servers = Callable[..., RedisServer]


@pytest.fixture(scope="session")
def redis_servers(short_tmp: Path) -> Iterator[Servers]:
    """Starts a server the first time its name is asked for: redis_servers("main"), redis_servers("resp2", "--option", …)."""
    require_redis()
    running: dict[str, RedisServer] = {}

    def server(name: str, *options: str) -> RedisServer:
        if name not in running:
            running[name] = RedisServer(short_tmp / name, options=options)
        return running[name]

    yield server
    for one in running.values():
        one.stop()


@pytest.fixture(scope="session")
def main_server(redis_servers: Servers) -> RedisServer:
    return redis_servers("main")


@pytest.fixture(scope="session")
def shard_servers(redis_servers: Servers) -> list[RedisServer]:
    return [redis_servers(f"shard{number}") for number in range(3)]


@pytest.fixture(scope="session")
def old_server(redis_servers: Servers) -> RedisServer:
    """A Redis that knows no HELLO, so speaks RESP2 alone; everything else of version 7."""
    return redis_servers("old", "--rename-command", "HELLO", "")


def redis_config(
    listen: str, endpoints: list[str], *, listener: dict[str, Any] | None = None, **upstream: Any
) -> dict[str, Any]:
    """The configuration of one Redis listener before one upstream."""
    return {
        "listeners": {"front": {"bind": listen, "protocol": "redis", "routes": [{"to": "main"}], **(listener or {})}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": endpoints, **upstream}},
    }


Proxies = Callable[..., tuple[str, int]]


class SharedProxies:
    """Proxies by name, each with one Redis listener, started when first asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.running: dict[str, tuple[ProxyProcess, tuple[str, int]]] = {}

    def get(self, name: str, servers: list[RedisServer], **options: Any) -> tuple[ProxyProcess, tuple[str, int]]:
        require_proxy()
        if name not in self.running:
            address = ("127.0.0.1", free_port())
            config = redis_config(f"127.0.0.1:{address[1]}", [server.endpoint for server in servers], **options)
            self.running[name] = (ProxyProcess(self.directory / f"proxy-{name}", config).start(), address)
        return self.running[name]

    def stop(self) -> None:
        for proxy, _ in self.running.values():
            proxy.stop()


@pytest.fixture(scope="session")
def shared_proxies(short_tmp: Path, redis_servers: Servers) -> Iterator[SharedProxies]:
    proxies = SharedProxies(short_tmp)
    yield proxies
    proxies.stop()


def lend(front: Front) -> Iterator[Front]:
    """Cleans the servers, lends the front, and looks afterwards whether the proxy's workers outlived the test."""
    for server in front.servers:
        server.clean()
    before = {process.pid for process in front.proxy.workers()} if front.proxy else set()
    yield front
    front.close()
    if front.proxy is not None:
        after = {process.pid for process in front.proxy.workers()}
        assert before <= after, f"a worker died during the test: {front.proxy.log.read_text()[-3000:]}"


@pytest.fixture(params=["direct", "proxy"])
def front(request: pytest.FixtureRequest, main_server: RedisServer, shared_proxies: SharedProxies) -> Iterator[Front]:
    """One Redis: itself, and mosnpy before it."""
    if request.param == "direct":
        yield from lend(Front(main_server.address, [main_server]))
    else:
        proxy, address = shared_proxies.get("single", [main_server])
        yield from lend(Front(address, [main_server], proxy))


@pytest.fixture
def proxied(main_server: RedisServer, shared_proxies: SharedProxies) -> Iterator[Front]:
    """mosnpy before one Redis, for what only a proxy can be asked."""
    proxy, address = shared_proxies.get("single", [main_server])
    yield from lend(Front(address, [main_server], proxy))


@pytest.fixture
def old_proxied(old_server: RedisServer, shared_proxies: SharedProxies) -> Iterator[Front]:
    """mosnpy before a Redis that speaks RESP2 only."""
    proxy, address = shared_proxies.get("old", [old_server])
    yield from lend(Front(address, [old_server], proxy))


SHARDED: dict[str, Any] = {"lb": {"policy": "ring_hash", "hash": "redis.key"}}
MAGLEV: dict[str, Any] = {"lb": {"policy": "maglev", "hash": "redis.key"}}


@pytest.fixture
def shards(shard_servers: list[RedisServer], shared_proxies: SharedProxies) -> Iterator[Front]:
    """mosnpy before three Redis, keys spread by a hash ring."""
    proxy, address = shared_proxies.get("shards", shard_servers, **SHARDED)
    yield from lend(Front(address, shard_servers, proxy))


@pytest.fixture(params=["direct", "ring_hash", "maglev"])
def one_or_shards(
    request: pytest.FixtureRequest,
    main_server: RedisServer,
    shard_servers: list[RedisServer],
    shared_proxies: SharedProxies,
) -> Iterator[Front]:
    """One Redis, or three behind mosnpy that must look like one."""
    if request.param == "direct":
        yield from lend(Front(main_server.address, [main_server]))
        return
    options = SHARDED if request.param == "ring_hash" else MAGLEV
    proxy, address = shared_proxies.get(f"shards-{request.param}", shard_servers, **options)
    yield from lend(Front(address, shard_servers, proxy))


@pytest.fixture
def start_proxy(short_tmp: Path, request: pytest.FixtureRequest) -> Iterator[Callable[..., ProxyProcess]]:
    """A proxy of the test's own, on the given configuration, ended with the test."""
    require_proxy()
    started: list[ProxyProcess] = []

    def start(config: dict[str, Any], **options: Any) -> ProxyProcess:
        proxy = ProxyProcess(short_tmp / f"own-{free_port()}", config)
        started.append(proxy)
        return proxy.start(**options)

    yield start
    Wire.close_opened()  # clients of a test that failed half-way would be waited for
    for proxy in started:
        proxy.stop()
