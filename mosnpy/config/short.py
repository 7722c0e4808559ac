"""A proxy in one line: `mosnpy proxy --from redis://:6380 --to redis://127.0.0.1:6379`, as a configuration.

scheme://[user:password@]host:port        redis, http or tcp; the port may be left out where the protocol has one of its own
scheme+unix:///path, unix:///path         a Unix socket; plain `unix` takes the scheme of the other side

Towards servers also rediss and https (TLS with the system's authorities) and h2c (HTTP/2 without TLS). A listener needs a
certificate for TLS, and so a configuration file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mosnpy.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["from_urls", "without_passwords"]

_PORTS = {"redis": 6379, "rediss": 6379, "http": 80, "https": 443, "h2c": 80, "tcp": None}
_FAMILIES = {"rediss": "redis", "https": "http", "h2c": "http"}  # scheme -> that of the listener before it
_UPSTREAMS = {"http": "http1", "https": "http1", "h2c": "http2", "rediss": "redis"}
_OTHERS = {
    "valkey": "write redis://, the protocol is the same",
    "grpc": "write http:// on this side and h2c:// towards the servers",
    "ws": "write http://, upgrades are part of it",
    "redis-cluster": "Redis Cluster is not possible in this version: name plain servers with redis://",
    "redis-sentinel": "Sentinel is not possible in this version: name plain servers with redis://",
}


@dataclass(frozen=True, slots=True)
class _Url:
    text: str
    scheme: str  # "" = that of the other side
    address: str
    user: str
    password: str


def from_urls(
    listen: str,
    targets: Sequence[str],
    *,
    workers: int | str | None = None,
    admin: str | None = None,
    lb: str | None = None,
) -> dict[str, Any]:
    """The configuration these URLs stand for, as plain data for load_mapping() and to_yaml().

    Several targets are endpoints of one upstream. workers, admin, lb: put in as they are. Raises ConfigError.
    """
    front = _parse(listen, listening=True)
    back = [_parse(target, listening=False) for target in targets]
    if not back:
        raise ConfigError("a proxy needs at least one --to")
    families = {_FAMILIES.get(url.scheme, url.scheme) for url in (front, *back) if url.scheme}
    if len(families) > 1:
        raise ConfigError(f"all sides must speak the same protocol, these speak {' and '.join(sorted(families))}")
    if not families:
        raise ConfigError("unix:// doesn't say the protocol: write redis+unix:// or tcp+unix:// on one side")
    protocol = families.pop()
    if front.scheme in _FAMILIES:
        why = (
            "HTTP/2 is part of http://"
            if front.scheme == "h2c"
            else "TLS needs a certificate: write a configuration file"
        )
        raise ConfigError(f"{front.scheme}:// can't be listened on: {why}")
    schemes = {url.scheme for url in back if url.scheme} or {protocol}
    if len(schemes) > 1:
        raise ConfigError(f"all endpoints must speak the same, these speak {' and '.join(sorted(schemes))}")
    scheme = schemes.pop()
    listener: dict[str, Any] = {"bind": front.address, "protocol": protocol, "to": "main"}
    upstream: dict[str, Any] = {"protocol": _UPSTREAMS.get(scheme, scheme), "endpoints": [url.address for url in back]}
    if scheme in ("https", "rediss"):
        upstream["tls"] = {}
    if lb is not None:
        upstream["lb"] = lb
    for part, login in ((listener, _login([front], listening=True)), (upstream, _login(back, listening=False))):
        if login and protocol != "redis":
            raise ConfigError(f"{protocol} has no user and password")
        if login:
            part["auth"] = login
    whole: dict[str, Any] = {"version": 1}
    whole |= {key: value for key, value in (("workers", workers), ("admin", admin)) if value is not None}
    return {**whole, "listeners": {"front": listener}, "upstreams": {"main": upstream}}


def without_passwords(mapping: dict[str, Any]) -> dict[str, Any]:
    """A copy to show: passwords are replaced by a reference to an environment variable to put them in."""

    def clean(value: Any, side: str) -> Any:
        if not isinstance(value, dict):
            return value
        hidden = {
            key: f"${{{side}_PASSWORD}}"
            if key == "password"
            else {name: f"${{{name.upper()}_PASSWORD}}" for name in inner}
            for key, inner in value.items()
            if key in ("password", "users")
        }
        return {**{key: clean(inner, side) for key, inner in value.items()}, **hidden}

    return {key: clean(value, "UPSTREAM" if key == "upstreams" else "FRONT") for key, value in mapping.items()}


def _login(urls: Sequence[_Url], listening: bool) -> dict[str, Any]:
    logins = {(url.user, url.password) for url in urls}
    if len(logins) > 1:
        raise ConfigError("the endpoints of one upstream share user and password: write them in every --to, or in none")
    user, password = logins.pop()
    if user and not password:
        raise ConfigError(f"{urls[0].text!r} has a user but no password: write user:password@, or :password@")
    if not password:
        return {}
    if listening:
        return {"users": {user: password}} if user else {"password": password}
    return {"username": user, "password": password} if user else {"password": password}


def _parse(text: str, listening: bool) -> _Url:
    if "://" not in text:
        raise ConfigError(f"{text!r} is no URL: write redis://{text or '127.0.0.1:6379'} or tcp://…")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"{text!r} is no URL: {error}") from None
    scheme, plus, kind = parts.scheme.partition("+")
    unix = kind == "unix" or scheme == "unix"
    if scheme == "unix":
        scheme = ""
    elif scheme not in _PORTS or (plus and not unix):
        why = _OTHERS.get(parts.scheme, f"known are {', '.join(f'{name}://' for name in _PORTS)} and unix://")
        raise ConfigError(f"{parts.scheme}:// can't be used: {why}")
    if parts.query or parts.fragment:
        raise ConfigError(f"{text!r}: options behind ? or # are not possible here, write a configuration file")
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    if unix:
        if not parts.path.startswith("/") or parts.hostname:
            raise ConfigError(f"{text!r}: a Unix socket is written unix:///path, with three slashes")
        return _Url(text, scheme, f"unix:{unquote(parts.path)}", user, password)
    if parts.path.strip("/"):
        why = "paths are passed on as they come"
        if _FAMILIES.get(scheme, scheme) == "redis":
            why = "a database can't be chosen for all clients, they SELECT theirs"
        raise ConfigError(f"{text!r}: {why}: leave {parts.path} out")
    host = parts.hostname or ""
    if not host and not listening:
        raise ConfigError(f"{text!r} names no host to connect to")
    port = _PORTS[scheme] if port is None else port
    if port is None:
        raise ConfigError(f"{text!r} has no port, and {scheme} has no usual one")
    return _Url(text, scheme, f"[{host}]:{port}" if ":" in host else f"{host}:{port}", user, password)
