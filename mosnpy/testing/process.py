"""`mosnpy run` as a fixture: a configuration in a temporary folder, ready when /ready says so, ended with its exit code."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from mosnpy.testing.waiting import FACTOR, ends_with_us, free_port, until

Config = Mapping[str, Any]


class ProxyProcess:
    """One supervisor with its controller and workers. stdout and stderr lie in `log`."""

    def __init__(self, directory: Path, config: Config, *, environment: Mapping[str, str] | None = None) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.file = directory / "mosnpy.yaml"
        self.log = directory / "mosnpy.log"
        self.config: dict[str, Any] = {"version": 1, "admin": {"bind": f"127.0.0.1:{free_port()}"}, **config}
        self.admin_port = int(self.config["admin"]["bind"].rsplit(":", 1)[1])
        self.environment = dict(environment or {})
        self.process: subprocess.Popen[bytes] | None = None
        self.write(self.config)

    def write(self, config: Config) -> None:
        """Replaces the configuration file; takes force with `reload()`."""
        self.config = dict(config)
        temporary = self.file.with_suffix(".new")
        temporary.write_text(yaml.safe_dump(self.config, sort_keys=False))
        temporary.replace(self.file)

    def start(self, *, wrap: tuple[str, ...] = ()) -> ProxyProcess:
        """`wrap` are words before the command, such as ("prlimit", "--nofile=64")."""
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*ends_with_us("TERM"), *wrap, sys.executable, "-m", "mosnpy", "run", str(self.file)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.environment},
            )  # fmt: skip
        until(self._ready, f"mosnpy to be ready: {self.log}", timeout=20)
        return self

    def _ready(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"mosnpy ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        return self.admin("/ready")[0] == 200

    @property
    def pid(self) -> int:
        assert self.process is not None, "the proxy is stopped"
        return self.process.pid

    def admin(self, path: str, method: str = "GET") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=10 * FACTOR)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def stats(self) -> dict[str, Any]:
        status, body = self.admin("/stats")
        assert status == 200, body
        parsed = json.loads(body)
        assert isinstance(parsed, dict)
        return parsed

    def family(self) -> list[psutil.Process]:
        """The supervisor and all below it."""
        parent = psutil.Process(self.pid)
        return [parent, *parent.children(recursive=True)]

    def children(self, role: str) -> list[psutil.Process]:
        """Those whose name begins with mosnpy-ROLE: worker or control."""
        return [process for process in self.family()[1:] if _name(process).startswith(f"mosnpy-{role}")]

    def workers(self) -> list[psutil.Process]:
        return self.children("worker")

    def worker_rss(self) -> int:
        """Resident bytes of all workers together. Pages shared with the supervisor count in each of them."""
        return sum(process.memory_info().rss for process in self.workers())

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def generation(self) -> int:
        """The plan generation all workers have taken; grows by one per reload."""
        return int(json.loads(self.admin("/ready")[1])["generation"])

    def stop(self, timeout: float = 20.0) -> int:
        """TERM, then waits for the end; the exit code. A second TERM and then KILL for one that does not end."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        family = (
            [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
            if process.poll() is None
            else []
        )
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(timeout * FACTOR)
        except subprocess.TimeoutExpired:
            for member in family:
                if member.is_running():
                    member.kill()
            process.wait(10)
            raise AssertionError(
                f"mosnpy did not end {timeout:g} s after SIGTERM:\n{self.log.read_text()[-4000:]}"
            ) from None

    def __enter__(self) -> ProxyProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""
