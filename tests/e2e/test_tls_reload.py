"""Certificates that are replaced on disk are shown to the next client; who is connected notices nothing."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

import pytest
from cryptography import x509

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.tcp_server import TcpServer, echo
from mosnpy.testing.tls import StepClient, ask, dial, read, refused
from mosnpy.testing.waiting import free_port, until

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def serial(wire: ssl.SSLSocket) -> int:
    der = wire.getpeercert(True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


def config(server: TcpServer, tls: dict[str, Any], port: int = 0) -> dict[str, Any]:
    return {
        "listeners": {"front": {"bind": f"127.0.0.1:{port}", "protocol": "tcp", "tls": tls, "to": "main"}},
        "upstreams": {"main": {"protocol": "tcp", "endpoints": [server.endpoint]}},
    }


def shown(address: Any, authority: Authority) -> int:
    with dial(address, authority.client()) as wire:
        assert ask(wire) == b"ping"
        return serial(wire)


def test_a_new_certificate(authority: Authority, start_proxy: Callable[..., ProxyProcess]) -> None:
    """With traffic on an open connection all the while, on two workers."""
    address = ("127.0.0.1", free_port())
    with TcpServer(echo) as server:
        tls = authority.issue("localhost", file="server").config
        proxy = start_proxy({**config(server, tls, address[1]), "workers": 2})
        with dial(address, authority.client()) as wire:
            first, over, done = serial(wire), threading.Event(), 0

            def talk() -> None:
                nonlocal done
                while not over.is_set():
                    assert ask(wire, b"x" * 1000) == b"x" * 1000
                    done += 1

            talking = threading.Thread(target=talk)
            talking.start()
            authority.issue("localhost", file="server")
            until(lambda: shown(address, authority) != first, "the new certificate")
            until(lambda: len({shown(address, authority) for _ in range(20)}) == 1, "all workers to have it")
            before = done
            until(lambda: done > before + 10, "the open connection to go on")
            over.set()
            talking.join()
            assert ask(wire) == b"ping"
        assert proxy.stats()["listeners"]["front"]["tls_handshakes_failed"] == 0


def test_a_key_that_does_not_fit_changes_nothing(authority: Authority) -> None:
    with TcpServer(echo) as server:
        pair = authority.issue("localhost", file="server")
        with EmbeddedProxy(config(server, pair.config)) as proxy:
            first = shown(proxy.address(), authority)
            whole = pair.key.read_bytes()
            other = authority.issue("localhost")
            pair.certificate.write_bytes(other.certificate.read_bytes())
            with pytest.raises(Exception, match="key"):
                proxy.reload(proxy.config)
            assert shown(proxy.address(), authority) == first
            pair.key.write_bytes(other.key.read_bytes())
            until(lambda: shown(proxy.address(), authority) != first, "the pair that fits")
            assert whole != other.key.read_bytes()


def test_an_authority_that_is_replaced(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Who is no longer trusted does not come in by an old session either."""
    other = Authority(tmp_path_factory.mktemp("other"), "other")
    trusted = tmp_path_factory.mktemp("trusted") / "ca.pem"
    trusted.write_bytes(authority.file.read_bytes())
    tls = {**authority.issue("localhost").config, "client_certificate": "required", "client_ca": str(trusted)}
    with TcpServer(echo) as server, EmbeddedProxy(config(server, tls)) as proxy:
        context = authority.client(authority.issue("me"), version=ssl.TLSVersion.TLSv1_2)
        with dial(proxy.address(), context) as wire:
            session = wire.session
            assert ask(wire) == b"ping"
            with dial(proxy.address(), context, session=session) as again:
                assert again.session_reused
            trusted.write_bytes(other.file.read_bytes())
            until(lambda: refused(proxy.address(), context), "the old client to be refused")
            with pytest.raises(ssl.SSLError), dial(proxy.address(), context, session=session):
                pass
            assert ask(wire) == b"ping"  # whoever is inside stays


@pytest.mark.parametrize("protocol", ["http1", ["http2", "http1", "redis"]])
def test_another_protocol_while_hands_are_shaken(authority: Authority, protocol: str | list[str]) -> None:
    """What a connection begun under the old plan comes to speak is what the new one says, and has room for it."""
    with TcpServer(echo) as server:
        before = config(server, authority.issue("localhost").config)
        after = {"listeners": {"front": {**before["listeners"]["front"], "protocol": protocol}}}
        del after["listeners"]["front"]["to"]
        after["listeners"]["front"]["routes"] = [{"match": {"protocol": "redis"}, "reply": {"error": "no"}}] * (
            protocol != "http1"
        ) + [{"reply": {"status": 200, "body": "new"}}]
        with EmbeddedProxy(before) as proxy:
            clients = [StepClient(proxy.address(), authority.client()) for _ in range(20)]
            for client in clients:
                client.hello()
            until(lambda: proxy.counts()["clients"] == len(clients), "all clients to be accepted")
            proxy.reload(after)
            for client in clients:
                with client:
                    client.finish()
                    assert client.ask(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 15) == b"HTTP/1.1 200 OK"


def test_tls_is_switched_on_and_off(authority: Authority) -> None:
    with TcpServer(echo) as server:
        tls = authority.issue("localhost").config
        with EmbeddedProxy(config(server, tls)) as proxy, dial(proxy.address(), authority.client()) as wire:
            assert ask(wire) == b"ping"
            without = config(server, tls)
            del without["listeners"]["front"]["tls"]
            proxy.reload(without)
            assert ask(wire) == b"ping"
            proxy.reload(config(server, tls))
            assert ask(wire) == b"ping"
            assert shown(proxy.address(), authority)


def test_an_upstream_that_is_gone_when_its_server_has_shaken_hands(authority: Authority) -> None:
    """The client whose connection it was goes on."""
    context = authority.server(authority.issue("localhost"))
    reached, go_on = threading.Event(), threading.Event()

    def serve() -> None:
        plain, _ = listening.accept()
        reached.set()
        go_on.wait(10)
        with context.wrap_socket(plain, server_side=True) as wire:
            wire.sendall(wire.recv(4))
            wire.recv(1)

    with TcpServer(echo) as other, socket.create_server(("127.0.0.1", free_port())) as listening:
        serving = threading.Thread(target=serve)
        serving.start()
        before = config(other, authority.issue("localhost").config)
        before["upstreams"]["main"] |= {
            "endpoints": [f"127.0.0.1:{listening.getsockname()[1]}"],
            "tls": {"ca": str(authority.file), "sni": "localhost"},
        }
        after = config(other, before["listeners"]["front"]["tls"])
        with EmbeddedProxy(before) as proxy, dial(proxy.address(), authority.client()) as wire:
            wire.sendall(b"ping")
            assert reached.wait(10)
            proxy.reload(after)
            go_on.set()
            assert read(wire, 4) == b"ping"
            with dial(proxy.address(), authority.client()) as later:
                assert ask(later) == b"ping"
        serving.join(10)
