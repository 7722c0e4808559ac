"""Lists of revoked certificates (CRL), of clients and of servers, and lists that are replaced."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.tcp_server import TcpServer, echo
from mosnpy.testing.tls import V12, V13, ask, dial, read, refused
from mosnpy.testing.waiting import FACTOR

pytestmark = pytest.mark.usefixtures("built")
REVOKED = "SSLV3_ALERT_CERTIFICATE_REVOKED"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(scope="module")
def backend() -> Iterator[TcpServer]:
    with TcpServer(echo) as server:
        yield server


def front(backend: TcpServer, authority: Authority, crl: Path) -> dict[str, Any]:
    tls = {
        **authority.issue("localhost").config, "client_certificate": "optional", "client_ca": str(authority.file),
        "client_crl": str(crl),
    }  # fmt: skip
    return {
        "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "tcp", "tls": tls, "to": "main"}},
        "upstreams": {"main": {"protocol": "tcp", "endpoints": [backend.endpoint]}},
    }


def answers(proxy: EmbeddedProxy, context: ssl.SSLContext) -> bool:
    with suppress(OSError), dial(proxy.address(), context) as wire:
        return ask(wire) == b"ping"
    return False


@pytest.mark.parametrize("version", [V12, V13])
def test_clients(authority: Authority, backend: TcpServer, version: ssl.TLSVersion) -> None:
    """Sessions of before a new list are worth nothing."""
    pairs = [authority.issue("x") for _ in range(3)]
    bad, late, good = (authority.client(pair, version=version) for pair in pairs)
    with EmbeddedProxy(front(backend, authority, authority.revoke(pairs[0]))) as proxy:
        assert refused(proxy.address(), bad) == REVOKED
        assert answers(proxy, good)
        assert answers(proxy, authority.client())  # optional: nothing to be revoked
        with dial(proxy.address(), late) as wire:
            assert ask(wire) == b"ping"
            session = wire.session
            authority.revoke(*pairs[:2])
            proxy.reload(proxy.config)
            assert refused(proxy.address(), late) == REVOKED
            assert ask(wire) == b"ping"  # whoever is inside stays
        if version == V12:
            with pytest.raises(ssl.SSLError), dial(proxy.address(), late, session=session):
                pass
        assert answers(proxy, good)
        assert proxy.stats()["listeners"]["front"]["tls_failed_revoked"] >= 2


def test_without_a_valid_list_nobody_is_trusted(authority: Authority, backend: TcpServer, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "other")
    client = authority.client(authority.issue("me"))
    for crl in (authority.revoke(days=-0.5), other.revoke()):
        with EmbeddedProxy(front(backend, authority, crl)) as proxy:
            assert not answers(proxy, client)
            assert answers(proxy, authority.client())
            assert proxy.stats()["listeners"]["front"]["tls_failed_revoked"] == 1


def test_a_broken_list_changes_nothing(authority: Authority, backend: TcpServer) -> None:
    pair = authority.issue("me")
    crl = authority.revoke(pair)
    with EmbeddedProxy(front(backend, authority, crl)) as proxy:
        crl.write_text("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
        with pytest.raises(Exception, match=r"crl\.pem has a broken list"):
            proxy.reload(proxy.config)
        assert refused(proxy.address(), authority.client(pair)) == REVOKED
        crl.unlink()
        with pytest.raises(Exception, match=r"can't read .*crl\.pem"):
            proxy.reload(proxy.config)
        assert refused(proxy.address(), authority.client(pair)) == REVOKED


@pytest.mark.parametrize("version", [V12, V13])
def test_servers(authority: Authority, version: ssl.TLSVersion) -> None:
    pair = authority.issue("localhost")
    crl = authority.revoke()
    tls = {"ca": str(authority.file), "crl": str(crl), "sni": "localhost"}

    def works() -> bool:
        with socket.create_connection(proxy.address(), 10 * FACTOR) as wire:  # type: ignore[arg-type]
            try:
                wire.sendall(b"ping")
                return read(wire, 4) == b"ping"
            except ConnectionError:
                return False

    with TcpServer(echo, tls=authority.server(pair, version=version)) as server:
        config = {
            "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "tcp", "to": "main"}},
            "upstreams": {"main": {"protocol": "tcp", "endpoints": [server.endpoint], "tls": tls}},
        }
        with EmbeddedProxy(config) as proxy:
            assert works()
            assert works()
            authority.revoke(pair)
            proxy.reload(proxy.config)
            assert not works()
            assert proxy.stats()["upstreams"]["main"]["tls_failed_revoked"] >= 1
            authority.revoke()
            proxy.reload(proxy.config)
            assert works()
