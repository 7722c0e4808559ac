"""Signals, exit codes and restarts of the real processes. What happens under load is in test_faults_process.py."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.redis_server import RedisServer
from mosnpy.testing.waiting import FACTOR, free_port, until

Start = Callable[..., ProxyProcess]


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def config(main_server: RedisServer, port: int) -> dict[str, Any]:
    """A tcp listener before one Redis: the processes are the same for every protocol."""
    main_server.clean()
    return {
        "workers": 2,
        "drain_timeout": "10s",
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "tcp", "to": "main"}},
        "upstreams": {"main": {"protocol": "tcp", "endpoints": [main_server.endpoint]}},
    }


def ping(port: int) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10 * FACTOR) as sock:
        sock.sendall(b"PING\r\n")
        return sock.recv(100)


def ended(proxy: ProxyProcess) -> int:
    assert proxy.process is not None
    return proxy.process.wait(20 * FACTOR)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_end(start_proxy: Start, config: dict[str, Any], port: int, number: signal.Signals) -> None:
    proxy = start_proxy(config)
    assert ping(port) == b"+PONG\r\n"
    family = proxy.family()
    assert len(family) == 4  # supervisor, controller, two workers
    proxy.signal(number)
    assert ended(proxy) == 0
    assert all(gone(process) for process in family)


def test_a_second_signal_is_the_end_at_once(start_proxy: Start, config: dict[str, Any], port: int) -> None:
    proxy = start_proxy(config)
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
        sock.sendall(b"BLPOP nothing 0\r\n")  # keeps the connection busy
        family = proxy.family()
        proxy.signal(signal.SIGTERM)
        until(lambda: "draining" in proxy.log.read_text(), "the drain")
        proxy.signal(signal.SIGTERM)
        assert ended(proxy) == 2
    assert all(gone(process) for process in family)


def test_ready_says_no_while_draining(start_proxy: Start, config: dict[str, Any], port: int) -> None:
    proxy = start_proxy(config)
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
        sock.sendall(b"PI")
        proxy.signal(signal.SIGTERM)
        status, body = until(lambda: answer if (answer := proxy.admin("/ready"))[0] != 200 else None, "not ready")
        assert (status, '"draining"' in body) == (503, True)


def test_a_terminals_interrupt_reaches_everybody_once(start_proxy: Start, config: dict[str, Any]) -> None:
    """Ctrl-C goes to the whole process group: children leave it to the supervisor, which must count it once."""
    proxy = start_proxy(config, wrap=("setsid",))
    assert proxy.process is not None
    leader = next(
        process for process in [psutil.Process(proxy.pid), *proxy.family()] if os.getpgid(process.pid) == process.pid
    )
    os.killpg(leader.pid, signal.SIGINT)
    assert ended(proxy) == 0
    assert "second signal" not in proxy.log.read_text()


def test_restarted_workers_serve_again(start_proxy: Start, config: dict[str, Any], port: int) -> None:
    proxy = start_proxy(config)
    old = {process.pid for process in proxy.workers()}
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    assert ping(port) == b"+PONG\r\n"  # waited in the queue of a socket that was there all the time
    until(lambda: len({process.pid for process in proxy.workers()} - old) == 2, "two new workers")
    assert "was killed by SIGKILL; starts again" in proxy.log.read_text()


def test_a_stopped_worker_is_ended_after_the_drain_timeout(start_proxy: Start, config: dict[str, Any]) -> None:
    config["drain_timeout"] = "100ms"
    proxy = start_proxy(config)
    proxy.workers()[0].suspend()
    proxy.signal(signal.SIGTERM)
    assert ended(proxy) == 3
    assert "have not ended in time" in proxy.log.read_text()


def test_nothing_survives_a_killed_supervisor(start_proxy: Start, config: dict[str, Any]) -> None:
    proxy = start_proxy(config)
    family = proxy.family()
    proxy.signal(signal.SIGKILL)
    ended(proxy)
    for process in family:
        until(lambda process=process: gone(process), f"{process} to end")  # type: ignore[misc]


@pytest.mark.parametrize("change", ["port", "fault", "file"])
def test_a_failed_start(short_tmp: Path, config: dict[str, Any], port: int, change: str, built: None) -> None:
    proxy = ProxyProcess(short_tmp / f"fail-{port}", config)
    said = "address already in use"
    if change == "fault":
        proxy.write({**proxy.config, "listners": {}})
        said = "unknown key 'listners', did you mean 'listeners'?"
    if change == "file":
        proxy.file.unlink()
        said = "mosnpy.yaml"
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(
            [sys.executable, "-m", "mosnpy", "run", str(proxy.file)],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert said in done.stderr
    assert "not started" in done.stderr


def test_two_proxies_do_not_share_a_port(
    start_proxy: Start, config: dict[str, Any], short_tmp: Path, port: int
) -> None:
    start_proxy(config)
    second = ProxyProcess(short_tmp / f"second-{port}", config)
    done = subprocess.run(
        [sys.executable, "-m", "mosnpy", "run", str(second.file)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, "address already in use" in done.stderr) == (1, True)


def test_logs_are_opened_anew(short_tmp: Path, config: dict[str, Any], port: int, built: None) -> None:
    proxy = ProxyProcess(short_tmp / f"logs-{port}", config)
    log, pid_file = proxy.directory / "proxy.log", proxy.directory / "pid"
    process = subprocess.Popen(
        [sys.executable, "-m", "mosnpy", "run", "--log-file", str(log), "--pid-file", str(pid_file), str(proxy.file)],
        stdin=subprocess.DEVNULL,
    )
    try:
        until(lambda: "ready:" in log.read_text(), "the log")
        assert int(pid_file.read_text()) == process.pid  # the command line became the supervisor
        log.rename(proxy.directory / "proxy.log.1")
        process.send_signal(signal.SIGUSR1)
        until(lambda: "logs reopened" in log.read_text(), "the new log")
        workers = [each for each in psutil.Process(process.pid).children() if "worker" in each.name()]
        for worker in workers:  # they write to the new file too
            until(lambda worker=worker: os.readlink(f"/proc/{worker.pid}/fd/2") == str(log), "the worker's log")  # type: ignore[misc]
    finally:
        process.terminate()
        assert process.wait(20) == 0
    assert not pid_file.exists()


def test_the_descriptor_limit_is_raised(start_proxy: Start, config: dict[str, Any]) -> None:
    proxy = start_proxy(config, wrap=("prlimit", "--nofile=256:8192"))
    for process in proxy.workers():
        assert process.rlimit(psutil.RLIMIT_NOFILE) == (8192, 8192)


def test_listeners_of_all_kinds(start_proxy: Start, config: dict[str, Any], short_tmp: Path, port: int) -> None:
    path, more = short_tmp / f"s-{port}", free_port()
    config["listeners"]["front"]["bind"] = [f"127.0.0.1:{port}", f"unix:{path}", f"127.0.0.1:{more}"]
    proxy = start_proxy(config)
    assert ping(port) == ping(more) == b"+PONG\r\n"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"PING\r\n")
        assert sock.recv(100) == b"+PONG\r\n"
    assert proxy.stop() == 0
    assert not path.exists()


def test_the_inline_host(short_tmp: Path, config: dict[str, Any], port: int, built: None) -> None:
    proxy = ProxyProcess(short_tmp / f"inline-{port}", config)
    with open(proxy.log, "wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mosnpy", "run", "--host", "inline", "--workers", "1", str(proxy.file)], stderr=log
        )
    try:
        until(lambda: "ready: 1 worker," in proxy.log.read_text(), "one worker")
        assert ping(port) == b"+PONG\r\n"
    finally:
        process.terminate()
        assert process.wait(20) == 0
