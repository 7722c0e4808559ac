"""Listening sockets: shared ports, ports somebody has, stale and living Unix sockets."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from mosnpy.server import sockets
from mosnpy.server.messages import ListenerSpec
from mosnpy.testing.waiting import free_port, has_ipv6


def tcp(port: int, family: str = "ipv4", host: str = "127.0.0.1", id: int = 1) -> ListenerSpec:
    return ListenerSpec(id, "cache", family, host, port, 128)


def unix(path: Path, mode: int | None = None) -> ListenerSpec:
    return ListenerSpec(1, "cache", "unix", str(path), 0, 128, mode)


def test_every_worker_has_its_own_socket_on_one_port() -> None:
    listening = sockets.listen(tcp(0), 3)
    addresses = {sock.getsockname() for sock in listening.sockets}
    assert len(addresses) == 1
    assert len(listening.filenos()) == 3
    host, port = addresses.pop()
    assert listening.address == f"{host}:{port}"
    assert port
    with socket.create_connection((host, port), 5):
        pass
    listening.close()


def test_a_second_supervisor_is_refused_the_port() -> None:
    first = sockets.listen(tcp(free_port()), 2)
    with pytest.raises(sockets.BindError, match=r"listener 'cache': 127\.0\.0\.1:\d+: address already in use"):
        sockets.listen(first.spec, 2)
    first.close()
    sockets.listen(first.spec, 2).close()


def test_an_address_we_do_not_have() -> None:
    with pytest.raises(sockets.BindError, match=r"192\.0\.2\.1:8080: cannot assign requested address"):
        sockets.listen(tcp(8080, host="192.0.2.1"), 1)


def test_all_or_none() -> None:
    taken = sockets.listen(tcp(free_port()), 1)
    free = tcp(free_port(), id=2)
    with pytest.raises(sockets.BindError):
        sockets.listen_all([free, taken.spec], 1)
    sockets.listen(free, 1).close()  # it was given back
    taken.close()


def test_refused_connections_are_refused_for_all_holders() -> None:
    listening = sockets.listen(tcp(0), 1)
    address = listening.sockets[0].getsockname()
    copy = listening.sockets[0].dup()
    listening.refuse()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, 5)
    copy.close()
    listening.close()


def test_refused_connections_on_a_unix_socket(tmp_path: Path) -> None:
    listening = sockets.listen(unix(tmp_path / "s"), 2)
    listening.refuse()
    with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
        client.connect(str(tmp_path / "s"))
    listening.close()


@pytest.mark.may_skip
@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")
def test_the_wildcard_takes_both_families() -> None:
    listening = sockets.listen(tcp(0, "ipv6", "::"), 1)
    port = listening.sockets[0].getsockname()[1]
    for host in ("127.0.0.1", "::1"):
        socket.create_connection((host, port), 5).close()
    listening.close()


def test_a_unix_socket_is_shared_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    listening = sockets.listen(unix(path, 0o660), 3)
    assert len(listening.filenos()) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    listening.close()
    assert not path.exists()


def test_without_a_mode_the_umask_decides(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        listening = sockets.listen(unix(tmp_path / "s"), 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o640
    listening.close()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    sockets.listen(unix(path), 1).close()


def test_a_unix_socket_somebody_serves_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    first = sockets.listen(unix(path), 1)
    with pytest.raises(sockets.BindError, match="address already in use"):
        sockets.listen(unix(path), 1)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    first.close()


def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(sockets.BindError, match="file exists"):
        sockets.listen(unix(path), 1)
    assert path.read_text() == "precious"


def test_a_successors_socket_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    old = sockets.listen(unix(path), 1)
    path.unlink()
    new = sockets.listen(unix(path), 1)
    old.close()
    assert path.exists()
    new.close()
