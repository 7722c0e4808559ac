"""HTTP, gRPC and TLS: loads and the figures mosnpy is to reach. Ratios as in scenario.py."""

from __future__ import annotations

from .load import MIB, HttpLoad, Scenario

LEVEL = 0.97  # "level with": single runs of one proxy differ by about so much
NGINX_H2 = "nginx 1.22 speaks HTTP/1 with the backend here: of HTTP/2 upstream it knows gRPC alone"
NO_PIPELINE = "mosnpy with `pipeline: 4` upstream; the others know no such thing and do as under http1"
STREAMED = "bodies are passed on as they come by all; nginx without its spool files"

HTTP_SCENARIOS = (
    Scenario(
        "http1",
        "HTTP/1.1: GET of 64 bytes, keep-alive, 50 connections, eight request fields",
        (
            HttpLoad(
                "http1",
                "HTTP/1.1, 50 connections",
                kind="http1",
                targets={"envoy": 4.2, "haproxy": 1.5, "nginx": 1.35, "relay": 0.92},
            ),
        ),
    ),
    Scenario(
        "http1-pipelined",
        "the same, mosnpy pipelining over four upstream connections",
        (
            HttpLoad(
                "http1-pipelined",
                "HTTP/1.1, mosnpy pipelining upstream",
                kind="http1-pipelined",
                beside="http1",
                targets={"envoy": 6.0},
                notes=(NO_PIPELINE,),
            ),
        ),
    ),
    Scenario(
        "h2c",
        "HTTP/2 in the clear on both sides, 10 connections of 10 streams",
        (
            HttpLoad(
                "h2c",
                "h2c → h2c, 10 connections × 10 streams",
                kind="h2c",
                protocol="h2",
                connections=10,
                streams=10,
                targets={"envoy": 5.5, "haproxy": 1.1, "nginx": 3.0},
                notes=(NGINX_H2,),
            ),
        ),
    ),
    Scenario(
        "http1-h2",
        "50 HTTP/1.1 clients, HTTP/2 upstream",
        (
            HttpLoad(
                "http1-h2",
                "HTTP/1.1 → h2c, 50 connections",
                kind="http1-h2",
                beside="http1",
                targets={"mosnpy http1": 1.0},
                notes=(NGINX_H2,),
            ),
        ),
    ),
    Scenario(
        "h2-http1",
        "HTTP/2 clients (10 × 10), HTTP/1.1 upstream",
        (
            HttpLoad(
                "h2-http1",
                "h2c → HTTP/1.1, 10 connections × 10 streams",
                kind="h2-http1",
                protocol="h2",
                connections=10,
                streams=10,
            ),
        ),
    ),
    Scenario(
        "grpc-unary",
        "gRPC calls with messages of 16 and 64 bytes, 10 connections of 10 streams",
        (
            HttpLoad(
                "grpc-unary",
                "gRPC unary, 10 connections × 10 streams",
                kind="grpc",
                protocol="h2",
                op="grpc",
                connections=10,
                streams=10,
            ),
        ),
    ),
    Scenario(
        "http1-1m",
        "HTTP/1.1 bodies of 1 MiB down and up on 8 connections",
        (
            HttpLoad(
                "http1-1m-download",
                "HTTP/1.1, 1 MiB down",
                kind="http1",
                connections=8,
                value=MIB,
                targets={"envoy": 1.4, "nginx": LEVEL},
                notes=(STREAMED,),
            ),
            HttpLoad(
                "http1-1m-upload",
                "HTTP/1.1, 1 MiB up",
                kind="http1",
                connections=8,
                value=MIB,
                op="put",
                targets={"envoy": 1.4, "nginx": LEVEL},
                notes=(STREAMED,),
            ),
        ),
    ),
    Scenario(
        "tls-http1",
        "TLS 1.3 terminated: GET of 64 bytes, keep-alive, 50 connections",
        (
            HttpLoad(
                "tls-http1",
                "TLS → HTTP/1.1, 50 connections",
                kind="tls-http1",
                tls=True,
                targets={"envoy": 3.0, "haproxy": 1.2},
            ),
        ),
    ),
    Scenario(
        "tls-h2",
        "HTTP/2 over TLS (10 × 10), HTTP/1.1 upstream",
        (
            HttpLoad(
                "tls-h2",
                "TLS, h2 → HTTP/1.1, 10 connections × 10 streams",
                kind="tls-h2",
                protocol="h2",
                tls=True,
                connections=10,
                streams=10,
            ),
        ),
    ),
    Scenario(
        "tls-handshake",
        "a new connection and a full handshake (ECDSA P-256, X25519) for each request, 16 at a time",
        (
            HttpLoad(
                "tls-handshake",
                "TLS handshake and one request",
                kind="tls-http1",
                tls=True,
                reconnect=True,
                connections=16,
                targets={"haproxy": LEVEL},
            ),
        ),
    ),
    Scenario("http-hosts", "mosnpy with 10 routes and with 10,000 hosts of 10 routes each, same load"),
    Scenario("http-tools", "wrk and h2load, the tools people know, over HTTP/1.1 and h2c"),
    Scenario("http-memory", "idle connections (HTTP/1, h2, TLS), 1,000 idle SSE clients, 100 MiB down and up"),
)
