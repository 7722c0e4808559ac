"""How a proxy is set up for each HTTP scenario: what it speaks on either side, and how every proxy is told that.

The files in peers/*-http.* are the same for all scenarios but for a few places, which are filled in here. All of them keep
upstream connections alive, add the client to X-Forwarded-For and neither log accesses nor make request ids.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .build import OUT


@dataclass(frozen=True)
class HttpKind:
    """What a proxy speaks with its clients and with the backend: h1 or h2."""

    down: str
    up: str
    tls: bool = False  # terminated by the proxy
    grpc: bool = False
    pipeline: bool = False  # upstream, where a proxy can


HTTP_KINDS = {
    "http1": HttpKind("h1", "h1"),
    "http1-pipelined": HttpKind("h1", "h1", pipeline=True),
    "h2c": HttpKind("h2", "h2"),
    "http1-h2": HttpKind("h1", "h2"),
    "h2-http1": HttpKind("h2", "h1"),
    "grpc": HttpKind("h2", "h2", grpc=True),
    "tls-http1": HttpKind("h1", "h1", tls=True),
    "tls-h2": HttpKind("h2", "h1", tls=True),
}
RELAYED = ("http1", "http1-pipelined", "h2c", "grpc")  # the same protocol on both sides: bytes can be passed on


def certificate() -> Path:
    """A self-signed ECDSA P-256 certificate for bench.example.com: bench.pem (chain), bench.key, bench.both.pem."""
    home = OUT / "tls"
    if not (home / "bench.both.pem").exists():
        home.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "3650", "-subj", "/CN=bench.example.com", "-addext", "subjectAltName=DNS:bench.example.com"),
                *("-keyout", str(home / "bench.key"), "-out", str(home / "bench.pem")),
            ],
            check=True,
            capture_output=True,
        )
        both = (home / "bench.pem").read_text() + (home / "bench.key").read_text()
        (home / "bench.both.pem").write_text(both)
    return home


def missing() -> str:
    """What the scenarios with TLS lack, or ""."""
    return "" if shutil.which("openssl") else "openssl not installed: apt-get install openssl"


def variables(proxy: str, name: str) -> dict[str, str]:
    """What is filled into a proxy's file, besides ports. Empty for kinds that are not HTTP."""
    kind = HTTP_KINDS.get(name)
    if kind is None:
        return {}
    tls = {"certificate": "", "key": "", "both": ""}
    if kind.tls:
        home = certificate()
        tls = {
            name: str(home / file) for name, file in zip(tls, ("bench.pem", "bench.key", "bench.both.pem"), strict=True)
        }
    return {**tls, **_FILL[proxy](kind, tls)} if proxy in _FILL else tls


def _mosnpy(kind: HttpKind, tls: dict[str, str]) -> dict[str, str]:
    protocols = {"h1": "http1", "h2": "http2"}
    files = f"{{certificate: {tls['certificate']}, key: {tls['key']}, session_tickets: false}}"
    return {
        "down": protocols[kind.down],
        "up": protocols[kind.up],
        "tls": f"tls: {files}" if kind.tls else "",
        "more": ", pipeline: 4" if kind.pipeline else "",
    }


def _envoy(kind: HttpKind, tls: dict[str, str]) -> dict[str, str]:
    protocols = {"h1": "http_protocol_options", "h2": "http2_protocol_options"}
    alpn = {"h1": "http/1.1", "h2": "h2"}
    context = (
        "transport_socket: {name: envoy.transport_sockets.tls, typed_config: {"
        '"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, '
        "disable_stateless_session_resumption: true, disable_stateful_session_resumption: true, "
        f'common_tls_context: {{alpn_protocols: ["{alpn[kind.down]}"], tls_certificates: [{{'
        f"certificate_chain: {{filename: {tls['certificate']}}}, private_key: {{filename: {tls['key']}}}}}]}}}}}}"
    )
    return {
        "down": {"h1": "HTTP1", "h2": "HTTP2"}[kind.down],
        "up": protocols[kind.up],
        "tls": context if kind.tls else "",
    }


def _haproxy(kind: HttpKind, tls: dict[str, str]) -> dict[str, str]:
    alpn = {"h1": "http/1.1", "h2": "h2"}
    encrypted = f"ssl crt {tls['both']} alpn {alpn[kind.down]} no-tls-tickets"
    return {
        "down": encrypted if kind.tls else "proto h2" if kind.down == "h2" else "",
        "up": "proto h2" if kind.up == "h2" else "",
    }


def _nginx(kind: HttpKind, tls: dict[str, str]) -> dict[str, str]:
    files = f"ssl_certificate {tls['certificate']}; ssl_certificate_key {tls['key']};"
    return {
        "down": ("ssl " if kind.tls else "") + ("http2" if kind.down == "h2" else ""),
        "tls": files if kind.tls else "",
        # of HTTP/2 upstream nginx 1.22 knows gRPC alone, one call at a time on a connection
        "up": "grpc_pass grpc://main" if kind.grpc else "proxy_pass http://main",
        "forwarded": "grpc_set_header" if kind.grpc else "proxy_set_header",
    }


_FILL = {"mosnpy": _mosnpy, "envoy": _envoy, "haproxy": _haproxy, "nginx": _nginx}
