"""A real redis-server as a fixture: own directory, no persistence, ready when it answers.

Every server knows a user `harness` with all rights; the fixture's own connection uses it, so that a test may restrict
or break the default user at will and `clean()` still brings the server back.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mosnpy.testing.resp import Closed, Node, Wire, Word, parse
from mosnpy.testing.waiting import ends_with_us, free_port, until

BINARY = shutil.which("redis-server")
_DEFAULT_USER = "default reset on nopass sanitize-payload ~* &* +@all"


class RedisServer:
    """One running server. Both `address` (TCP) and `path` (Unix socket) lead to it."""

    def __init__(self, directory: Path, *, options: Sequence[str] = (), host: str = "127.0.0.1") -> None:
        if BINARY is None:
            raise RuntimeError("redis-server is not installed (Debian: apt install redis-server)")
        self.directory = directory
        self.directory.mkdir(parents=True, exist_ok=True)
        self.host, self.port = host, free_port(host)
        self.path = str(directory / "redis.sock")  # a Unix socket's path is limited to 107 bytes
        self.options = list(options)
        self.process: subprocess.Popen[bytes] | None = None
        self._protected = False  # the default user has had a password
        self._wire: Wire | None = None
        self.start()

    @property
    def address(self) -> tuple[str, int]:
        return self.host, self.port

    @property
    def endpoint(self) -> str:
        """The address as a configuration writes it."""
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server is stopped"
        return self.process.pid

    def start(self) -> None:
        arguments = [
            *ends_with_us("KILL"), str(BINARY), "--port", str(self.port), "--bind", self.host, "--unixsocket", self.path,
            "--save", "", "--appendonly", "no", "--dir", str(self.directory), "--daemonize", "no",
            "--logfile", str(self.directory / "redis.log"), "--maxclients", "10000", "--tcp-backlog", "511",
            "--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0",
            "--user", "harness", "on", ">harness", "~*", "&*", "+@all", *self.options,
        ]  # fmt: skip
        with open(self.directory / "redis.err", "wb") as errors:
            self.process = subprocess.Popen(arguments, stdout=errors, stderr=errors)
        until(self._answers, f"redis-server on {self.port} to answer (see {self.directory})")

    def _answers(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            log = (self.directory / "redis.err").read_text() + (self.directory / "redis.log").read_text()
            raise RuntimeError(f"redis-server ended with {self.process.returncode}: {log[-2000:]}")
        with Wire(self.path, timeout=1) as wire:
            return wire.ask("AUTH", "harness", "harness") == b"+OK\r\n"

    def command(self, *words: Word) -> Node:
        """One command as `harness` on the fixture's own connection, which doesn't pass any proxy."""
        if self._wire is None:
            self._wire = Wire(self.path, timeout=20, keep=True)
            self._wire.ok("AUTH", "harness", "harness")
            self._wire.ok("CLIENT", "SETNAME", "harness")
        try:
            return parse(self._wire.ask(*words))
        except (Closed, BrokenPipeError):
            self._wire.close()
            self._wire = None
            raise

    def text(self, *words: Word) -> str:
        return (self.command(*words).value or b"").decode()

    def number(self, *words: Word) -> int:
        return int(self.command(*words).value or b"0")

    def info(self, section: str) -> dict[str, str]:
        lines = self.text("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def clients(self) -> list[dict[str, str]]:
        """CLIENT LIST without the fixture's own connection."""
        rows = [
            dict(word.split("=", 1) for word in line.split(" ")) for line in self.text("CLIENT", "LIST").splitlines()
        ]
        return [row for row in rows if row["name"] != "harness"]

    def connections_received(self) -> int:
        return int(self.info("stats")["total_connections_received"])

    def calls(self, command: str) -> int:
        """How often the server ran `command` since CONFIG RESETSTAT."""
        line = self.info("commandstats").get(f"cmdstat_{command.lower()}", "calls=0")
        return int(line.split(",")[0].removeprefix("calls="))

    def clean(self) -> None:
        """Back to an empty server with its default user: what every test starts from."""
        assert self._wire is not None or self.command("PING")
        for words in (
            ("CLIENT", "UNPAUSE"), ("FLUSHALL", "SYNC"), ("SCRIPT", "FLUSH", "SYNC"), ("FUNCTION", "FLUSH", "SYNC"),
            ("CONFIG", "RESETSTAT"), ("ACL", "LOG", "RESET"), ("SLOWLOG", "RESET"), ("LATENCY", "RESET"),
            ("ACL", "SETUSER", *_DEFAULT_USER.split()), ("CONFIG", "SET", "requirepass", ""),
        ):  # fmt: skip
            node = self.command(*words)
            assert not node.is_error, (words, node)
        for member in self.command("ACL", "USERS").members:
            if member.value not in (b"default", b"harness"):
                self.command("ACL", "DELUSER", member.value or b"")
        if self._protected:  # HELLO is refused to connections made while there was a password
            self._protected = False
            self._drop_clients()

    def protect(self, password: str) -> None:
        """Gives the default user a password, and closes the connections that were let in without one: Redis keeps those."""
        self._protected = True
        self.command("ACL", "SETUSER", "default", "resetpass", f">{password}")
        self._drop_clients()

    def _drop_clients(self) -> None:
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts and acknowledges, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9: no farewell, replies in flight are cut."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)  # a frozen server couldn't act on SIGTERM
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
        self.process = None

    def restart(self) -> None:
        """Stopped and started on the same port; the data is gone."""
        self.kill()
        self.start()

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
