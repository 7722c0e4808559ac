"""A front: an address a test script talks to, either a server itself or mosnpy before it.

Tests are written once against a front and run against both. What passes straight at the server is a true statement
about the protocol; what then fails through the proxy is the proxy's fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import redis

from mosnpy.testing.resp import Address, Wire
from mosnpy.testing.waiting import FACTOR

if TYPE_CHECKING:
    from mosnpy.testing.process import ProxyProcess
    from mosnpy.testing.redis_server import RedisServer


class Front:
    def __init__(self, address: Address, servers: Sequence[RedisServer], proxy: ProxyProcess | None = None) -> None:
        self.address, self.servers, self.proxy = address, list(servers), proxy
        self._open: list[Wire | redis.Redis] = []

    def __repr__(self) -> str:
        return f"<front {'proxy' if self.proxy else 'direct'} {self.address}>"

    @property
    def is_proxy(self) -> bool:
        return self.proxy is not None

    @property
    def server(self) -> RedisServer:
        """The first (often only) server behind the front, for looking at it past the proxy."""
        return self.servers[0]

    def wire(self, protocol: int = 2, *, timeout: float = 10.0, receive_buffer: int = 0) -> Wire:
        """A raw connection, closed when the test ends; `protocol` 3 has said HELLO 3."""
        wire = Wire(self.address, timeout, receive_buffer)
        self._open.append(wire)
        if protocol == 3:
            wire.hello(3)
        return wire

    def wires(self, count: int, protocol: int = 2) -> list[Wire]:
        return [self.wire(protocol) for _ in range(count)]

    def client(self, **options: Any) -> redis.Redis:
        """redis-py with its defaults (RESP3 since version 8), and a timeout."""
        options.setdefault("socket_timeout", 10 * FACTOR)
        if isinstance(self.address, str):
            client = redis.Redis(unix_socket_path=self.address, **options)
        else:
            client = redis.Redis(host=self.address[0], port=self.address[1], **options)
        self._open.append(client)
        return client

    def close(self) -> None:
        for connection in self._open:
            connection.close()
        self._open.clear()
