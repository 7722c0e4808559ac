"""Everything one HTTP test needs: upstreams, a mosnpy before them in this process, clients; and their end.

    def test_it(http: HttpStage) -> None:
        server = http.server(answer(b"hello"))
        http.start(server)
        assert http.wire().exchange("GET", "/").text == "hello"

`close()` ends the clients, waits until the proxy has no stream and no client left, stops it and counts what it leaks, then
ends the upstreams, which complain about errors in their scripts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from mosnpy.testing.embedded import EmbeddedProxy
from mosnpy.testing.http2_server import Http2Server, Script2
from mosnpy.testing.http2_wire import Http2Wire
from mosnpy.testing.http_message import Message
from mosnpy.testing.http_server import HttpServer, Script
from mosnpy.testing.http_wire import HttpWire
from mosnpy.testing.resp import Address, Wire

Server = HttpServer | Http2Server


def http_config(
    servers: Server | Mapping[str, Server | Sequence[Server]], *, bind: str = "127.0.0.1:0",
    protocol: str | list[str] = "http", routes: list[dict[str, Any]] | None = None, timeout: str = "",
    http: dict[str, Any] | None = None, listener: dict[str, Any] | None = None, **upstream: Any,
) -> dict[str, Any]:  # fmt: skip
    """One listener `front`. `servers`: one, which becomes the upstream `back`, or several by name; options are of each."""
    named = servers if isinstance(servers, Mapping) else {"back": servers}
    upstreams: dict[str, Any] = {}
    for name, members in named.items():
        group = [members] if isinstance(members, HttpServer | Http2Server) else list(members)
        kind = "http2" if isinstance(group[0], Http2Server) else "http1"
        upstreams[name] = {"protocol": kind, "endpoints": [member.endpoint for member in group], **upstream}
    if routes is None:
        routes = [{"to": next(iter(named)), **({"timeout": timeout} if timeout else {})}]
    front = {
        "bind": bind,
        "protocol": protocol,
        "routes": routes,
        **({"http": http} if http else {}),
        **(listener or {}),
    }
    return {"listeners": {"front": front}, "upstreams": upstreams}


def seen(answer: Any) -> dict[str, Any]:
    """What the upstream's `echo` script says it received; `answer` is a response of either client."""
    assert answer.status == 200, answer
    text = answer.text if isinstance(answer, Message) else bytes(answer.body).decode()
    found: dict[str, Any] = json.loads(text)
    found["fields"] = [(str(name), str(value)) for name, value in found["fields"]]
    return found


def field_values(found: dict[str, Any], name: str) -> list[str]:
    """The values of a field as the upstream received them, in order."""
    return [value for key, value in found["fields"] if key.lower() == name.lower()]


class HttpStage:
    def __init__(self) -> None:
        self.servers: list[Server] = []
        self.proxy: EmbeddedProxy | None = None
        self.counted = True  # False: the test leaves clients of its own open, so counters are not waited for

    def server(self, script: Script | None = None) -> HttpServer:
        server = HttpServer(script).start()
        self.servers.append(server)
        return server

    def server2(self, script: Script2 | None = None, **options: Any) -> Http2Server:
        server = Http2Server(script, **options).start()
        self.servers.append(server)
        return server

    def start(self, servers: Server | Mapping[str, Any] | None = None, **options: Any) -> EmbeddedProxy:
        """The proxy before `servers` (the first one made, if none are given); `options` as http_config takes them."""
        config = http_config(servers if servers is not None else self.servers[0], **options)
        return self.start_config(config)

    def start_config(self, config: dict[str, Any]) -> EmbeddedProxy:
        assert self.proxy is None, "one proxy a stage"
        self.proxy = EmbeddedProxy(config).start()
        return self.proxy

    @property
    def address(self) -> Address:
        assert self.proxy is not None, "start() comes first"
        return self.proxy.address()

    def wire(self, **options: Any) -> HttpWire:
        return HttpWire(self.address, **options)

    def wire2(self, **options: Any) -> Http2Wire:
        return Http2Wire(self.address, **options)

    def quiet(self) -> None:
        """No stream is open and no client is connected any more; the test's own clients are closed first."""
        Wire.close_opened()
        if self.proxy is not None:
            self.proxy.quiet()

    def close(self) -> None:
        Wire.close_opened()
        proxy, self.proxy = self.proxy, None
        try:
            if proxy is not None:
                try:
                    if self.counted:
                        proxy.quiet()
                finally:
                    proxy.stop()
        finally:
            for server in self.servers:
                server.stop()
