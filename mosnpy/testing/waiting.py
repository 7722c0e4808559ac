"""Waiting for conditions, never for time: every test that has to wait says what for, and fails with those words."""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

# One factor for all timeouts, so that a slow or instrumented build (ASan, valgrind) runs the same suite.
FACTOR = float(os.environ.get("MOSNPY_TESTS_TIMEOUT_FACTOR", "1"))
# And one for limits of memory: sanitizers keep freed memory back and shadow all of it.
MEMORY_FACTOR = 20 if "MOSNPY_SANITIZED" in os.environ else 1

# Ports handed out lie below the kernel's ephemeral range (32768–60999): no outgoing connection can take one between
# the moment it is chosen and the moment a server binds it.
FIRST_PORT, LAST_PORT = 12000, 32000
_ports = random.Random(os.getpid() ^ time.time_ns())
# Of test processes that run side by side (pytest-xdist's gw0, gw1, …) each has every nth port: none can take one between
# another's choice and its bind.
_STRIDE = max(1, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
_OFFSET = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _STRIDE


def until(check: Callable[[], T], what: str, timeout: float = 10.0, pause: float = 0.005) -> T:
    """Calls `check` until it answers something true and returns that. `what` completes "waited in vain for …".

    An exception of `check` other than AssertionError/OSError is no "not yet" and passes through.
    """
    end = time.monotonic() + timeout * FACTOR
    last: object = None
    while True:
        try:
            value = check()
            if value:
                return value
            last = value
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout * FACTOR:g} s in vain for {what}; last seen: {last!r}")
        time.sleep(pause)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port nobody listens on. It is free when returned; the caller binds it at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for _ in range(500):
        port = _ports.randrange(FIRST_PORT + _OFFSET, LAST_PORT, _STRIDE)
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no free port between {FIRST_PORT} and {LAST_PORT} on {host}")


def ends_with_us(signal_name: str) -> list[str]:
    """Words before a command that send it this signal when the test process dies, be it of a crash: no server is left over.

    setpriv replaces itself by the command, so the process id stays that of the child. Linux ties this to the thread that
    started it: start servers from the main thread.
    """
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", signal_name, "--"] if setpriv else []


def has_ipv6() -> bool:
    """Whether ::1 can be bound here; containers often have no IPv6 at all."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
            return True
    except OSError:
        return False
