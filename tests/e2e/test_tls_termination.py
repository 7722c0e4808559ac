"""TLS on a listener: the handshake, the certificate by name, bytes in both directions and how they end."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.tcp_server import TcpServer, echo, flood, greet_then_listen, measure, remember
from mosnpy.testing.tls import V12, V13, ask, client_hello, dial, echoed, read, read_all, refused
from mosnpy.testing.waiting import free_port, until

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
    listeners["behind"] = {**listeners["echo"], "proxy_protocol": "accept"}
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
        socket.create_connection(proxy.address("behind"), 20) as headless,
    ):
        halfway.sendall(client_hello()[:100])
        headless.sendall(b"PROXY TCP4 ")
        for wire in (silent, halfway, headless):
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

    @pytest.mark.parametrize(
        ("listener", "said", "heard"), [("mixed-greet", b"", b"hello\n"), ("mixed", b"\x16", b"\x16")]
    )
    def test_a_client_half_closed_before_it_was_known(
        self, proxy: EmbeddedProxy, listener: str, said: bytes, heard: bytes
    ) -> None:
        """FIN with too little to tell TLS from plaintext: it is plaintext, and its server is heard."""
        with socket.create_connection(proxy.address(listener), 10) as plain:
            plain.sendall(said)
            plain.shutdown(socket.SHUT_WR)
            assert read_all(plain) == heard


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


class TestProxyProtocol:
    """The header stands before the handshake, in plaintext, on both sides."""

    HEADER = b"PROXY TCP4 192.0.2.7 192.0.2.8 1111 2222\r\n"

    def config(self, server: TcpServer, listener: dict[str, Any], upstream: dict[str, Any]) -> dict[str, Any]:
        return {
            "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "tcp", "to": "main", **listener}},
            "upstreams": {"main": {"protocol": "tcp", "endpoints": [server.endpoint], **upstream}},
        }

    @pytest.mark.parametrize("at_once", [True, False])
    def test_from_the_client(self, authority: Authority, at_once: bool) -> None:
        tls = authority.issue("localhost").config
        seen: list[bytes] = []
        with TcpServer(remember(seen, len(self.HEADER) + 4)) as server:
            config = self.config(server, {"tls": tls, "proxy_protocol": "accept"}, {"proxy_protocol": "v1"})
            with EmbeddedProxy(config) as proxy:
                context, incoming, outgoing = authority.client(), ssl.MemoryBIO(), ssl.MemoryBIO()
                client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
                with socket.create_connection(proxy.address(), 10) as plain:  # type: ignore[arg-type]
                    if not at_once:
                        plain.sendall(self.HEADER[:20])
                        plain.sendall(self.HEADER[20:])
                    first = self.HEADER if at_once else b""
                    while True:
                        try:
                            client.do_handshake()
                            break
                        except ssl.SSLWantReadError:
                            plain.sendall(first + outgoing.read())
                            first = b""
                            incoming.write(plain.recv(1 << 16))
                    client.write(b"ping")
                    plain.sendall(outgoing.read())
                    until(lambda: seen, "the server to have heard")
        assert seen == [self.HEADER + b"ping"]

    def test_a_server_that_fails_the_handshake_behind_the_header(self, authority: Authority) -> None:
        """The header is no byte of the client's: the next endpoint is tried."""

        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n")
            writer.write(b"this is not TLS\r\n")
            await writer.drain()

        heard: list[bytes] = []
        with TcpServer(refuse) as bad, socket.create_server(("127.0.0.1", free_port())) as listening:
            context = authority.server(authority.issue("localhost"))
            serving = threading.Thread(target=self.serve, args=(listening, context, heard, 2))
            serving.start()
            good = f"127.0.0.1:{listening.getsockname()[1]}"
            tls = {"ca": str(authority.file), "sni": "localhost"}
            upstream = {"proxy_protocol": "v1", "tls": tls, "endpoints": [bad.endpoint, good]}
            with EmbeddedProxy(self.config(bad, {}, upstream)) as proxy:
                for _ in range(2):  # whichever is asked first
                    with socket.create_connection(proxy.address(), 10) as plain:  # type: ignore[arg-type]
                        plain.sendall(b"ping")
                        assert read(plain, 4) == b"ping"
            serving.join(10)

    @staticmethod
    def serve(listening: socket.socket, context: ssl.SSLContext, heard: list[bytes], times: int) -> None:
        """asyncio's servers can't read what comes before TLS: this one is made by hand."""
        for _ in range(times):
            wire, _ = listening.accept()
            line = b""
            while not line.endswith(b"\r\n"):
                line += wire.recv(1)
            heard.append(line)
            with context.wrap_socket(wire, server_side=True) as tls:
                tls.sendall(tls.recv(4))
                tls.recv(1)

    def test_to_the_server(self, authority: Authority) -> None:
        heard: list[bytes] = []
        context = authority.server(authority.issue("localhost"))
        with socket.create_server(("127.0.0.1", free_port())) as listening:
            serving = threading.Thread(target=self.serve, args=(listening, context, heard, 1))
            serving.start()
            tls = {"ca": str(authority.file), "sni": "localhost"}
            config = self.config(TcpServer(echo), {}, {"proxy_protocol": "v1", "tls": tls})
            config["upstreams"]["main"]["endpoints"] = [f"127.0.0.1:{listening.getsockname()[1]}"]
            with EmbeddedProxy(config) as proxy:
                with socket.create_connection(proxy.address(), 10) as plain:  # type: ignore[arg-type]
                    plain.sendall(b"ping")
                    assert read(plain, 4) == b"ping"
            serving.join(10)
        assert heard[0].startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")


@pytest.mark.parametrize(("version", "letter"), [("1_2", "R"), ("1_3", "K")])
def test_what_s_client_may_ask_for(proxy: EmbeddedProxy, authority: Authority, version: str, letter: str) -> None:
    """R: renegotiation, which is refused. K: new keys, which TLS 1.3 has instead."""
    host, port = proxy.address("echo")
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-CAfile", str(authority.file), f"-tls{version}"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"first\n")
        process.stdin.flush()
        seen = b""
        while not seen.endswith(b"first\n") and (line := process.stdout.readline()):
            seen += line
        process.stdin.write(f"{letter}\n".encode())
        process.stdin.flush()
        while b"KEYUPDATE" not in seen and b"no renegotiation" not in seen and (line := process.stdout.readline()):
            seen += line
        process.stdin.write(b"second\n")
        process.stdin.flush()
        if letter == "K":
            while not seen.endswith(b"second\n") and (line := process.stdout.readline()):
                seen += line
            assert seen.endswith(b"second\n")
        process.stdin.close()
        process.terminate()
    assert (b"no renegotiation" in seen) == (letter == "R")
    with dial(proxy.address("echo"), authority.client()) as wire:
        assert ask(wire) == b"ping"
