"""Host names to numeric addresses, before a plan is made: workers never ask a resolver."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mosnpy.config.address import Address

__all__ = ["ResolvedAddress", "bindable", "resolve_hosts"]

PATIENCE = 10.0
"""Seconds all names together may take."""


class ResolvedAddress(NamedTuple):
    """family: ipv4, ipv6 or unix; host: numeric address, or the path of a Unix socket."""

    family: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.family == "ipv6" else f"{self.host}:{self.port}"


def resolve_hosts(names: Iterable[str], patience: float = PATIENCE) -> dict[str, list[ResolvedAddress] | str]:
    """Addresses (with port 0) of every name, or a sentence why there are none. All are asked at once.

    A name that has IPv4 addresses stands for these alone: a host with both families is one server, not two, and
    `localhost` must not put half of the keys of a hash ring on ::1.
    """
    found: dict[str, list[ResolvedAddress] | str] = {}

    def ask(name: str) -> None:
        found[name] = _resolve(name)

    wanted = dict.fromkeys(names)
    # Daemon threads, no pool: getaddrinfo can't be interrupted, and a resolver that hangs must not hold up the exit.
    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in wanted]
    deadline = time.monotonic() + patience
    for i, thread in enumerate(threads):
        thread.start()
        if i >= 32:
            threads[i - 32].join(max(0.0, deadline - time.monotonic()))
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return {name: found.get(name, f"no answer within {patience:g} s") for name in wanted}


def _resolve(name: str) -> list[ResolvedAddress] | str:
    try:
        answers = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return getattr(error, "strerror", None) or str(error)
    four = [str(a[4][0]) for a in answers if a[0] == socket.AF_INET]
    six = [str(a[4][0]) for a in answers if a[0] == socket.AF_INET6]
    # Sorted: resolvers rotate their answers, and a plan should not change by that.
    if four:
        return [ResolvedAddress("ipv4", host, 0) for host in sorted(set(four))]
    return [ResolvedAddress("ipv6", host, 0) for host in sorted(set(six))] or "it has no address"


def bindable(address: Address) -> ResolvedAddress | str:
    """Where to bind for a configured address, or a sentence why that can't be.

    Family "any" (of `:port`) is one socket for both families, or for IPv4 where the machine has no IPv6.
    """
    if address.family == "unix":
        return ResolvedAddress("unix", address.path, 0)
    if address.family == "any":
        return ResolvedAddress("any", "", address.port)
    if address.family != "name":
        return ResolvedAddress(address.family, address.host, address.port)
    found = resolve_hosts([address.host])[address.host]
    if isinstance(found, str):
        return f"can't resolve {address.host!r}: {found}"
    return found[0]._replace(port=address.port)
