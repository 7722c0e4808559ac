"""Resident memory of a proxy's worker under HTTP: per idle connection (HTTP/1.1, HTTP/2, TLS), with 1,000 clients that wait
for server-sent events, and at its peak while 100 MiB pass in either direction or are not read by the one who asked.

Each is measured on a worker freshly started and warmed up by the load its kind belongs to.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .load import MIB, HttpLoad, Load
from .measure import Entry, backend, run_load
from .process import Cores, cpu, rss_kib
from .proxies import Running
from .report import Fact, label

SSE_CLIENTS = 1_000
BODY = 100 * MIB
WANTED_RSS_MIB = 57.2  # 60 MB
STILL_S = 0.5  # nothing has moved for so long: a transfer nobody reads has come to rest
WARM_REQUESTS = 20_000
GET = b"GET /bench/idle HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"
SSE = b"GET /bench/sse HTTP/1.1\r\nHost: bench.example.com\r\nAccept: text/event-stream\r\n\r\n"


@dataclass(frozen=True)
class Idle:
    """A kind of connection that is counted."""

    about: str
    load: HttpLoad
    clients: int
    wanted_kib: float
    ask: Callable[[int], socket.socket]


def _read_until(conn: socket.socket, complete: Callable[[bytes], bool]) -> None:
    received = b""
    while not complete(received):
        part = conn.recv(65536)
        if not part:
            raise ConnectionError("closed before the reply was complete")
        received += part


def _h1_complete(received: bytes) -> bool:
    head, found, body = received.partition(b"\r\n\r\n")
    if found and not head.startswith(b"HTTP/1.1 200"):
        raise ConnectionError(f"answered {head[:60]!r}")
    return bool(found) and len(body) >= 64


def _ask_h1(port: int) -> socket.socket:
    conn = socket.create_connection(("127.0.0.1", port), 5)
    conn.sendall(GET)
    _read_until(conn, _h1_complete)
    return conn


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


# GET, http, /bench/idle, bench.example.com: static table entries and plain literals (RFC 7541)
_BLOCK = b"\x82\x86\x04\x0b/bench/idle\x01\x11bench.example.com"
_H2_REQUEST = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0) + _frame(1, 5, 1, _BLOCK)


def _h2_complete(received: bytes) -> bool:
    """Whether stream 1 has ended."""
    at = 0
    while at + 9 <= len(received):
        length, kind, flags = int.from_bytes(received[at : at + 3], "big"), received[at + 3], received[at + 4]
        if kind in (3, 7):
            raise ConnectionError("reset or sent away")
        if kind in (0, 1) and flags & 1 and len(received) >= at + 9 + length:
            return True
        at += 9 + length
    return False


def _ask_h2(port: int) -> socket.socket:
    conn = socket.create_connection(("127.0.0.1", port), 5)
    conn.sendall(_H2_REQUEST)
    _read_until(conn, _h2_complete)
    conn.sendall(_frame(4, 1, 0))
    return conn


def _tls_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context


_TLS = _tls_context()


def _ask_tls(port: int) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), 5)
    conn = _TLS.wrap_socket(plain, server_hostname="bench.example.com")
    conn.sendall(GET)
    _read_until(conn, _h1_complete)
    return conn


IDLE = (
    Idle("HTTP/1.1", HttpLoad("idle-http1", "", kind="http1"), 5_000, 4.0, _ask_h1),
    Idle("HTTP/2", HttpLoad("idle-h2", "", kind="h2c", protocol="h2", connections=10, streams=10), 5_000, 8.0, _ask_h2),
    Idle("TLS", HttpLoad("idle-tls", "", kind="tls-http1", tls=True), 2_000, 20.0, _ask_tls),
)


def _ask_sse(port: int, stack: contextlib.ExitStack) -> None:
    """All ask before any reads: some proxies hold a lone event back for 200 ms."""
    clients = []
    for _ in range(SSE_CLIENTS):
        conn = stack.enter_context(socket.create_connection(("127.0.0.1", port), 5))
        conn.sendall(SSE)
        clients.append(conn)
    for conn in clients:
        _read_until(conn, lambda received: b"data: hello" in received)


# ---- weighing ----


def _warm(running: Running, load: Load, cores: Cores) -> int:
    """Serves requests; the pid of the process that did."""
    before = {pid: cpu([pid]).run for pid in running.pids}
    figures = run_load(load, running.port, running.pids, cores, 0.1, 5, requests=WARM_REQUESTS)
    if figures["failure"]:
        raise RuntimeError(str(figures["failure"]))
    return max(running.pids, key=lambda pid: cpu([pid]).run - before[pid])


def _clients(count: int, ask: Callable[[int], socket.socket], port: int, stack: contextlib.ExitStack) -> None:
    for _ in range(count):
        stack.enter_context(ask(port))


def _restart_peak(pid: int) -> None:
    """Linux then counts VmHWM from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:"))


def _stalled_download(port: int, pid: int) -> None:
    """Asks for the big body and reads nothing of it until the proxy has done all it will."""
    with socket.create_connection(("127.0.0.1", port), 5) as conn:
        conn.sendall(GET)
        seen, since = -1, time.monotonic()
        while time.monotonic() - since < STILL_S:
            time.sleep(0.05)  # looking at another process; what is waited for is that it rests
            now = cpu([pid]).run
            if now - max(seen, 0) > 1_000_000 or seen < 0:
                seen, since = now, time.monotonic()


@contextmanager
def _served(
    entries: Callable[[str], list[Entry]], proxy: str, kind: str, value: int, cores: Cores, directory: Path
) -> Iterator[Running]:
    """One proxy of this kind, freshly started in front of the stub."""
    entry = next(each for each in entries(kind) if each.name == proxy)
    try:
        with backend(value, cores, directory, "backend_http") as upstream:
            yield entry.ready(upstream)
    finally:
        entry.stop()


def _weigh(
    entries: Callable[[str], list[Entry]], proxy: str, cores: Cores, directory: Path, tell: Callable[[str], None]
) -> Iterator[Fact]:
    own, who = proxy == "mosnpy", label(proxy)
    for idle in IDLE:
        tell(f"memory: {proxy}, idle {idle.about}")
        with _served(entries, proxy, idle.load.kind, 64, cores, directory) as running, contextlib.ExitStack() as stack:
            worker = _warm(running, idle.load, cores)
            _clients(100, idle.ask, running.port, stack)  # the first ones also fill pools
            before = rss_kib(worker)
            _clients(idle.clients, idle.ask, running.port, stack)
            each = (rss_kib(worker) - before) / idle.clients
        about, wanted = f"{who}: worker RSS per idle {idle.about} connection", idle.wanted_kib if own else None
        yield Fact(about, each, "KiB", wanted, f"{idle.clients:,} clients")
    tell(f"memory: {proxy}, server-sent events")
    with _served(entries, proxy, "http1", 64, cores, directory) as running, contextlib.ExitStack() as stack:
        worker = _warm(running, IDLE[0].load, cores)
        _ask_sse(running.port, stack)
        about = f"{who}: worker RSS with {SSE_CLIENTS:,} idle SSE clients"
        yield Fact(about, rss_kib(worker) / 1024, "MiB", WANTED_RSS_MIB if own else None)
    yield from _bodies(entries, proxy, cores, directory, tell)


def _bodies(
    entries: Callable[[str], list[Entry]], proxy: str, cores: Cores, directory: Path, tell: Callable[[str], None]
) -> Iterator[Fact]:
    """Peaks while big bodies pass. The worker is the process that a first, unmeasured download made run."""
    big = HttpLoad("big", "", kind="http1", connections=1, value=BODY)
    up = HttpLoad("big", "", kind="http1", connections=1, value=BODY, op="put")
    with _served(entries, proxy, "http1", BODY, cores, directory) as running:

        def transfer(load: HttpLoad) -> None:
            figures = run_load(load, running.port, running.pids, cores, 0.0, 10, requests=3)
            if figures["failure"]:
                raise RuntimeError(str(figures["failure"]))

        before = {pid: cpu([pid]).run for pid in running.pids}
        transfer(big)
        worker = max(running.pids, key=lambda pid: cpu([pid]).run - before[pid])
        acts: dict[str, Callable[[], None]] = {
            "100 MiB down": lambda: transfer(big),
            "100 MiB up": lambda: transfer(up),
            "100 MiB asked for and not read": lambda: _stalled_download(running.port, worker),
        }
        for about, act in acts.items():
            tell(f"memory: {proxy}, {about}")
            _restart_peak(worker)
            act()
            wanted = WANTED_RSS_MIB if proxy == "mosnpy" else None
            yield Fact(f"{label(proxy)}: peak worker RSS, {about}", _peak_kib(worker) / 1024, "MiB", wanted)


def compare(
    entries: Callable[[str], list[Entry]], cores: Cores, directory: Path, tell: Callable[[str], None]
) -> list[Fact]:
    """All of it for every proxy that is one: the relay keeps nothing and is left out."""
    facts: list[Fact] = []
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for proxy in [entry.name for entry in entries("tls-http1")]:
        try:
            facts.extend(_weigh(entries, proxy, cores, directory, tell))
        except (RuntimeError, OSError, StopIteration) as problem:
            facts.append(Fact(f"{label(proxy)}: memory", 0, "", None, f"not measured: {problem}"))
    return facts
