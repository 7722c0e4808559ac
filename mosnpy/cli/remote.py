"""The admin API as a client sees it, over TCP or a Unix socket. Standard library only: it has to be quick."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import click

DEFAULT = "127.0.0.1:9901"
_TIMEOUT = 30.0  # seconds; a reload waits for every worker

F = TypeVar("F", bound=Callable[..., Any])


def admin_option(command: F) -> F:
    option = click.option(
        "--admin", envvar="MOSNPY_ADMIN", default=DEFAULT, show_default=True, metavar="ADDRESS",
        help="Where the proxy's admin API is: host:port or unix:/path. Environment: MOSNPY_ADMIN.",
    )  # fmt: skip
    return option(command)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def _connection(address: str) -> http.client.HTTPConnection:
    address = address.removeprefix("http://").rstrip("/")
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"))
    return http.client.HTTPConnection(address, timeout=_TIMEOUT)


def ask(address: str, path: str, method: str = "GET") -> tuple[int, str]:
    """(status, body). ClickException when nobody answers."""
    try:
        connection = _connection(address)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise click.ClickException(
            f"no mosnpy answers at {address}: {reason.lower()} "
            "(its configuration needs `admin:`; --admin or MOSNPY_ADMIN name the address)"
        ) from None


def ask_json(address: str, path: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    status, body = ask(address, path, method)
    try:
        value = json.loads(body)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise click.ClickException(f"what answers at {address} is no mosnpy: HTTP {status}, {body[:80]!r}")
    if status == 403:
        raise click.ClickException(f"{address} refuses: {value.get('error')}")
    return status, value
