"""What the demo starts: servers, the configuration, the proxy. Everything lies in one temporary folder and ends with it."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from mosnpy.cli.launch import command, python
from mosnpy.server.options import Options

_FIRST_PORT, _LAST_PORT = 12000, 32000  # below the ports the kernel gives to outgoing connections
_PATIENCE = 20.0  # seconds for anything to start or end

_CONFIG = """\
version: 1
admin: 127.0.0.1:{admin}
listeners:
  cache:
    bind: 127.0.0.1:{cache}
    protocol: redis
    routes:
      - match: {{redis.command: [KEYS, FLUSHALL]}}  # dear, dangerous
        reply: {{error: "ERR disabled by the operator"}}
      - match: {{redis.key: "session:*"}}           # a server of their own
        to: sessions
        timeout: 250ms
      - to: main
  web:
    bind: 127.0.0.1:{web}
    protocol: http                                # HTTP/1 and HTTP/2
    routes:
      - match: {{path: /admin}}
        reply: {{status: 403, body: not from here}}
      - match: {{path: "/old/*"}}
        redirect: {{status: 301, prefix: /}}
      - match: {{path: "/v1/*"}}
        to: site
        rewrite: {{prefix: /}}
        request_headers: {{set: {{x-client: "%client_ip%"}}}}
      - to: site
upstreams:
  main:                                           # two shards; keys by hash
    protocol: redis
    lb: ring_hash
    endpoints: [127.0.0.1:{shard1}, 127.0.0.1:{shard2}]
    health: {{interval: 1s}}
  sessions:
    protocol: redis
    endpoints: [127.0.0.1:{store}]
    health: {{interval: 1s}}
  site:
    protocol: http1
    endpoints: [127.0.0.1:{site}]
    health: {{path: /, interval: 1s}}
"""


class StageError(Exception):
    """Something of the demo can't be started."""


def free_port() -> int:
    for _ in range(1000):
        port = random.randrange(_FIRST_PORT, _LAST_PORT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise StageError("no free port")


class Stage:
    def __init__(self, workers: int) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="mosnpy-demo-"))
        self._processes: list[subprocess.Popen[bytes]] = []
        self._workers = workers
        names = ("admin", "cache", "web", "shard1", "shard2", "store", "site")
        self.ports = {name: free_port() for name in names}
        self.config = _CONFIG.format(**self.ports)
        self._binary = shutil.which("redis-server")
        self.servers = "redis-server" if self._binary else "mosnpy's in-memory stand-ins (no redis-server installed)"

    def __enter__(self) -> Stage:
        try:
            for name in ("shard1", "shard2", "store"):
                self._start_server(self.ports[name])
            self._start_site(self.ports["site"])
            self._start_proxy()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _start_server(self, port: int) -> None:
        arguments = [*python("mosnpy.cli.demo_redis"), str(port)]
        if self._binary:
            arguments = [
                self._binary, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--dir", str(self._folder), "--loglevel", "warning",
            ]  # fmt: skip
        process = self._start(f"server-{port}.log", arguments)
        self._until(lambda: _answers(port), process, f"the server on port {port}")

    def _start_site(self, port: int) -> None:
        process = self._start("site.log", [*python("mosnpy.cli.demo_http"), str(port)])
        self._until(lambda: _listens(port), process, f"the web server on port {port}")

    def _start_proxy(self) -> None:
        file = self._folder / "demo.yaml"
        file.write_text(self.config)
        _, arguments, environment = command(Options([str(file)], self._workers))
        process = self._start("proxy.log", arguments, environment)
        self._until(lambda: self.ask("/ready") is not None, process, "the proxy")

    def _start(
        self, log: str, arguments: list[str], environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """In a session of its own: Ctrl-C is for us, and we end the others in order."""
        path = self._folder / log
        with open(path, "wb") as output:
            process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def _until(self, check: Callable[[], bool], process: subprocess.Popen[bytes], what: str) -> None:
        end = time.monotonic() + _PATIENCE
        while not check():
            if process.poll() is not None or time.monotonic() > end:
                raise StageError(f"{what} did not start:\n{self.logs()}")
            time.sleep(0.01)

    def logs(self) -> str:
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob("*.log")))

    def ask(self, path: str) -> dict[str, Any] | None:
        """The admin API's answer, None while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["admin"], timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = json.loads(answer.read())
            return body if answer.status == 200 and isinstance(body, dict) else None
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()

    def close(self) -> None:
        """The proxy first, which drains; then the servers."""
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        shutil.rmtree(self._folder, ignore_errors=True)


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as sock:
            sock.sendall(b"PING\r\n")
            return sock.recv(100).startswith(b"+PONG")
    except OSError:
        return False


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
