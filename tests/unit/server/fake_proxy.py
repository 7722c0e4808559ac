"""A supervisor with everything real but the core and the configuration: run as a program by the tests beside it.

The core is Python and echoes lines. The configuration is JSON: {"listeners": {name: port}, "workers": n, "fault": text,
"loader": "die", "plan": "refuse", "admin": port, "drain_ms": n}. A line "count" is answered with the connections of this
worker so far, "pid" with the worker's pid, "hold" keeps the connection busy while draining.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import sys
from pathlib import Path
from typing import Any

import msgpack

from mosnpy.observe.layout import KINDS, Layout
from mosnpy.observe.slots import SlotRegistry
from mosnpy.server import controller, log, worker
from mosnpy.server.messages import Faulty, Loaded
from mosnpy.server.options import Options, Parts
from mosnpy.server.supervisor import Supervisor

NAMES = {
    "worker": [("polls", "C", "turns"), ("connections", "G", "open sockets")],
    "listener": [("connections_total", "C", "accepted"), ("connections_active", "G", "open")],
    "upstream": [("requests_total", "C", "requests")],
    "endpoint": [("requests_total", "C", "requests"), ("connections_active", "G", "open"), ("ejected", "G", "out")],
    "route": [("requests_total", "C", "requests")],
    "operation": [("requests_total", "C", "requests")],
    "failure": [("NONE", "--", "none"), ("NO_ROUTE", "NR", "no route")],
}
BOUNDS = [100, 1000]
SIZES = {kind: len(NAMES[kind]) for kind in KINDS}
SIZES["listener"] += 2
SIZES["upstream"] += 4
LAYOUT = Layout.of(NAMES, BOUNDS, SIZES)


class FakeCore:
    """The interface of mosnpy.core.Core over an echo server."""

    def __init__(self, row: memoryview, health: memoryview) -> None:
        self.row = row
        self.plan: dict[str, Any] = {}
        self.sockets: dict[int, socket.socket] = {}
        self.clients: dict[int, socket.socket] = {}
        self.held: set[int] = set()
        self.events: list[tuple[str, int | str | None]] = []
        self.mail: list[tuple[str, Any]] = []
        self.wake_read, self.wake_write = os.pipe()
        self.events_read, self.events_write = os.pipe()
        self.poller = select.epoll()
        self.poller.register(self.wake_read, select.EPOLLIN)
        self.stopping = self.draining = False

    def post_plan(self, plan: bytes, listeners: dict[int, int]) -> None:
        parsed = msgpack.unpackb(plan)
        if parsed.get("refuse"):
            raise ValueError("a plan nobody can build")
        self._post("plan", (parsed, listeners))

    def post_drain(self, timeout_ms: int) -> None:
        self._post("drain", timeout_ms)

    def post_stop(self) -> None:
        self._post("stop", None)

    def _post(self, kind: str, value: Any) -> None:
        self.mail.append((kind, value))
        os.write(self.wake_write, b"!")

    def run(self) -> None:
        while not self.stopping:
            self.poll(-1)

    def fileno(self) -> int:
        return self.poller.fileno()

    def events_fd(self) -> int:
        return self.events_read

    def take_events(self) -> list[tuple[str, int | str | None]]:
        os.read(self.events_read, 4096)
        events, self.events = self.events, []
        return events

    def _emit(self, name: str, value: int | None) -> None:
        self.events.append((name, value))
        os.write(self.events_write, b"!")

    def poll(self, timeout_ms: int = 0) -> int:
        found = self.poller.poll(None if timeout_ms < 0 else timeout_ms / 1000)
        for number, _ in found:
            if number == self.wake_read:
                os.read(self.wake_read, 4096)
                self._read_mail()
            elif number in self.clients:
                self._serve(number)
            else:
                self._accept(number)
        if self.draining and not self.held:
            self.draining = False
            self._emit("drained", None)
        return len(found)

    def _read_mail(self) -> None:
        mail, self.mail = self.mail, []
        for kind, value in mail:
            if kind == "plan":
                self._take_plan(*value)
            elif kind == "drain":
                self.draining = True
                for sock in self.sockets.values():
                    self.poller.unregister(sock)
                self.sockets = {}
            else:
                self.stopping = True

    def _take_plan(self, plan: dict[str, Any], listeners: dict[int, int]) -> None:
        for id in [id for id in self.sockets if id not in listeners]:
            gone = self.sockets.pop(id)
            self.poller.unregister(gone)
            gone.detach()
            self._emit("listener_removed", id)
        for id, number in listeners.items():
            if id not in self.sockets:
                self.sockets[id] = socket.socket(fileno=number)
                self.poller.register(number, select.EPOLLIN)
        self.plan = plan
        self._emit("plan", plan["generation"])

    def _accept(self, number: int) -> None:
        for id, sock in self.sockets.items():
            if sock.fileno() == number:
                with contextlib.suppress(BlockingIOError):
                    client, _ = sock.accept()
                    self.clients[client.fileno()] = client
                    self.poller.register(client, select.EPOLLIN)
                    self.row[1] += 1
                    for base in [each["stats"] for each in self.plan["listeners"] if each["id"] == id]:
                        self.row[base] += 1
                        self.row[base + 1] += 1

    def _serve(self, number: int) -> None:
        try:
            line = self.clients[number].recv(4096)
        except ConnectionError:
            line = b""
        if not line:
            self.poller.unregister(number)
            self.clients.pop(number).close()
            self.held.discard(number)
            return
        if line == b"hold\n":
            self.held.add(number)
        answers = {b"pid\n": b"%d\n" % os.getpid(), b"modules\n": " ".join(sys.modules).encode() + b"\n"}
        self.clients[number].sendall(answers.get(line, line))

    def counts(self) -> dict[str, int]:
        return {"connections": len(self.clients)}

    def close(self) -> int:
        for client in self.clients.values():
            client.close()
        self.clients.clear()
        return 0


def load(options: Options, generation: int, registry: SlotRegistry) -> Loaded | Faulty:
    source = json.loads(Path(options.sources[0]).read_text())
    if source.get("loader") == "die":
        os._exit(9)
    if "fault" in source:
        return Faulty([source["fault"]])
    registry.begin(generation)
    listeners, plan = [], []
    for name, port in source["listeners"].items():
        address = {"family": "ipv4", "host": "127.0.0.1", "port": port}
        if isinstance(port, str):
            address = {"family": "unix", "host": port, "port": 0}
        id = registry.listener(f"{address['host']}:{address['port']}")
        listeners.append({"id": id, "name": name, **address, "backlog": 16, "mode": None})
        plan.append({"id": id, "stats": registry.block("listener", name)})
    packed: bytes = msgpack.packb(
        {"generation": generation, "listeners": plan, "refuse": source.get("plan") == "refuse"}
    )
    admin = None
    if "admin" in source:
        admin = {
            "id": 0,
            "name": "admin",
            "family": "ipv4",
            "host": "127.0.0.1",
            "port": source["admin"],
            "backlog": 16,
        }
    return Loaded(
        generation, packed, listeners, registry.pack(), [], source.get("workers", 1), source.get("drain_ms", 5000),
        admin, [], [], json.dumps(source), source.get("warnings", []),
    )  # fmt: skip


def work(channel: Any, row: memoryview, health: memoryview, host: str) -> int:
    return worker.run(channel, row, health, host, FakeCore)


if __name__ == "__main__":
    options = Options(**json.loads(sys.argv[1]))
    if options.log_file:
        log.open_file(options.log_file)
    log.start("supervisor", options.log_level)
    sys.exit(Supervisor(options, Parts(LAYOUT, load, work, controller.run, lambda: None)).run())
