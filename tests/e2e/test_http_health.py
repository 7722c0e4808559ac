"""Active health checks over HTTP take endpoints out of balancing and bring them back."""

from __future__ import annotations

from typing import Any

import pytest

from mosnpy.testing.http2_server import Stream2
from mosnpy.testing.http_message import response
from mosnpy.testing.http_server import HttpPeer, Request
from mosnpy.testing.http_stage import HttpStage
from mosnpy.testing.waiting import until

CHECKS: dict[str, Any] = {"interval": "50ms", "healthy_after": 1, "unhealthy_after": 1}


class Site:
    """Scripts of one server: its name for every request, and for checks what `fit` says."""

    def __init__(self, name: str) -> None:
        self.name, self.fit, self.asked = name, True, 0

    async def http1(self, peer: HttpPeer, request: Request) -> None:
        if request.target == "/healthz":
            self.asked += 1
            await peer.send(response(200 if self.fit else 503, b""))
        else:
            await peer.send(response(200, self.name.encode()))

    async def http2(self, stream: Stream2) -> None:
        if stream.path == "/grpc.health.v1.Health/Check":
            self.asked += 1
            body = b"\0\0\0\0\2\x08" + (b"\1" if self.fit else b"\2")
            await stream.respond(200, [("content-type", "application/grpc")], body, trailers=[("grpc-status", "0")])
        elif stream.path == "/healthz":
            self.asked += 1
            await stream.respond(200 if self.fit else 503, [], b"")
        else:
            await stream.respond(200, [], self.name.encode())


@pytest.mark.parametrize(
    ("version", "health"),
    [
        ("http1", {"path": "/healthz"}),
        ("http2", {"path": "/healthz", "expect": [200, "3xx"]}),
        ("http2", {"type": "grpc", "service": "shop.Cart"}),
    ],
)
def test_an_endpoint_that_is_unfit_gets_no_requests(http: HttpStage, version: str, health: dict[str, Any]) -> None:
    sites = [Site("a"), Site("b")]
    servers = [http.server(site.http1) if version == "http1" else http.server2(site.http2) for site in sites]
    http.start({"back": servers}, health={**health, **CHECKS})
    wire = http.wire()

    def answering() -> set[str]:
        return {wire.exchange("GET", "/").text for _ in range(6)}

    assert answering() == {"a", "b"}
    sites[0].fit = False
    until(lambda: answering() == {"b"}, "the unfit endpoint to be left out")
    sites[0].fit, sites[1].fit = True, False
    until(lambda: answering() == {"a"}, "the other one to be left out")
    sites[1].fit = True
    until(lambda: answering() == {"a", "b"}, "both to be back")
    assert all(site.asked > 1 for site in sites)
