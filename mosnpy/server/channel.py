"""Messages over a socketpair, with file descriptors beside them.

Frame: length (u32, big endian), number of descriptors (u16), then that many bytes of MessagePack. Descriptors ride on
the first byte of their frame (SCM_RIGHTS), so they have always arrived when the frame is whole. Neither side ever
blocks: what doesn't fit the socket waits in the queue.
"""

from __future__ import annotations

import array
import asyncio
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mosnpy.server.messages import Message, pack, unpack

_HEAD = struct.Struct("!IH")
MAX_FRAME = 1 << 30  # a plan of a million routes stays far below; more is a broken peer
MAX_DESCRIPTORS = 250  # the kernel takes 253 per sendmsg (SCM_MAX_FD)
_READ = 256 * 1024


class Arrived(NamedTuple):
    message: Message
    descriptors: list[int]  # owned by the receiver now


class Channel:
    """One end. `closed` turns true when the other end is gone; what it sent before is still delivered."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._out: deque[tuple[memoryview, Sequence[int]]] = deque()
        self._in = bytearray()
        self._descriptors: deque[int] = deque()
        self.closed = False

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return cls(ours), cls(theirs)

    def fileno(self) -> int:
        return self._sock.fileno()

    def close(self) -> None:
        self.closed = True
        self._sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    # -- sending --

    @property
    def pending(self) -> bool:
        """Something waits for the socket to be writable."""
        return bool(self._out)

    def send(self, message: Message, descriptors: Sequence[int] = ()) -> None:
        """Descriptors stay the caller's; they must stay open until nothing is pending."""
        if self.closed:
            return
        if len(descriptors) > MAX_DESCRIPTORS:
            raise ValueError(f"{len(descriptors)} descriptors in one message, {MAX_DESCRIPTORS} are possible")
        body = pack(message)
        self._out.append((memoryview(_HEAD.pack(len(body), len(descriptors)) + body), descriptors))
        self.flush()

    def flush(self) -> None:
        while self._out and not self.closed:
            data, descriptors = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
            try:
                sent = self._sock.sendmsg([data], rights)
            except BlockingIOError:
                return
            except OSError:  # the other end died; its reader side will say so
                self._out.clear()
                return
            if sent == len(data):
                self._out.popleft()
            else:
                self._out[0] = (data[sent:], ())

    def send_and_wait(self, message: Message) -> None:
        """For a process that has nothing else to do and ends afterwards."""
        self._sock.setblocking(True)
        self.send(message)

    # -- receiving --

    def receive(self) -> list[Arrived]:
        """Everything that has arrived whole."""
        while not self.closed and self._read():
            pass
        return list(iter(self._take, None))

    def _read(self) -> bool:
        space = socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_READ, space)
        except BlockingIOError:
            return False
        except OSError:
            data, ancillary = b"", []
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if not data:
            self.closed = True
            return False
        self._in += data
        return True

    def _take(self) -> Arrived | None:
        if len(self._in) < _HEAD.size:
            return None
        length, count = _HEAD.unpack_from(self._in)
        if length > MAX_FRAME:
            raise ValueError(f"a message of {length} bytes")
        if len(self._in) < _HEAD.size + length:
            return None
        body = bytes(memoryview(self._in)[_HEAD.size : _HEAD.size + length])
        del self._in[: _HEAD.size + length]
        return Arrived(unpack(body), [self._descriptors.popleft() for _ in range(count)])


class LoopChannel:
    """A channel served by an asyncio loop: worker and controller."""

    def __init__(self, channel: Channel, loop: asyncio.AbstractEventLoop) -> None:
        self._channel = channel
        self._loop = loop
        self._writing = False

    def start(self, arrived: Callable[[Arrived], None], gone: Callable[[], None]) -> None:
        """`gone` is called once, when the supervisor is no more."""

        def readable() -> None:
            for each in self._channel.receive():
                arrived(each)
            if self._channel.closed:
                self._loop.remove_reader(self._channel.fileno())
                gone()

        self._loop.add_reader(self._channel.fileno(), readable)

    def send(self, message: Message) -> None:
        self._channel.send(message)
        if self._channel.pending and not self._writing:
            self._writing = True
            self._loop.add_writer(self._channel.fileno(), self._writable)

    def _writable(self) -> None:
        self._channel.flush()
        if not self._channel.pending:
            self._writing = False
            self._loop.remove_writer(self._channel.fileno())

    async def flushed(self) -> None:
        """Returns when the socket has taken everything: before an exit."""
        while self._channel.pending and not self._channel.closed:
            await asyncio.sleep(0.001)
