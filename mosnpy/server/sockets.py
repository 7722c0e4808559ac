"""Listening sockets. The supervisor opens them and keeps them for its life.

TCP: one SO_REUSEPORT socket per worker, so that the kernel spreads connections and workers share no queue. They are the
supervisor's, because a worker that closed its own when it ends would reset what waits in its queue. Unix sockets know no
SO_REUSEPORT: all workers accept from the same one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from mosnpy.server.messages import ListenerSpec


class BindError(OSError):
    """An address can't be listened on; the text says which and why."""


@dataclass(slots=True)
class Listening:
    """The sockets of one listener, by worker (the same socket several times for a Unix listener)."""

    spec: ListenerSpec
    sockets: list[socket.socket]
    address: str  # as bound: with the port the kernel chose
    _inode: tuple[int, int] | None = field(default=None)

    def fileno(self, worker: int) -> int:
        return self.sockets[worker].fileno()

    def filenos(self) -> set[int]:
        return {sock.fileno() for sock in self.sockets}

    def refuse(self) -> None:
        """Nobody shall connect any more: the kernel refuses what comes, in every process that has the socket."""
        for sock in self.sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        if self._inode is not None:
            with contextlib.suppress(OSError):
                if _inode(self.spec.host) == self._inode:  # somebody else may have put theirs there since
                    os.unlink(self.spec.host)


def listen(spec: ListenerSpec, workers: int) -> Listening:
    try:
        if spec.family == "unix":
            return _listen_unix(spec, workers)
        return _listen_tcp(spec, workers)
    except OSError as error:
        raise BindError(f"listener {spec.name!r}: {spec.address}: {os.strerror(error.errno or 0).lower()}") from error


def listen_all(specs: Iterable[ListenerSpec], workers: int) -> dict[int, Listening]:
    """By listener id. All or none: BindError when one can't be had."""
    opened: dict[int, Listening] = {}
    try:
        for spec in specs:
            opened[spec.id] = listen(spec, workers)
    except OSError:
        for each in opened.values():
            each.close()
        raise
    return opened


def _listen_tcp(spec: ListenerSpec, workers: int) -> Listening:
    family = socket.AF_INET6 if spec.family == "ipv6" else socket.AF_INET
    port = spec.port
    if port:
        # SO_REUSEPORT would let a second supervisor of the same user share the port without a word.
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            _bind(probe, spec.host, port)
    sockets: list[socket.socket] = []
    try:
        for _ in range(workers):
            sock = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(sock)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _bind(sock, spec.host, port)
            port = sock.getsockname()[1]
        for sock in sockets:  # after all are bound: none takes connections for a group that isn't complete
            sock.setblocking(False)
            sock.listen(spec.backlog)
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return Listening(spec, sockets, replace(spec, port=port).address)


def _bind(sock: socket.socket, host: str, port: int) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:  # the wildcard takes clients of both families
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
    sock.bind((host, port))


def _listen_unix(spec: ListenerSpec, workers: int) -> Listening:
    remove_stale(spec.host)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Bound with no rights for others, opened up afterwards: there is no moment of too many rights.
        before = os.umask(0o177)
        try:
            sock.bind(spec.host)
        finally:
            os.umask(before)
        os.chmod(spec.host, 0o666 & ~before if spec.mode is None else spec.mode)
        sock.setblocking(False)
        sock.listen(spec.backlog)
    except OSError:
        sock.close()
        raise
    return Listening(spec, [sock] * workers, spec.address, _inode(spec.host))


def remove_stale(path: str) -> None:
    """Removes a socket file nobody listens on. OSError when it is something else, or when somebody does."""
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "the path is taken by something that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except BlockingIOError:
            pass  # its queue is full, so it lives
    raise OSError(errno.EADDRINUSE, "somebody listens on it")


def _inode(path: str) -> tuple[int, int]:
    found = os.stat(path, follow_symlinks=False)
    return found.st_dev, found.st_ino
