"""Handshakes that fail: each for a reason that is counted, and said in the log with who it was."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from mosnpy.testing.certificates import Authority
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.process import ProxyProcess
from mosnpy.testing.tcp_server import TcpServer, echo
from mosnpy.testing.tls import V12, V13, client_hello, dial, read, refused
from mosnpy.testing.waiting import FACTOR, free_port, until

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


def config(endpoint: str, listener: dict[str, Any], **upstream: Any) -> dict[str, Any]:
    front = {"bind": "127.0.0.1:0", "protocol": "tcp", "to": "main", **listener}
    return {
        "listeners": {"front": front},
        "upstreams": {"main": {"protocol": "tcp", "endpoints": [endpoint], **upstream}},
    }


def reasons(stats: dict[str, Any]) -> dict[str, int]:
    found = {name.removeprefix("tls_failed_"): count for name, count in stats.items() if name.startswith("tls_failed_")}
    assert sum(found.values()) == stats["tls_handshakes_failed"]
    return {name: count for name, count in found.items() if count}


@pytest.fixture(scope="module")
def proxy(authority: Authority) -> Iterator[EmbeddedProxy]:
    tls = {
        **authority.issue("localhost").config, "alpn": ["acme/1"], "ciphers": "ECDHE+AESGCM",
        "client_certificate": "required", "client_ca": str(authority.file), "client_names": ["*.good.example.com"],
    }  # fmt: skip
    with TcpServer(echo) as server:
        whole = config(server.endpoint, {"tls": tls})
        whole["listeners"]["new"] = {**whole["listeners"]["front"], "tls": {**tls, "min_version": "1.3"}}
        with EmbeddedProxy(whole) as proxy:
            yield proxy
            proxy.quiet()


class TestClients:
    def shake(self, proxy: EmbeddedProxy, authority: Authority, stranger: Authority, reason: str) -> None:
        pairs = {
            "no_certificate": None,
            "unknown_ca": stranger.issue("a.good.example.com"),
            "expired": authority.issue("a.good.example.com", days=-0.5),
            "bad_certificate": authority.issue("a.bad.example.com"),
        }
        address = proxy.address()
        if reason in pairs:
            assert refused(address, authority.client(pairs[reason]))
            return
        context = authority.client(authority.issue("a.good.example.com"))
        if reason == "no_shared_cipher":
            context.maximum_version = V12
            context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        elif reason == "version":
            address, context.maximum_version = proxy.address("new"), V12
        elif reason == "no_shared_protocol":
            context.set_alpn_protocols(["h2"])
        elif reason == "refused":
            context = ssl.create_default_context()
        if reason in ("closed", "protocol"):
            with socket.create_connection(address, 10) as wire:  # type: ignore[arg-type]
                wire.sendall(client_hello() if reason == "closed" else b"GET / HTTP/1.1\r\n\r\n")
                with suppress(ConnectionError):
                    wire.recv(1)
        else:
            assert refused(address, context)

    @pytest.mark.parametrize(
        ("reason", "words"),
        [
            ("no_certificate", "peer did not return a certificate"),
            ("unknown_ca", "certificate verify failed (unable to get local issuer certificate)"),
            ("expired", "certificate verify failed (certificate has expired)"),
            ("bad_certificate", "certificate verify failed (hostname mismatch)"),
            ("no_shared_cipher", "no shared cipher"),
            ("version", "unsupported protocol"),
            ("no_shared_protocol", "no application protocol"),
            ("refused", "tlsv1 alert unknown ca"),
            ("closed", ""),
            ("protocol", "http request"),
        ],
    )
    def test_reason(
        self, proxy: EmbeddedProxy, authority: Authority, stranger: Authority, reason: str, words: str,
        caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        caplog.set_level(logging.INFO, "mosnpy")
        listener = "new" if reason == "version" else "front"
        before = reasons(proxy.stats()["listeners"][listener]).get(reason, 0)
        self.shake(proxy, authority, stranger, reason)
        until(
            lambda: reasons(proxy.stats()["listeners"][listener]).get(reason, 0) == before + 1,
            f"{reason} to be counted",
        )
        name = "" if reason == "protocol" else " for localhost"
        end = f"{name} failed: {reason}" + (f": {words}" if words else "")

        def line() -> str:
            """Of several that fail in one second some are left out, and this one may say so."""
            lines = [each.getMessage() for each in caplog.records]
            return next(
                (each for each in lines if each.startswith(f"listener {listener}: TLS handshake with 127.0.0.1:")), ""
            )

        if not line():  # those of earlier tests have used up this second's
            until(lambda: self.shake(proxy, authority, stranger, reason) or line(), "the line", pause=0.1)
        assert end in line()


def test_a_storm_of_them_is_a_few_lines(proxy: EmbeddedProxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mosnpy")
    before = reasons(proxy.stats()["listeners"]["front"]).get("protocol", 0)
    for _ in range(100):
        with socket.create_connection(proxy.address(), 10) as wire:  # type: ignore[arg-type]
            wire.sendall(b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\xff")
            with suppress(ConnectionError):
                wire.recv(1)
    until(lambda: reasons(proxy.stats()["listeners"]["front"])["protocol"] == before + 100, "all to be counted")
    assert len(caplog.records) <= 20


@pytest.mark.parametrize("version", [V12, V13])
def test_of_servers(
    authority: Authority, stranger: Authority, version: ssl.TLSVersion, caplog: pytest.LogCaptureFixture
) -> None:
    """Why a server can't be used stands in the log."""
    pairs = {
        "unknown_ca": stranger.server(stranger.issue("localhost"), version=version),
        "expired": authority.server(authority.issue("localhost", days=-0.5), version=version),
        "bad_certificate": authority.server(authority.issue("elsewhere"), version=version),
        "protocol": None,
    }
    trust = {"tls": {"ca": str(authority.file), "sni": "localhost"}}
    caplog.set_level(logging.INFO, "mosnpy")
    for reason, context in pairs.items():
        with TcpServer(echo, tls=context) as server, EmbeddedProxy(config(server.endpoint, {}, **trust)) as proxy:
            with socket.create_connection(proxy.address(), 10 * FACTOR) as wire:  # type: ignore[arg-type]
                with suppress(ConnectionError):
                    wire.sendall(b"ping")
                    assert read(wire, 4) == b""
            stats = proxy.stats()["upstreams"]["main"]
            assert reasons(stats) == {reason: 1}
        record = next(each for each in reversed(caplog.records) if each.name == "mosnpy")
        assert record.levelno == logging.WARNING
        assert record.getMessage().startswith(f"upstream main: TLS handshake with {server.endpoint} failed: {reason}")


@pytest.mark.parametrize("version", [V12, V13])
def test_of_a_server_that_refuses_us(authority: Authority, version: ssl.TLSVersion) -> None:
    """With TLS 1.3 its alert comes when our handshake is over."""
    context = authority.server(authority.issue("localhost"), version=version, ask=True)

    def serve() -> None:
        wire, _ = listening.accept()
        with suppress(ssl.SSLError):  # asyncio's servers send no alert
            context.wrap_socket(wire, server_side=True)

    with socket.create_server(("127.0.0.1", free_port())) as listening:
        serving = threading.Thread(target=serve)
        serving.start()
        trust = {"tls": {"ca": str(authority.file), "sni": "localhost"}}
        with EmbeddedProxy(config(f"127.0.0.1:{listening.getsockname()[1]}", {}, **trust)) as proxy:
            with socket.create_connection(proxy.address(), 10 * FACTOR) as wire, suppress(ConnectionError):  # type: ignore[arg-type]
                assert wire.recv(1) == b""
            assert reasons(proxy.stats()["upstreams"]["main"]) == {"refused": 1}
        serving.join(10)


def test_a_server_that_is_not_there_fails_no_handshake(authority: Authority) -> None:
    trust = {"tls": {"ca": str(authority.file), "sni": "localhost"}}
    with EmbeddedProxy(config(f"127.0.0.1:{free_port()}", {}, **trust)) as proxy:
        with socket.create_connection(proxy.address(), 10) as wire, suppress(ConnectionError):  # type: ignore[arg-type]
            assert wire.recv(1) == b""
        stats = proxy.stats()["upstreams"]["main"]
        assert stats["tls_handshakes_failed"] == 0
        assert sum(one["connect_failures"] for one in stats["endpoints"].values()) >= 1


def test_a_worker_says_it_too(authority: Authority, start_proxy: Callable[..., ProxyProcess]) -> None:
    with TcpServer(echo) as server:
        port = free_port()
        listener = {"bind": f"127.0.0.1:{port}", "tls": authority.issue("localhost").config}
        proxy = start_proxy(config(server.endpoint, listener))
        assert refused(("127.0.0.1", port), ssl.create_default_context()) == "CERTIFICATE_VERIFY_FAILED"
        until(lambda: "for localhost failed: refused: tlsv1 alert unknown ca" in proxy.log.read_text(), "the line")
        with dial(("127.0.0.1", port), authority.client()) as wire:
            wire.sendall(b"ping")
            assert read(wire, 4) == b"ping"
        exposed = proxy.admin("/stats/prometheus")[1]
        assert 'mosnpy_listener_tls_failures_total{listener="front",reason="refused"} 1' in exposed
        assert 'mosnpy_upstream_tls_failures_total{upstream="main",reason="timeout"} 0' in exposed
        assert "tls_failed_" not in exposed
