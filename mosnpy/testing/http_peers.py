"""nginx, HAProxy and nghttpd as fixtures: servers behind mosnpy, and proxies to compare it with.

Each runs in the foreground from a folder of its own, ready when its port answers, and ends with the test process.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

from mosnpy.testing.waiting import ends_with_us, free_port, until

_PATH = (
    os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
)  # Debian's servers lie outside an ordinary user's PATH


def own_environment() -> dict[str, str]:
    """Without the sanitizers' libraries, which a test run may preload: they are not for other people's programs."""
    return {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}


def find_program(name: str) -> str | None:
    return shutil.which(name, path=_PATH)


class PeerProcess:
    """A server process on one port."""

    program = ""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = directory / "log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> PeerProcess:
        command = self.command()
        program = find_program(command[0])
        if program is None:
            raise RuntimeError(f"{command[0]} is not installed")
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*ends_with_us("TERM"), program, *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=own_environment(),
            )
        until(self._listens, f"{command[0]} to listen on {self.port}: {self.log}")
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.program} ended with {self.process.returncode}: {self.log.read_text()[-3000:]}")
        with socket.create_connection(self.address, 1):
            return True

    def stop(self) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(5)

    def __enter__(self) -> PeerProcess:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


class Nginx(PeerProcess):
    """nginx with one server block; `body` goes into it, `http` before it. Files lie in `directory`/www."""

    program = "nginx"

    def __init__(self, directory: Path, body: str, *, listen: str = "", http: str = "") -> None:
        super().__init__(directory)
        self.www = directory / "www"
        self.www.mkdir(exist_ok=True)
        for name in ("body", "proxy", "fastcgi", "uwsgi", "scgi"):
            (directory / name).mkdir(exist_ok=True)
        paths = "client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;"
        user = "user root;" if os.geteuid() == 0 else ""
        (directory / "nginx.conf").write_text(f"""
            daemon off; master_process off; {user} pid nginx.pid; error_log error.log; worker_rlimit_nofile 8192;
            events {{ worker_connections 4000; }}
            http {{
                {paths} access_log off; client_max_body_size 0; types {{ text/plain txt; }} default_type application/octet-stream;
                {http}
                server {{ listen 127.0.0.1:{self.port} backlog=4096 {listen}; root www; {body} }}
            }}
        """)

    def command(self) -> list[str]:
        return ["nginx", "-p", str(self.directory) + "/", "-c", "nginx.conf"]


class Haproxy(PeerProcess):
    """HAProxy as a plain HTTP proxy before one server."""

    program = "haproxy"

    def __init__(self, directory: Path, server: str) -> None:
        super().__init__(directory)
        (directory / "haproxy.cfg").write_text(f"""
global
    maxconn 2000
defaults
    mode http
    timeout connect 5s
    timeout client 10s
    timeout server 10s
    timeout http-request 10s
frontend front
    bind 127.0.0.1:{self.port}
    default_backend back
backend back
    http-reuse never
    server one {server}
""")

    def command(self) -> list[str]:
        return ["haproxy", "-db", "-f", str(self.directory / "haproxy.cfg")]


class Nghttpd(PeerProcess):
    """nghttpd: HTTP/2 with prior knowledge, files from `directory`/www."""

    program = "nghttpd"

    def __init__(self, directory: Path, *options: str) -> None:
        super().__init__(directory)
        self.www = directory / "www"
        self.www.mkdir(exist_ok=True)
        self.options = options

    def command(self) -> list[str]:
        return ["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", str(self.www), *self.options, str(self.port)]
