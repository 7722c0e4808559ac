"""`fake_proxy` as a fixture: a supervisor with a core written in Python, driven over its signals and its admin API."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import mosnpy
from mosnpy.testing.waiting import FACTOR, free_port, until

PROGRAM = Path(__file__).with_name("fake_proxy.py")
# The mosnpy this test imports, installed or not.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(mosnpy.__file__).parent.parent)}


class FakeProxy:
    def __init__(self, folder: Path) -> None:
        self.file, self.log = folder / "proxy.json", folder / "log"
        self.port, self.admin_port = free_port(), free_port()
        self.config: dict[str, Any] = {"listeners": {"echo": self.port}, "workers": 2, "admin": self.admin_port}
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, **changes: Any) -> None:
        self.config = {key: value for key, value in {**self.config, **changes}.items() if value is not None}
        self.file.write_text(json.dumps(self.config))

    def start(self, wait: str = "ready:", **options: Any) -> FakeProxy:
        self.write()
        arguments = json.dumps({"sources": [str(self.file)], "log_level": "debug", **options})
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), arguments], stdout=log, stderr=log, env=ENVIRONMENT
            )
        if wait:
            self.logged(wait)
        return self

    def logged(self, text: str, count: int = 1) -> str:
        """Waits until the text stands in the log `count` times; the log."""
        until(
            lambda: self.log.read_text().count(text) >= count or self._ended(text), f"{text!r} in the log of {self.log}"
        )
        return self.log.read_text()

    def _ended(self, text: str) -> None:
        assert self.process is not None
        if self.process.poll() is not None and text not in self.log.read_text():
            raise RuntimeError(f"ended with {self.process.returncode}:\n{self.log.read_text()}")

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(20 * FACTOR)

    def children(self, name: str) -> list[psutil.Process]:
        """Those alive whose name begins with `mosnpy-<name>`; one that ends while it is looked at is no child any more."""
        assert self.process is not None
        found = []
        for child in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.name().startswith(f"mosnpy-{name}"):
                    found.append(child)
        return found

    def connect(self, port: int = 0) -> socket.socket:
        return socket.create_connection(("127.0.0.1", port or self.port), 10 * FACTOR)

    def admin(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10 * FACTOR)
        try:
            connection.request(method, path, headers=headers or {})
            response = connection.getresponse()
            body = response.read()
            is_json = "json" in (response.getheader("Content-Type") or "")
            return response.status, json.loads(body) if is_json else body.decode()
        finally:
            connection.close()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            family = psutil.Process(self.process.pid).children()
            self.process.kill()
            self.process.wait()
            for child in family:
                until(lambda child=child: not child.is_running() or child.status() == "zombie", "orphans to end")


def ask(sock: socket.socket, line: bytes) -> bytes:
    sock.sendall(line)
    return sock.makefile("rb").readline()


@pytest.fixture
def fake_proxy(tmp_path: Path) -> Iterator[FakeProxy]:
    proxy = FakeProxy(tmp_path)
    yield proxy
    proxy.end()
