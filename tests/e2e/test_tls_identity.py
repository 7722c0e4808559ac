"""Who is who: certificates by server name, chains, certificates of clients, resumption, and what rules see of it."""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from mosnpy.testing.certificates import Authority, Pair
from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.tcp_server import TcpServer, echo, remember
from mosnpy.testing.tls import V12, V13, ask, client_hello, dial, read, refused
from mosnpy.testing.waiting import free_port, until

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority nobody trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "stranger")


@pytest.fixture(scope="module")
def backend() -> Iterator[TcpServer]:
    with TcpServer(echo) as server:
        yield server


def one(backend: TcpServer, tls: dict[str, Any] | None, **listener: Any) -> dict[str, Any]:
    """The configuration of one tcp listener before one server."""
    front: dict[str, Any] = {"bind": "127.0.0.1:0", "protocol": "tcp", "to": "main", **listener}
    if tls is not None:
        front["tls"] = tls
    return {"listeners": {"front": front}, "upstreams": {"main": {"protocol": "tcp", "endpoints": [backend.endpoint]}}}


def names_of(wire: ssl.SSLSocket) -> list[str]:
    der = wire.getpeercert(True)
    assert der is not None
    extension = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    return extension.value.get_values_for_type(x509.DNSName)


def trusting(authority: Authority, pair: Pair | None = None, version: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """Takes any name, so that a test may ask for one and look at what it gets."""
    context = authority.client(pair, version=version)
    context.check_hostname = False
    return context


def _use(address: Any, context: ssl.SSLContext, name: str, session: ssl.SSLSession | None) -> None:
    with dial(address, context, name, session=session) as wire:
        assert not wire.session_reused
        wire.sendall(b"?")
        read(wire, 8)


class TestServerNames:
    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls, authority: Authority, backend: TcpServer) -> Iterator[EmbeddedProxy]:
        pairs = [
            authority.issue("default.example.com"),
            authority.issue("a.example.com", "b.example.com"),
            authority.issue("*.wild.example.com"),
            authority.issue("deep.wild.example.com"),
        ]
        listed = [pair.config for pair in pairs]
        listed.append({**authority.issue("whatever.example.org").config, "names": ["named.example.net", "*.named.net"]})
        with EmbeddedProxy(one(backend, {"certificates": listed})) as proxy:
            yield proxy

    @pytest.mark.parametrize(
        ("asked", "first"),
        [
            ("default.example.com", "default.example.com"),
            ("a.example.com", "a.example.com"),
            ("B.Example.COM", "a.example.com"),
            ("x.wild.example.com", "*.wild.example.com"),
            ("deep.wild.example.com", "deep.wild.example.com"),
            ("x.y.wild.example.com", "default.example.com"),
            ("wild.example.com", "default.example.com"),
            ("named.example.net", "whatever.example.org"),
            ("x.named.net", "whatever.example.org"),
            ("whatever.example.org", "default.example.com"),
            ("nobody.example.com", "default.example.com"),
        ],
    )
    @pytest.mark.parametrize("version", [V12, V13])
    def test_choice(
        self, proxy: EmbeddedProxy, authority: Authority, asked: str, first: str, version: ssl.TLSVersion
    ) -> None:
        with dial(proxy.address(), trusting(authority, version=version), asked) as wire:
            assert names_of(wire)[0] == first
            assert ask(wire) == b"ping"

    def test_no_name(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        with dial(proxy.address(), trusting(authority), "127.0.0.1") as wire:  # Python sends no address as a name
            assert names_of(wire) == ["default.example.com"]


def test_two_types_of_key_for_one_name(authority: Authority, backend: TcpServer) -> None:
    pairs = [authority.issue("localhost"), authority.issue("localhost", rsa_key=True)]
    with EmbeddedProxy(one(backend, {"certificates": [pair.config for pair in pairs]})) as proxy:
        for cipher, kind in (("ECDHE-ECDSA-AES128-GCM-SHA256", "EC"), ("ECDHE-RSA-AES128-GCM-SHA256", "RSA")):
            context = authority.client(version=V12)
            context.set_ciphers(cipher)
            with dial(proxy.address(), context) as wire:
                der = wire.getpeercert(True)
                assert der is not None
                assert kind in type(x509.load_der_x509_certificate(der).public_key()).__name__
                assert ask(wire) == b"ping"


class TestChains:
    @pytest.fixture(scope="class")
    @classmethod
    def reached(cls) -> Iterator[dict[str, TcpServer]]:
        def say(name: str) -> TcpServer:
            async def serve(reader: Any, writer: Any) -> None:
                await reader.read(1)
                writer.write(name.encode().ljust(8))
                await writer.drain()
                await reader.read(1)

            return TcpServer(serve).start()

        servers = {name: say(name) for name in ("default", "shop", "wide", "plain")}
        yield servers
        for server in servers.values():
            server.stop()

    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls, authority: Authority, reached: dict[str, TcpServer]) -> Iterator[EmbeddedProxy]:
        tls = authority.issue("default.example.com").config
        secret = authority.issue("shop.example.com").config
        front = {
            "bind": "127.0.0.1:0", "protocol": "tcp", "tls": tls, "to": "default",
            "chains": [
                {"name": "wide", "sni": ["*.example.com"], "to": "wide"},
                {
                    "name": "shop", "sni": ["shop.example.com", "*.shop.example.com"], "to": "shop",
                    "tls": {**secret, "client_certificate": "required", "client_ca": str(authority.file)},
                },
            ],
        }  # fmt: skip
        upstreams = {name: {"protocol": "tcp", "endpoints": [server.endpoint]} for name, server in reached.items()}
        with EmbeddedProxy({"listeners": {"front": front}, "upstreams": upstreams}) as proxy:
            yield proxy

    @pytest.mark.parametrize(
        ("asked", "name"),
        [("x.example.com", "wide"), ("a.b.example.com", "wide"), ("example.com", "default"), ("other.org", "default")],
    )
    def test_by_name(self, proxy: EmbeddedProxy, authority: Authority, asked: str, name: str) -> None:
        with dial(proxy.address(), trusting(authority), asked) as wire:
            wire.sendall(b"?")
            assert read(wire, 8).strip().decode() == name

    def test_a_chain_has_its_own_tls(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        me = authority.issue("client.example.com")
        for asked in ("shop.example.com", "x.shop.example.com"):
            with dial(proxy.address(), trusting(authority, me), asked) as wire:
                assert names_of(wire) == ["shop.example.com"]
                wire.sendall(b"?")
                assert read(wire, 8).strip() == b"shop"
            assert "CERTIFICATE_REQUIRED" in refused(proxy.address(), trusting(authority), asked)

    def test_a_session_is_not_resumed_in_another_chain(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        """Else whoever has a session of the open chain would come into the closed one without a certificate."""
        context = trusting(authority, version=V12)
        with dial(proxy.address(), context, "x.example.com") as wire:
            session = wire.session
        with dial(proxy.address(), context, "x.example.com", session=session) as wire:
            assert wire.session_reused
        with pytest.raises(ssl.SSLError):
            _use(proxy.address(), context, "shop.example.com", session)


@pytest.mark.parametrize("version", [V12, V13])
class TestClientCertificates:
    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls, authority: Authority, backend: TcpServer) -> Iterator[EmbeddedProxy]:
        tls = {**authority.issue("localhost").config, "client_ca": str(authority.file)}
        modes = {
            "required": {"client_certificate": "required"},
            "optional": {"client_certificate": "optional"},
            "named": {"client_certificate": "required", "client_names": ["spiffe://td/ns/*", "*.Good.example.com", "10.1.2.3"]},
        }  # fmt: skip
        config = one(backend, None)
        config["listeners"] = {
            name: {**config["listeners"]["front"], "tls": {**tls, **mode}} for name, mode in modes.items()
        }
        with EmbeddedProxy(config) as proxy:
            yield proxy

    def test_good(self, proxy: EmbeddedProxy, authority: Authority, version: ssl.TLSVersion) -> None:
        me = authority.issue("me.example.com")
        for listener in ("required", "optional"):
            with dial(proxy.address(listener), authority.client(me, version=version)) as wire:
                assert ask(wire) == b"ping"

    def test_none(self, proxy: EmbeddedProxy, authority: Authority, version: ssl.TLSVersion) -> None:
        context = authority.client(version=version)
        with dial(proxy.address("optional"), context) as wire:
            assert ask(wire) == b"ping"
        reason = {V12: "SSLV3_ALERT_HANDSHAKE_FAILURE", V13: "TLSV13_ALERT_CERTIFICATE_REQUIRED"}[version]
        assert refused(proxy.address("required"), context) == reason

    def test_of_a_stranger(
        self, proxy: EmbeddedProxy, authority: Authority, stranger: Authority, version: ssl.TLSVersion
    ) -> None:
        context = authority.client(stranger.issue("me.example.com"), version=version)
        for listener in ("required", "optional"):
            assert refused(proxy.address(listener), context) == "TLSV1_ALERT_UNKNOWN_CA"

    def test_expired(self, proxy: EmbeddedProxy, authority: Authority, version: ssl.TLSVersion) -> None:
        context = authority.client(authority.issue("me.example.com", days=-0.5), version=version)
        assert refused(proxy.address("required"), context) == "SSLV3_ALERT_CERTIFICATE_EXPIRED"

    @pytest.mark.parametrize(
        ("names", "good"),
        [
            (["spiffe://td/ns/shop/sa/web"], True),
            (["spiffe://td/other"], False),
            (["spiffe://td2/ns/x"], False),
            (["a.good.example.com"], True),
            (["bad.example.com", "b.good.example.com"], True),
            (["good.example.com"], False),
            (["10.1.2.3"], True),
            (["10.1.2.4"], False),
            (["spiffe://td/other/x.good.example.com"], False),  # a URI is no host
            ([], False),
        ],
    )
    def test_names(
        self, proxy: EmbeddedProxy, authority: Authority, version: ssl.TLSVersion, names: list[str], good: bool
    ) -> None:
        context = authority.client(authority.issue(*names, subject="a.good.example.com"), version=version)
        if good:
            with dial(proxy.address("named"), context) as wire:
                assert ask(wire) == b"ping"
        else:
            assert refused(proxy.address("named"), context) == "SSLV3_ALERT_BAD_CERTIFICATE"


class TestVersions:
    @pytest.mark.parametrize(
        ("least", "most", "good", "bad"),
        [("1.3", "1.3", V13, V12), ("1.2", "1.2", V12, V13), ("1.3", "1.3", V13, None)],
    )
    def test_bounds(
        self,
        authority: Authority,
        backend: TcpServer,
        least: str,
        most: str,
        good: ssl.TLSVersion,
        bad: ssl.TLSVersion | None,
    ) -> None:
        tls = {**authority.issue("localhost").config, "min_version": least, "max_version": most}
        with EmbeddedProxy(one(backend, tls)) as proxy:
            with dial(proxy.address(), authority.client(version=good)) as wire:
                assert ask(wire) == b"ping"
            if bad is not None:
                assert "PROTOCOL_VERSION" in refused(proxy.address(), authority.client(version=bad))

    def test_ciphers(self, authority: Authority, backend: TcpServer) -> None:
        tls = {**authority.issue("localhost").config, "max_version": "1.2", "ciphers": "ECDHE-ECDSA-CHACHA20-POLY1305"}
        with EmbeddedProxy(one(backend, tls)) as proxy, dial(proxy.address(), authority.client()) as wire:
            cipher = wire.cipher()
            assert cipher is not None
            assert cipher[0] == "ECDHE-ECDSA-CHACHA20-POLY1305"


class TestProtocols:
    """ALPN, on a listener whose own list is given."""

    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls, authority: Authority, backend: TcpServer) -> Iterator[EmbeddedProxy]:
        tls = {**authority.issue("localhost").config, "alpn": ["acme/2", "acme/1"]}
        with EmbeddedProxy(one(backend, tls)) as proxy:
            yield proxy

    @pytest.mark.parametrize(
        ("offered", "chosen"),
        [(["acme/1", "acme/2"], "acme/2"), (["acme/1"], "acme/1"), ([], None), (["x", "acme/1"], "acme/1")],
    )
    @pytest.mark.parametrize("version", [V12, V13])
    def test_choice(
        self,
        proxy: EmbeddedProxy,
        authority: Authority,
        offered: list[str],
        chosen: str | None,
        version: ssl.TLSVersion,
    ) -> None:
        context = authority.client(version=version)
        if offered:
            context.set_alpn_protocols(offered)
        with dial(proxy.address(), context) as wire:
            assert wire.selected_alpn_protocol() == chosen
            assert ask(wire) == b"ping"

    def test_nothing_in_common(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        context = authority.client()
        context.set_alpn_protocols(["h3"])
        assert "no application protocol" in refused(proxy.address(), context)


class TestResumption:
    @pytest.mark.parametrize("version", ["1.2", "1.3"])
    def test_with_openssl(self, authority: Authority, backend: TcpServer, version: str) -> None:
        """A second connection with the first one's ticket; and one more after a reload."""
        config = one(backend, authority.issue("localhost").config)
        ticket = authority.folder / f"session-{version}"

        def connect(*more: str) -> str:
            host, port = proxy.address()
            command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-servername", "localhost", "-CAfile",
                       str(authority.file), f"-tls{version.replace('.', '_')}", *more]  # fmt: skip
            pipe = subprocess.PIPE
            with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(b"marker\n")
                process.stdin.flush()
                seen = b""
                while not seen.endswith(b"marker\n") and (line := process.stdout.readline()):
                    seen += line
                process.stdin.write(b"Q\n")
                process.stdin.close()
                seen += process.stdout.read()
            return seen.decode(errors="replace")

        with EmbeddedProxy(config) as proxy:
            assert "\nNew, TLS" in connect("-sess_out", str(ticket))
            assert "\nReused, TLS" in connect("-sess_in", str(ticket))
            proxy.reload(config)
            assert "\nReused, TLS" in connect("-sess_in", str(ticket))
            stats = proxy.stats()["listeners"]["front"]
            assert (stats["tls_handshakes_total"], stats["tls_handshakes_resumed"]) == (3, 2)

    def test_switched_off(self, authority: Authority, backend: TcpServer) -> None:
        tls = {**authority.issue("localhost").config, "session_tickets": False}
        with EmbeddedProxy(one(backend, tls)) as proxy:
            context = authority.client(version=V12)
            with dial(proxy.address(), context) as wire:
                session = wire.session
            with dial(proxy.address(), context, session=session) as wire:
                assert not wire.session_reused


class TestAttributes:
    def test_rules_see_the_client(self, authority: Authority) -> None:
        seen: dict[str, list[bytes]] = {name: [] for name in ("san", "subject", "sni", "old", "rest")}
        servers = {name: TcpServer(remember(seen[name], 4)).start() for name in seen}
        tls = {
            **authority.issue("*.example.com").config,
            "client_certificate": "optional",
            "client_ca": str(authority.file),
        }
        routes = [
            {"match": {"tls.san": "spiffe://td/web"}, "to": "san"},
            {"match": {"tls.subject": "CN=boss"}, "to": "subject"},
            {"match": {"tls.sni": "sni.*"}, "to": "sni"},
            {"match": {"tls.version": "1.2"}, "to": "old"},
            {"to": "rest"},
        ]
        front = {"bind": "127.0.0.1:0", "protocol": "tcp", "tls": tls, "routes": routes}
        upstreams = {name: {"protocol": "tcp", "endpoints": [server.endpoint]} for name, server in servers.items()}
        asked = [
            ("san", authority.issue("x.example.com", "spiffe://td/web"), "a.example.com", None),
            ("subject", authority.issue("x.example.com", subject="boss"), "a.example.com", None),
            ("sni", None, "sni.example.com", None),
            ("old", None, "a.example.com", V12),
            ("rest", authority.issue("spiffe://td/other"), "a.example.com", V13),
        ]
        with EmbeddedProxy({"listeners": {"front": front}, "upstreams": upstreams}) as proxy:
            for _, pair, name, version in asked:
                with dial(proxy.address(), trusting(authority, pair, version), name) as wire:
                    wire.sendall(b"ping")
                    assert read(wire, 3) == b"ok\n"
        assert {name: len(found) for name, found in seen.items()} == dict.fromkeys(seen, 1)
        for server in servers.values():
            server.stop()


class TestPassingOn:
    """tcp without tls: the name is read from the ClientHello, and nothing is opened."""

    @pytest.fixture(scope="class")
    @classmethod
    def proxy(cls, authority: Authority) -> Iterator[EmbeddedProxy]:
        servers = {
            "a": TcpServer(echo, tls=authority.server(authority.issue("a.example.com"))).start(),
            "b": TcpServer(echo, tls=authority.server(authority.issue("b.example.com"))).start(),
            "plain": TcpServer(echo).start(),
        }
        routes = [
            {"match": {"tls.sni": "a.example.com"}, "to": "a"},
            {"match": {"tls.sni": "*.example.com"}, "to": "b"},
            {"to": "plain"},
        ]
        config = {
            "listeners": {"front": {"bind": "127.0.0.1:0", "protocol": "tcp", "routes": routes}},
            "upstreams": {name: {"protocol": "tcp", "endpoints": [s.endpoint]} for name, s in servers.items()},
        }
        with EmbeddedProxy(config) as proxy:
            yield proxy
            proxy.quiet()
        for server in servers.values():
            server.stop()

    def test_by_name(self, proxy: EmbeddedProxy, authority: Authority) -> None:
        for name in ("a.example.com", "b.example.com"):
            with dial(proxy.address(), authority.client(), name) as wire:  # verified by the client, end to end
                assert ask(wire, b"x" * 100_000) == b"x" * 100_000

    def test_plaintext_has_no_name(self, proxy: EmbeddedProxy) -> None:
        with socket.create_connection(proxy.address(), 10) as wire:  # type: ignore[arg-type]
            wire.sendall(b"hello")
            assert read(wire, 5) == b"hello"

    @pytest.mark.parametrize("pieces", [1, 7, 100])
    def test_a_hello_in_pieces(self, proxy: EmbeddedProxy, pieces: int) -> None:
        """To the plain server with a name of nobody: what arrives there is what was sent."""
        hello = client_hello("elsewhere.org")
        with socket.create_connection(proxy.address(), 10) as wire:  # type: ignore[arg-type]
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for at in range(0, len(hello), pieces):
                wire.sendall(hello[at : at + pieces])
            assert read(wire, len(hello)) == hello

    @pytest.mark.parametrize("kind", ["large", "tiny records", "two names", "no ASCII"])
    def test_a_hello_whose_name_cannot_be_read(self, proxy: EmbeddedProxy, kind: str) -> None:
        """No rule could see whom it asks for, and the server might: it is not passed on."""
        message = client_hello("b.example.com")[5:]
        name = b"\x00\x00\x0d" + b"b.example.com"
        if kind == "large":
            message = message[:1] + (20_000).to_bytes(3, "big") + bytes(20_000)
        elif kind == "two names":
            both = b"\x00\x00\x05b.exa" + b"\x00\x00\x05other"
            assert name in message
            assert len(name) == len(both)
            message = message.replace(name, both)
        elif kind == "no ASCII":
            message = message.replace(name, name[:-3] + b"\xff\xfe\xfd")
        size = 1 if kind == "tiny records" else 1000
        message += bytes(5000) if kind == "tiny records" else b""
        if kind == "tiny records":
            message = message[:1] + (len(message) - 4).to_bytes(3, "big") + message[4:]
        records = b"".join(
            b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
            for part in (message[at : at + size] for at in range(0, len(message), size))
        )
        with socket.create_connection(proxy.address(), 10) as wire:  # type: ignore[arg-type]
            wire.sendall(records)
            with suppress(ConnectionResetError):
                assert read(wire, 1) == b""

    def test_a_hello_in_small_records(self, proxy: EmbeddedProxy) -> None:
        message = client_hello("elsewhere.org")[5:]
        records = b"".join(
            b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
            for part in (message[at : at + 50] for at in range(0, len(message), 50))
        )
        with socket.create_connection(proxy.address(), 10) as wire:  # type: ignore[arg-type]
            wire.sendall(records)
            assert read(wire, len(records)) == records


def test_workers_share_ticket_keys(authority: Authority, backend: TcpServer, start_proxy: Any, short_tmp: Path) -> None:
    """Resumed on whatever worker the kernel picks."""
    port = free_port()
    config = one(backend, authority.issue("localhost").config, bind=f"127.0.0.1:{port}")
    proxy = start_proxy({**config, "workers": 3})
    context = authority.client(version=V12)
    with dial(("127.0.0.1", port), context) as wire:
        session = wire.session
        assert ask(wire) == b"ping"
    for _ in range(12):
        with dial(("127.0.0.1", port), context, session=session) as wire:
            assert wire.session_reused
            assert ask(wire) == b"ping"
    until(lambda: proxy.stats()["listeners"]["front"]["tls_handshakes_resumed"] == 12, "twelve resumed handshakes")
