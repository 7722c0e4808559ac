"""Addresses as the configuration writes them: `host:port`, `:port`, `[v6]:port`, `unix:/path`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

__all__ = ["Address", "bind_address", "endpoint_address"]

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?")
_UNIX_LONGEST = 107  # sizeof(sun_path) less its NUL, Linux

PATTERN = r"(unix:/.+|(\[[0-9a-fA-F:.%]+\]|[^\[\]:/\s]*):\d{1,5})"
"""Of the JSON Schema; the parsers below say more."""


@dataclass(frozen=True, slots=True)
class Address:
    """One place to listen or connect. `path` is set for Unix sockets, else host and port are.

    host: a numeric address, a name, or "" for every address of this machine, IPv4 and IPv6 (listening only).
    """

    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def family(self) -> str:
        """ "unix", "ipv4", "ipv6", or "name" for what must be resolved first, "any" for an empty host."""
        if self.path:
            return "unix"
        if not self.host:
            return "any"
        try:
            return "ipv6" if ipaddress.ip_address(self.host).version == 6 else "ipv4"
        except ValueError:
            return "name"

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.path or self.host == "localhost":
            return True
        return self.family in ("ipv4", "ipv6") and ipaddress.ip_address(self.host).is_loopback

    def clashes(self, other: Address) -> bool:
        """Whether both can't be bound at once. Port 0 never clashes; names are compared as text."""
        if self.path or other.path:
            return self.path == other.path
        if self.port != other.port or not self.port:
            return False
        if not self.host or not other.host or self.host == other.host:
            return True
        wildcard = {"ipv4": "0.0.0.0", "ipv6": "::"}
        mine, theirs = self.family, other.family
        if mine == theirs and mine in wildcard:
            return wildcard[mine] in (self.host, other.host)
        return "name" in (mine, theirs) and bool({self.host, other.host} & set(wildcard.values()))

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def bind_address(value: object) -> Address:
    """Where to listen. ValueError with a sentence when it is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise ValueError(f'{value} is only a port: write ":{value}" for every address, or 127.0.0.1:{value}')
    return _address(value, "127.0.0.1:6380", lowest=0)


def endpoint_address(value: object) -> Address:
    """Where to connect to: a host is needed. ValueError with a sentence when it is none."""
    address = _address(value, "127.0.0.1:6379", lowest=1)
    if not address.path and address.host in ("", "0.0.0.0", "::"):
        raise ValueError(f"{value!r} names no host to connect to: write 127.0.0.1:{address.port}")
    return address


def _address(value: object, example: str, lowest: int) -> Address:
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        shown = str(value).lower() if isinstance(value, bool) else value
        raise ValueError(f"an address such as {example} or unix:/path is expected here, not {shown}")
    if value.startswith("unix:"):
        return _unix(value[5:].removeprefix("//"), value)
    if "://" in value:
        raise ValueError(f"{value!r} is a URL: write the address alone, such as {example}")
    if value.startswith("["):
        host, bracket, rest = value[1:].partition("]")
        if not bracket or not rest.startswith(":"):
            raise ValueError(f"{value!r} is no address: write [v6-address]:port")
        port = rest[1:]
        host = _v6(host, value)
    else:
        host, colon, port = value.rpartition(":")
        if not colon:
            raise ValueError(f"{value!r} has no port: write {value or '127.0.0.1'}:port, or unix:/path")
        if ":" in host:
            raise ValueError(f"{value!r} is ambiguous: write an IPv6 address in brackets, [{host}]:{port}")
        if host and not _HOST.fullmatch(host):
            raise ValueError(f"{host!r} is no host name or address")
        if re.fullmatch(r"[\d.]+", host):
            _check_v4(host)
    if not re.fullmatch(r"[0-9]{1,5}", port) or not lowest <= int(port) <= 65535:
        raise ValueError(f"{port!r} is no port: a number from {lowest} to 65535 is expected")
    return Address(host.lower(), int(port))


def _check_v4(host: str) -> None:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        raise ValueError(f"{host!r} is no IPv4 address") from None


def _v6(host: str, value: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError(f"{host!r} in {value!r} is no IPv6 address") from None


def _unix(path: str, value: str) -> Address:
    if not path.startswith("/"):
        raise ValueError(f"{value!r}: the path of a Unix socket starts with /, such as unix:/run/mosnpy.sock")
    if len(path.encode()) > _UNIX_LONGEST:
        raise ValueError(f"the path of a Unix socket has at most {_UNIX_LONGEST} bytes, this one {len(path.encode())}")
    if "\0" in path:
        raise ValueError("the path of a Unix socket can't contain a NUL byte")
    return Address(path=path)
