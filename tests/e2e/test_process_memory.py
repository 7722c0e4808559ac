"""What processes cost: memory, modules, descriptors."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.waiting import free_port, until

Start = Callable[..., ProxyProcess]

WORKER_LIMIT = 40 * 1024 * 1024  # bytes of RSS at the start


@pytest.fixture
def config(main_server: RedisServer) -> dict[str, Any]:
    return {
        "workers": 2,
        "listeners": {"front": {"bind": f"127.0.0.1:{free_port()}", "protocol": "redis", "to": "main"}},
        "upstreams": {"main": {"protocol": "redis", "endpoints": [main_server.endpoint]}},
    }


@pytest.mark.may_skip
@pytest.mark.skipif("MOSNPY_SANITIZED" in os.environ, reason="sanitizers take memory of their own")
def test_workers_are_small(start_proxy: Start, config: dict[str, Any]) -> None:
    for worker in start_proxy(config).workers():
        memory = worker.memory_full_info()
        assert memory.rss < WORKER_LIMIT, memory
        assert memory.uss < WORKER_LIMIT / 2, memory  # most of the rest is shared with the supervisor


def mapped(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def test_heavy_libraries_stay_in_the_controller(start_proxy: Start, config: dict[str, Any]) -> None:
    """Of what is imported, shared objects are seen from outside; test_supervisor.py looks at the modules of a worker."""
    proxy = start_proxy(config)
    for process in proxy.family():
        maps = mapped(process)
        assert "uvloop" in maps
        for library in ("pydantic_core", "yaml/_yaml"):
            assert library not in maps, process
        assert ("aiohttp" in maps) == ("control" in process.name()), process


def test_reloads_leave_nothing_behind(start_proxy: Start, config: dict[str, Any]) -> None:
    proxy = start_proxy(config)

    def reload() -> None:
        before = proxy.generation()
        proxy.signal(signal.SIGHUP)
        until(lambda: proxy.generation() > before, "the reload")

    reload()
    descriptors = {process.pid: process.num_fds() for process in proxy.family()}
    for _ in range(5):
        extra = {f"extra{n}": {**config["listeners"]["front"], "bind": f"127.0.0.1:{free_port()}"} for n in range(3)}
        proxy.write({**proxy.config, "listeners": {**config["listeners"], **extra}})
        reload()
        proxy.write({**proxy.config, "listeners": config["listeners"]})
        reload()
    after = {process.pid: process.num_fds() for process in proxy.family()}
    assert after.keys() == descriptors.keys()
    for pid, count in after.items():
        assert count <= descriptors[pid] + 1, os.readlink(f"/proc/{pid}/exe")  # + an admin connection that lingers


def test_restarts_leave_nothing_behind(start_proxy: Start, config: dict[str, Any]) -> None:
    proxy = start_proxy(config)
    supervisor = psutil.Process(proxy.pid)
    before = supervisor.num_fds()
    for _ in range(3):
        old = {process.pid for process in proxy.workers()}
        os.kill(min(old), signal.SIGKILL)
        until(lambda old=old: len({each.pid for each in proxy.workers()} - old) == 1, "a new worker")  # type: ignore[misc]
        until(lambda: proxy.admin("/ready")[0] == 200, "it to be ready")
    assert supervisor.num_fds() == before
