"""The supervisor's logic, end to end with real processes; core and configuration are stand-ins (fake_proxy.py)."""

from __future__ import annotations

import os
import signal
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from mosnpy.server.children import Backoff
from mosnpy.testing.waiting import free_port, until

if TYPE_CHECKING:
    from conftest import FakeProxy
else:
    FakeProxy = object


def ask(sock: socket.socket, line: bytes) -> bytes:
    sock.sendall(line)
    return sock.makefile("rb").readline()


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 10).close()
    except ConnectionRefusedError:
        return True
    return False


def test_back_off() -> None:
    backoff = Backoff()
    assert [backoff.delay(1.0) for _ in range(5)] == [0.0, 0.1, 0.2, 0.4, 0.8]
    for _ in range(20):
        last = backoff.delay(1.0)
    assert last == 10.0
    assert backoff.delay(3600.0) == 0.0  # it had worked well


def test_serves_and_drains(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    with fake_proxy.connect() as sock:
        assert ask(sock, b"hello\n") == b"hello\n"
        fake_proxy.signal(signal.SIGTERM)
        assert fake_proxy.wait() == 0
    with pytest.raises(ConnectionRefusedError):
        fake_proxy.connect()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_other_signals_that_drain(fake_proxy: FakeProxy, number: signal.Signals) -> None:
    fake_proxy.start().signal(number)
    assert fake_proxy.wait() == 0


def test_a_second_signal_ends_at_once(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    with fake_proxy.connect() as sock:
        assert ask(sock, b"hold\n") == b"hold\n"
        workers = fake_proxy.children("worker")
        fake_proxy.signal(signal.SIGTERM)
        fake_proxy.logged("draining")
        until(lambda: refused(fake_proxy.port), "the port to be closed while it waits for the held connection")
        assert fake_proxy.process is not None
        assert fake_proxy.process.poll() is None
        assert fake_proxy.admin("/ready")[0] == 503
        fake_proxy.signal(signal.SIGTERM)
        assert fake_proxy.wait() == 2
    assert not any(worker.is_running() for worker in workers)


def test_workers_that_do_not_end_are_killed(fake_proxy: FakeProxy) -> None:
    fake_proxy.config["drain_ms"] = 100
    fake_proxy.start()
    with fake_proxy.connect() as sock:
        assert ask(sock, b"hold\n") == b"hold\n"
        fake_proxy.signal(signal.SIGTERM)
        assert fake_proxy.wait() == 3


def test_a_killed_worker_comes_back_and_loses_no_connection_attempt(fake_proxy: FakeProxy) -> None:
    fake_proxy.config["workers"] = 1
    fake_proxy.start()
    with fake_proxy.connect() as sock:
        first = int(ask(sock, b"pid\n"))
    os.kill(first, signal.SIGKILL)
    with fake_proxy.connect() as sock:  # at once: it waits in the socket's queue
        second = int(ask(sock, b"pid\n"))
    assert second != first
    assert "was killed by SIGKILL; starts again" in fake_proxy.logged("starts again")
    until(lambda: fake_proxy.admin("/ready")[0] == 200, "all workers to be back")
    assert fake_proxy.admin("/status")[1]["workers"][0]["restarts"] == 1


def test_counters_survive_a_worker_and_gauges_do_not(fake_proxy: FakeProxy) -> None:
    fake_proxy.config["workers"] = 1
    fake_proxy.start()
    with fake_proxy.connect() as sock:
        pid = int(ask(sock, b"pid\n"))
        assert fake_proxy.admin("/stats")[1]["listeners"]["echo"]["connections_active"] == 1
        os.kill(pid, signal.SIGKILL)
        fake_proxy.logged("starts again")
    until(
        lambda: fake_proxy.admin("/stats")[1]["listeners"]["echo"]["connections_active"] == 0, "the gauge to be zeroed"
    )
    assert fake_proxy.admin("/stats")[1]["listeners"]["echo"]["connections_total"] == 1


def test_a_worker_that_keeps_dying_waits_longer_each_time(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    for count in range(1, 4):
        worker = until(lambda: fake_proxy.children("worker-0"), "worker 0 to be back")[0]
        worker.kill()
        log = fake_proxy.logged("worker 0 (pid", count)
    assert "starts again in 0.1 s" in log
    assert "starts again in 0.2 s" in log


def test_a_worker_that_can_not_be_forked_comes_when_it_can(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    assert fake_proxy.process is not None
    supervisor = psutil.Process(fake_proxy.process.pid)
    limit = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    supervisor.rlimit(psutil.RLIMIT_NOFILE, (3, limit[1]))  # no descriptor for its channel
    fake_proxy.children("worker-0")[0].kill()
    fake_proxy.logged("worker 0 can't be started")
    supervisor.rlimit(psutil.RLIMIT_NOFILE, limit)
    until(lambda: fake_proxy.children("worker-0"), "worker 0 to be back")
    until(lambda: fake_proxy.admin("/ready")[0] == 200, "all to be ready")


def test_the_controller_comes_back_on_the_same_port(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    with fake_proxy.connect() as sock:
        fake_proxy.children("control")[0].kill()
        assert fake_proxy.admin("/ready")[0] == 200
        assert ask(sock, b"still\n") == b"still\n"


def test_children_leave_signals_to_the_supervisor(fake_proxy: FakeProxy) -> None:
    """An init system sends TERM to every process of a service."""
    fake_proxy.start()
    children = [*fake_proxy.children("worker"), *fake_proxy.children("control")]
    for child in children:
        child.terminate()
        child.send_signal(signal.SIGINT)
    with fake_proxy.connect() as sock:
        assert ask(sock, b"x\n") == b"x\n"
    assert fake_proxy.admin("/status")[1]["workers"][0]["restarts"] == 0
    fake_proxy.signal(signal.SIGTERM)
    assert fake_proxy.wait() == 0
    assert not any(child.is_running() for child in children)


def test_children_end_with_a_killed_supervisor(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    children = [*fake_proxy.children("worker"), *fake_proxy.children("control")]
    assert len(children) == 3
    fake_proxy.signal(signal.SIGKILL)
    fake_proxy.wait()
    for child in children:
        until(lambda child=child: not child.is_running() or child.status() == "zombie", f"{child} to end")


def test_reload_keeps_connections_and_changes_listeners(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    other = free_port()
    with fake_proxy.connect() as sock:
        assert ask(sock, b"one\n") == b"one\n"
        fake_proxy.write(listeners={"echo": fake_proxy.port, "second": other})
        fake_proxy.signal(signal.SIGHUP)
        fake_proxy.logged("reload done: generation 2")
        with fake_proxy.connect(other) as more:
            assert ask(more, b"two\n") == b"two\n"
        fake_proxy.write(listeners={"second": other})
        assert fake_proxy.admin("/reload", "POST") == (200, {"ok": True, "generation": 3, "faults": []})
        with pytest.raises(ConnectionRefusedError):
            fake_proxy.connect()
        assert ask(sock, b"three\n") == b"three\n"  # its listener is gone, the connection is not
    assert fake_proxy.admin("/ready")[1]["generation"] == 3


def test_a_renamed_listener_keeps_its_socket(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    fake_proxy.write(listeners={"other": fake_proxy.port})
    assert fake_proxy.admin("/reload", "POST")[0] == 200
    assert "is closed" not in fake_proxy.log.read_text()
    with fake_proxy.connect() as sock:
        assert ask(sock, b"x\n") == b"x\n"


def test_a_bad_reload_changes_nothing(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    fake_proxy.write(fault="proxy.yaml:3:1: error: unknown key 'listner'")
    status, answer = fake_proxy.admin("/reload", "POST")
    assert (status, answer["ok"], answer["generation"]) == (422, False, 1)
    assert answer["faults"] == ["proxy.yaml:3:1: error: unknown key 'listner'"]
    log = fake_proxy.logged("generation 1 stays in force")
    assert "\nproxy.yaml:3:1: error: unknown key 'listner'\n" in log
    assert fake_proxy.admin("/ready")[0] == 200
    last = fake_proxy.admin("/status")[1]["last_reload"]
    assert (last["ok"], last["faults"]) == (False, answer["faults"])
    assert "mosnpy_config_last_reload_success 0" in fake_proxy.admin("/stats/prometheus")[1]
    fake_proxy.write(fault=None)
    assert fake_proxy.admin("/reload", "POST")[1] == {"ok": True, "generation": 2, "faults": []}


def test_a_reload_with_an_address_somebody_has(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    free = free_port()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        fake_proxy.write(listeners={"echo": fake_proxy.port, "free": free, "taken": taken.getsockname()[1]})
        status, answer = fake_proxy.admin("/reload", "POST")
    assert status == 422
    assert "listener 'taken'" in answer["faults"][0]
    with pytest.raises(ConnectionRefusedError):  # all or nothing
        fake_proxy.connect(free)


def test_a_loader_that_dies(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    fake_proxy.write(loader="die")
    status, answer = fake_proxy.admin("/reload", "POST")
    assert (status, answer["faults"]) == (422, ["error: the process that loads the configuration exited with code 9"])
    assert fake_proxy.admin("/ready")[0] == 200


def test_a_plan_the_workers_refuse(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    fake_proxy.write(plan="refuse")
    status, answer = fake_proxy.admin("/reload", "POST")
    assert (status, answer["generation"]) == (422, 1)
    assert "a plan nobody can build" in answer["faults"][0]


def test_many_reloads_at_once(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    for _ in range(20):
        fake_proxy.signal(signal.SIGHUP)
    assert fake_proxy.admin("/reload", "POST")[0] == 200
    assert fake_proxy.admin("/ready")[1]["generation"] >= 2


def test_a_worker_that_dies_during_reloads_gets_the_new_plan(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    killed: set[int] = set()
    for _ in range(5):
        fake_proxy.signal(signal.SIGHUP)
        alive = until(lambda: [each for each in fake_proxy.children("worker") if each.pid not in killed], "a worker")
        alive[0].kill()
        killed.add(alive[0].pid)
    status, answer = fake_proxy.admin("/reload", "POST")
    assert status == 200
    until(
        lambda: fake_proxy.admin("/ready")[1].get("generation") == answer["generation"], "all workers to have the plan"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fault": "x.yaml:1:1: error: broken"}, "x.yaml:1:1: error: broken"),
        ({"loader": "die"}, "exited with code 9"),
        ({"plan": "refuse"}, "a plan nobody can build"),
    ],
)
def test_a_failed_start(fake_proxy: FakeProxy, change: dict[str, str], said: str) -> None:
    fake_proxy.config.update(change)
    fake_proxy.start(wait="not started")
    assert fake_proxy.wait() == 1
    assert said in fake_proxy.log.read_text()


def test_a_start_on_a_port_somebody_has(fake_proxy: FakeProxy) -> None:
    with socket.create_server(("127.0.0.1", fake_proxy.port)):
        fake_proxy.start(wait="not started: listener 'echo'")
        assert fake_proxy.wait() == 1


def test_a_start_on_an_admin_port_somebody_has(fake_proxy: FakeProxy) -> None:
    with socket.create_server(("127.0.0.1", fake_proxy.admin_port)):
        fake_proxy.start(wait="not started: listener 'admin'")
        assert fake_proxy.wait() == 1


def test_term_while_starting(fake_proxy: FakeProxy) -> None:
    fake_proxy.start(wait="")
    fake_proxy.logged("listener echo on")
    fake_proxy.signal(signal.SIGTERM)
    assert fake_proxy.wait() == 0


def test_hot_upgrade_says_what_to_do(fake_proxy: FakeProxy) -> None:
    fake_proxy.start().signal(signal.SIGUSR2)
    fake_proxy.logged("hot upgrade is not there yet")
    assert fake_proxy.admin("/ready")[0] == 200


def test_drain_by_the_admin_api(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    assert fake_proxy.admin("/drain", "POST") == (202, {"ok": True, "draining": True})
    assert fake_proxy.wait() == 0


def test_a_moved_log_file_is_opened_anew(fake_proxy: FakeProxy, tmp_path: Path) -> None:
    file = tmp_path / "mosnpy.log"
    fake_proxy.start(wait="", log_file=str(file))
    until(lambda: "ready:" in file.read_text(), "the log file")
    file.rename(tmp_path / "old.log")
    fake_proxy.signal(signal.SIGUSR1)
    until(lambda: "logs reopened" in file.read_text(), "the new log file")
    fake_proxy.signal(signal.SIGTERM)
    assert fake_proxy.wait() == 0
    assert "ended with code 0" in file.read_text()


def test_the_pid_file(fake_proxy: FakeProxy, tmp_path: Path) -> None:
    file = tmp_path / "pid"
    fake_proxy.start(pid_file=str(file))
    assert fake_proxy.process is not None
    assert int(file.read_text()) == fake_proxy.process.pid
    fake_proxy.signal(signal.SIGTERM)
    fake_proxy.wait()
    assert not file.exists()


def test_unix_listener(fake_proxy: FakeProxy, tmp_path: Path) -> None:
    path = tmp_path / "echo"
    fake_proxy.config["listeners"] = {"echo": str(path)}
    fake_proxy.start()
    assert stat.S_ISSOCK(path.stat().st_mode)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        assert ask(sock, b"x\n") == b"x\n"
    fake_proxy.signal(signal.SIGTERM)
    assert fake_proxy.wait() == 0
    assert not path.exists()


def test_without_admin_there_is_no_controller(fake_proxy: FakeProxy) -> None:
    del fake_proxy.config["admin"]
    fake_proxy.start()
    assert fake_proxy.children("control") == []
    with fake_proxy.connect() as sock:
        assert ask(sock, b"x\n") == b"x\n"


def test_an_inline_core(fake_proxy: FakeProxy) -> None:
    fake_proxy.start(host="inline")
    with fake_proxy.connect() as sock:
        assert ask(sock, b"x\n") == b"x\n"
    fake_proxy.signal(signal.SIGTERM)
    assert fake_proxy.wait() == 0


def test_workers_import_nothing_heavy(fake_proxy: FakeProxy) -> None:
    fake_proxy.start()
    with fake_proxy.connect() as sock:
        modules = set(ask(sock, b"modules\n").decode().split())
    assert "uvloop" in modules
    assert not modules & {"pydantic", "pydantic_core", "yaml", "aiohttp", "click", "rich", "mosnpy.config.models"}
