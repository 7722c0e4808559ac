"""TLS on a listener: the handshake, the certificate by name, bytes in both directions and how they end."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.tcp_server import TcpServer, echo, flood, greet_then_listen, measure
from mosnpy.testing.tls import V12, V13, ask, client_hello, dial, echoed, read, read_all, refused
from mosnpy.testing.waiting import until

pytestmark = pytest.mark.usefixtures("built")
MIB = 1 << 20
SERVERS = {"echo": echo, "measure": measure, "greet": greet_then_listen, "flood": flood(64 * MIB)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def proxy(authority: Authority) -> Iterator[EmbeddedProxy]:
    """One listener per kind of server, all with the same certificate; `mixed` takes plaintext as well."""
    tls = authority.issue("localhost", "127.0.0.1").config
    servers = {name: TcpServer(serve).start() for name, serve in SERVERS.items()}
    listeners: dict[str, Any] = {
        name: {"bind": "127.0.0.1:0", "protocol": "tcp", "tls": tls, "to": name} for name in servers
    }
    listeners["mixed"] = {**listeners["echo"], "tls": {**tls, "mode": "permissive"}}
    listeners["mixed-greet"] = {**listeners["greet"], "tls": {**tls, "mode": "permissive"}}
    upstreams = {name: {"protocol": "tcp", "endpoints": [server.endpoint]} for name, server in servers.items()}
    with EmbeddedProxy({"listeners": listeners, "upstreams": upstreams}) as proxy:
        yield proxy
        proxy.quiet()
    for server in servers.values():
        server.stop()


def counts(proxy: EmbeddedProxy, listener: str) -> dict[str, int]:
    found: dict[str, int] = proxy.stats()["listeners"][listener]
    return found


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("size", [1, 100, 16384, 16385, 300_000])
def test_bytes_come_back(proxy: EmbeddedProxy, authority: Authority, version: ssl.TLSVersion, size: int) -> None:
    data = os.urandom(size)
    context = authority.client(version=version)
    assert echoed(proxy.address("echo"), context, data) == hashlib.sha256(data).digest()
    with dial(proxy.address("echo"), context) as wire:
        assert wire.version() == {V12: "TLSv1.2", V13: "TLSv1.3"}[version]


@pytest.mark.parametrize("version", [V12, V13])
def test_64_mib_both_ways(proxy: EmbeddedProxy, authority: Authority, version: ssl.TLSVersion) -> None:
    block = os.urandom(MIB)
    assert (
        echoed(proxy.address("echo"), authority.client(version=version), block, 64)
        == hashlib.sha256(block * 64).digest()
    )


def test_byte_by_byte(proxy: EmbeddedProxy, authority: Authority) -> None:
    """Records and handshake messages come in single bytes."""
    context, incoming, outgoing = authority.client(), ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(proxy.address("echo"), 10) as plain:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def drip() -> None:
            for byte in outgoing.read():
                plain.sendall(bytes([byte]))

        def step(call: Any) -> Any:
            while True:
                try:
                    return call()
                except ssl.SSLWantReadError:
                    drip()
                    incoming.write(plain.recv(1))
                finally:
                    drip()

        step(tls.do_handshake)
        tls.write(b"a few bytes")
        assert step(lambda: tls.read(100)) == b"a few bytes"


def test_half_close(proxy: EmbeddedProxy, authority: Authority) -> None:
    """close_notify is the client's end, and the answer still comes."""
    with dial(proxy.address("measure"), authority.client()) as wire:
        wire.sendall(b"x" * 100_000)
        with pytest.raises(
            ssl.SSLError, match=r"APPLICATION_DATA_AFTER_CLOSE_NOTIFY|application data after close notify"
        ):
            wire.unwrap()  # Python's reads on for the server's close_notify, and finds the answer before it


def test_the_servers_end_is_close_notify(proxy: EmbeddedProxy, authority: Authority) -> None:
    with dial(proxy.address("greet"), authority.client()) as wire:
        assert read_all(wire) == b"hello\n"
        wire.sendall(b"still heard")


def test_a_cut_stream_does_not_look_whole(proxy: EmbeddedProxy, authority: Authority) -> None:
    """FIN without close_notify from the client: the server's stream ends, and the proxy lets go of both."""
    with dial(proxy.address("echo"), authority.client()) as wire:
        assert ask(wire) == b"ping"
        wire.shutdown(socket.SHUT_WR)
    until(lambda: counts(proxy, "echo")["connections_active"] == 0, "the connection to be closed")


def test_slow_reader(proxy: EmbeddedProxy, authority: Authority) -> None:
    """The server's 64 MiB wait in the kernel and at the server, not in the proxy."""
    with dial(proxy.address("flood"), authority.client(), timeout=30) as wire:
        wire.sendall(b"!")
        taken: list[int] = []

        def stalled() -> bool:
            taken.append(proxy.stats()["upstreams"]["flood"]["bytes_received"])
            return len(taken) > 20 and taken[-1] == taken[-20] > MIB

        until(stalled, "the flood to stand still", pause=0.01)
        assert taken[-1] < 32 * MIB
        for _ in range(64):
            assert len(read(wire, MIB)) == MIB


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff",
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        b"\x80\x2e\x01\x03\x01",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x01\x00\x04\x01\x00\xff\xff",
        b"\x17\x03\x03\x00\x20" + bytes(32),
    ],
)
def test_garbage(proxy: EmbeddedProxy, authority: Authority, garbage: bytes) -> None:
    before = until(
        lambda: not (now := counts(proxy, "echo"))["connections_active"] and now, "earlier clients to be gone"
    )
    with socket.create_connection(proxy.address("echo"), 10) as plain:
        plain.sendall(garbage)
        plain.shutdown(socket.SHUT_WR)
        try:
            while plain.recv(1000):
                pass
        except ConnectionResetError:
            pass
    after = until(
        lambda: not (now := counts(proxy, "echo"))["connections_active"] and now, "the connection to be closed"
    )
    assert after["tls_handshakes_total"] == before["tls_handshakes_total"]
    with dial(proxy.address("echo"), authority.client()) as wire:
        assert ask(wire) == b"ping"


@pytest.mark.parametrize("version", [V12, V13])
def test_garbage_after_the_handshake(proxy: EmbeddedProxy, authority: Authority, version: ssl.TLSVersion) -> None:
    with dial(proxy.address("echo"), authority.client(version=version)) as wire:
        assert ask(wire) == b"ping"
        with socket.socket(fileno=os.dup(wire.fileno())) as plain:
            plain.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
        with pytest.raises((ssl.SSLError, ConnectionError)):
            wire.recv(1)


def test_a_failed_handshake_is_counted(proxy: EmbeddedProxy, authority: Authority) -> None:
    before = counts(proxy, "echo")["tls_handshakes_failed"]
    stranger = ssl.create_default_context()  # knows nothing of our authority, and says so
    assert refused(proxy.address("echo"), stranger) == "CERTIFICATE_VERIFY_FAILED"
    until(lambda: counts(proxy, "echo")["tls_handshakes_failed"] == before + 1, "the failure to be counted")


def test_a_client_that_stalls_is_sent_away(proxy: EmbeddedProxy) -> None:
    with (
        socket.create_connection(proxy.address("echo"), 20) as silent,
        socket.create_connection(proxy.address("echo"), 20) as halfway,
    ):
        halfway.sendall(client_hello()[:100])
        for wire in (silent, halfway):
            try:
                assert wire.recv(100) == b""
            except ConnectionResetError:
                pass


class TestPermissive:
    def test_both_on_one_port(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        with dial(proxy.address("mixed"), authority.client()) as wire:
            assert ask(wire) == b"ping"
        with socket.create_connection(proxy.address("mixed"), 10) as plain:
            plain.sendall(b"plaintext")
            assert read(plain, 9) == b"plaintext"

    def test_what_only_begins_like_tls(self, proxy: EmbeddedProxy) -> None:
        with socket.create_connection(proxy.address("mixed"), 10) as plain:
            plain.sendall(b"\x16")
            plain.sendall(b"\x16\x16")
            assert read(plain, 3) == b"\x16\x16\x16"

    def test_a_server_that_speaks_first(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        with socket.create_connection(proxy.address("mixed-greet"), 10) as plain:
            assert read_all(plain) == b"hello\n"
        with dial(proxy.address("mixed-greet"), authority.client()) as wire:
            assert read_all(wire) == b"hello\n"


def test_many_at_once(proxy: EmbeddedProxy, authority: Authority) -> None:
    context = authority.client()

    def talk() -> None:
        for _ in range(5):
            with dial(proxy.address("echo"), context) as wire:
                good.append(ask(wire, b"x" * 20_000) == b"x" * 20_000)

    good: list[bool] = []
    threads = [threading.Thread(target=talk) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert good == [True] * 100
