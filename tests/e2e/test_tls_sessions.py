"""Sessions that outlive what they were made of, and what TLS itself says between requests: tickets, key updates."""

from __future__ import annotations

import select
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.tcp_server import TcpServer, echo
from mosnpy.testing.tls import V12, V13, StepClient, ask, dial, read
from mosnpy.testing.waiting import FACTOR, free_port, until

pytestmark = pytest.mark.usefixtures("built")
SHORT = 3  # seconds a certificate is valid that must expire within a test


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def backend() -> Iterator[TcpServer]:
    with TcpServer(echo) as server:
        yield server


def config(upstream: dict[str, Any], tls: dict[str, Any] | None = None) -> dict[str, Any]:
    front: dict[str, Any] = {"bind": "127.0.0.1:0", "protocol": "tcp", "to": "main"}
    if tls is not None:
        front["tls"] = tls
    return {"listeners": {"front": front}, "upstreams": {"main": {"protocol": "tcp", **upstream}}}


def works(proxy: EmbeddedProxy) -> bool:
    with socket.create_connection(proxy.address(), 10 * FACTOR) as wire:  # type: ignore[arg-type]
        try:
            wire.sendall(b"ping")
            return read(wire, 4) == b"ping"
        except ConnectionError:
            return False


def test_certificates_that_were_renewed(authority: Authority, backend: TcpServer) -> None:
    """A session holds the certificate its first handshake showed. Once that has expired there is a whole handshake with the new one,
    not a failure as often as the session is tried."""
    servers = [authority.server(authority.issue("localhost"), version=version) for version in (V12, V13)]
    client = authority.client(version=V12)
    trust = {"tls": {"ca": str(authority.file), "sni": "localhost"}}
    asked = {**authority.issue("localhost").config, "client_certificate": "required", "client_ca": str(authority.file)}
    with (
        TcpServer(echo, tls=servers[0]) as old,
        TcpServer(echo, tls=servers[1]) as new,
        EmbeddedProxy(config({"endpoints": [old.endpoint], **trust})) as to_old,
        EmbeddedProxy(config({"endpoints": [new.endpoint], **trust})) as to_new,
        EmbeddedProxy(config({"endpoints": [backend.endpoint]}, asked)) as front,
    ):
        begun = time.time()  # the clock runs from here on, not while proxies start
        for context in (*servers, client):
            authority.issue("localhost", days=SHORT / 86400).load(context)
        with dial(front.address(), client) as wire:
            session = wire.session
        assert works(to_old)
        assert works(to_new)
        for context in (*servers, client):
            authority.issue("localhost").load(context)
        until(lambda: time.time() > begun + SHORT + 0.2, "the first certificates to expire")
        with dial(front.address(), client, session=session) as wire:
            assert ask(wire) == b"ping"
            assert not wire.session_reused
        for proxy in (to_old, to_new):
            assert works(proxy)
            assert works(proxy)
            stats = proxy.stats()["upstreams"]["main"]
            assert (stats["tls_handshakes_resumed"], stats["tls_handshakes_failed"]) == (1, 0)


class _HalfATicket:
    """A relay to a server of TLS 1.3 whose session ticket fills two records: the second one waits for `release`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", free_port()))
        self.endpoint = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self.held, self.release = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._relay)
        self._thread.start()

    def close(self) -> None:
        self.release.set()
        self._thread.join(10)
        self._listening.close()

    def _relay(self) -> None:
        client, _ = self._listening.accept()
        with client, socket.create_connection(("127.0.0.1", self._port), 10) as server:
            client.settimeout(10)
            server.sendall(client.recv(1 << 16))  # ClientHello
            flight = server.recv(1 << 16)
            while True:  # the server's whole flight, before the client's own
                client.sendall(flight)
                server.settimeout(0.05)
                try:
                    flight = server.recv(1 << 16)
                except TimeoutError:
                    break
            server.settimeout(10)
            server.sendall(client.recv(1 << 16))  # Certificate to Finished
            tickets = server.recv(1 << 16)
            first = 5 + int.from_bytes(tickets[3:5], "big")
            client.sendall(tickets[:first])
            self.held.set()
            self.release.wait(10)
            client.sendall(tickets[first:])
            while True:
                for wire in select.select([client, server], [], [], 10)[0]:
                    if not (data := wire.recv(1 << 16)):
                        return
                    (server if wire is client else client).sendall(data)


def test_half_a_ticket(authority: Authority) -> None:
    """Between two records of a ticket OpenSSL writes nothing. What is to be written waits; the connection does not break."""
    pair, port = authority.issue("localhost"), free_port()
    mine = authority.issue(*[f"name-{i}.of-somebody-with-a-long-certificate.example.com" for i in range(20)])
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", str(pair.certificate), "-key", str(pair.key),
               "-CAfile", str(authority.file), "-Verify", "1", "-tls1_3", "-max_send_frag", "512", "-rev", "-quiet"]  # fmt: skip
    null = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=null, stdout=null, stderr=null) as process:
        relay: _HalfATicket | None = None
        try:
            until(lambda: socket.create_connection(("127.0.0.1", port), 1).close() is None, "s_server to listen")
            relay = _HalfATicket(port)
            tls = {"ca": str(authority.file), "sni": "localhost", **mine.config}
            with EmbeddedProxy(config({"endpoints": [relay.endpoint], "tls": tls})) as proxy:
                with socket.create_connection(proxy.address(), 10 * FACTOR) as wire:  # type: ignore[arg-type]
                    assert relay.held.wait(10)
                    handshakes = lambda: proxy.stats()["upstreams"]["main"]["tls_handshakes_total"]  # noqa: E731
                    until(lambda: handshakes() == 1, "the handshake to be over")
                    wire.sendall(b"hello\n")
                    until(lambda: proxy.stats()["listeners"]["front"]["bytes_received"] == 6, "the bytes to be there")
                    relay.release.set()
                    assert read(wire, 6) == b"olleh\n"
        finally:
            if relay is not None:
                relay.close()
            process.terminate()


def test_endless_key_updates(authority: Authority, backend: TcpServer) -> None:
    """Each costs the proxy more than a request: a client that sends nothing else is sent away."""
    pipe = subprocess.PIPE
    with EmbeddedProxy(config({"endpoints": [backend.endpoint]}, authority.issue("localhost").config)) as proxy:
        host, port = proxy.address()
        command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-CAfile", str(authority.file), "-tls1_3"]
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            sent = 0
            try:
                while process.poll() is None and sent < 200:
                    process.stdin.write(b"K\n")
                    process.stdin.flush()
                    sent += 1
                    while (line := process.stdout.readline()) and b"KEYUPDATE" not in line:
                        pass
                    if not line:
                        break
            except BrokenPipeError:
                pass
            process.terminate()
        assert 20 < sent < 200


def test_errors_of_others_in_the_same_thread(authority: Authority, backend: TcpServer) -> None:
    """OpenSSL keeps errors per thread, and this one is the embedding program's: what it left there is no fault of a connection."""
    ctypes = pytest.importorskip("ctypes")
    crypto = ctypes.CDLL("libcrypto.so.3")
    with EmbeddedProxy(config({"endpoints": [backend.endpoint]}, authority.issue("localhost").config)) as proxy:

        async def leave_an_error() -> None:
            crypto.ERR_new()
            crypto.ERR_set_error(20, 100, None)

        with StepClient(proxy.address(), authority.client()) as client:
            client.finish()
            assert client.ask(b"ping", 4) == b"ping"
            client.tls.write(b"pong")
            record = client.taken()
            proxy.thread.call(leave_an_error())
            received = proxy.stats()["listeners"]["front"]["bytes_received"]
            client.plain.sendall(record[:-5])  # OpenSSL says that it wants more, and the list of errors is asked why
            until(lambda: proxy.stats()["listeners"]["front"]["bytes_received"] > received, "the half to have come")
            client.plain.sendall(record[-5:])
            assert client.read(4) == b"pong"
