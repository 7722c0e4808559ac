"""A scriptable HTTP/2 client on a blocking socket: well behaved where a test says nothing, and any bytes where it does.

    with Http2Wire(address) as wire:
        answer = wire.exchange("GET", "/")                 # a whole request and its response
        first = wire.begin("POST", "/upload", end=False)   # a stream, open
        wire.data(first, b"piece")                         # waits for the window if it must
        wire.send_raw(raw_frame(DATA, 0, 0, b"x"))         # anything
        assert wire.error() == Code.PROTOCOL_ERROR         # GOAWAY's code, and the connection ends

SETTINGS and PING are answered, and windows opened again as DATA comes, unless `polite` or `windows` are False.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hyperframe.frame import DataFrame, Frame, PingFrame, SettingsFrame

from mosnpy.testing.http2_frames import (
    PREFACE,
    Code,
    Exchange2,
    H2Error,
    Link,
    ping,
    rst_stream,
    settings_frame,
    window_update,
)
from mosnpy.testing.http_message import Fields
from mosnpy.testing.resp import Address, Wire
from mosnpy.testing.waiting import FACTOR


class Ended(H2Error):
    """The connection ended when a frame was due."""


class Http2Wire(Wire):
    def __init__(
        self, address: Address, timeout: float = 10.0, receive_buffer: int = 0, *, settings: dict[int, int] | None = None,
        start: bool = True, polite: bool = True, windows: bool = True, keep_bodies: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(address, timeout, receive_buffer)
        self.link = Link(client=True, keep_bodies=keep_bodies)
        self.timeout = timeout * FACTOR
        self.polite, self.windows = polite, windows
        self.next_id = 1
        self.was_reset = False
        self.frames: list[Frame] = []  # all that came, in order
        if start:
            self.send_raw(PREFACE + settings_frame(settings))

    def __enter__(self) -> Http2Wire:
        return self

    # -- in --

    def frame(self) -> Frame:
        """The next frame; Ended when there is none."""
        while (frame := self.link.take()) is None:
            try:
                data = self.socket.recv(1 << 18)
            except ConnectionResetError:
                self.was_reset = True
                data = b""
            if not data:
                raise Ended(f"connection ended; {self.link.goaway=}")
            self.link.buffer += data
        if len(self.frames) < 10_000:
            self.frames.append(frame)
        self._answer(frame)
        return frame

    def _answer(self, frame: Frame) -> None:
        out = b""
        match frame:
            case SettingsFrame() if self.polite and "ACK" not in frame.flags:
                out = settings_frame(ack=True)
            case PingFrame() if self.polite and "ACK" not in frame.flags:
                out = ping(frame.opaque_data, ack=True)
            case DataFrame() if self.windows and frame.flow_controlled_length:
                out = window_update(0, frame.flow_controlled_length)
                if "END_STREAM" not in frame.flags:
                    out += window_update(frame.stream_id, frame.flow_controlled_length)
        if out:
            try:
                self.send_raw(out)
            except OSError:
                pass  # the peer has gone; what it sent before is still to be read

    def until(self, done: Callable[[], object], what: str) -> None:
        """Reads frames until `done()`."""
        end = time.monotonic() + self.timeout
        while not done():
            if time.monotonic() > end:
                raise TimeoutError(f"no {what}; frames: {self.frames[-20:]}")
            self.frame()

    def wait(self, stream: int) -> Exchange2:
        """The stream's response, over: ended or reset."""
        self.until(lambda: self.link.stream(stream).over, f"end of stream {stream}")
        return self.link.stream(stream)

    def wait_all(self, streams: list[int]) -> list[Exchange2]:
        return [self.wait(stream) for stream in streams]

    def head_of(self, stream: int) -> Exchange2:
        """The stream once its final head is there."""
        self.until(lambda: self.link.stream(stream).fields or self.link.stream(stream).over, f"head on {stream}")
        return self.link.stream(stream)

    def fence(self) -> None:
        """Everything sent before this was taken: PING, and its answer."""
        mark = b"%08x" % (int(time.monotonic() * 1e6) & 0xFFFFFFFF)
        self.send_raw(ping(mark))
        seen = len(self.frames)

        def answered() -> bool:
            return any(
                isinstance(frame, PingFrame) and "ACK" in frame.flags and frame.opaque_data == mark
                for frame in self.frames[seen:]
            )

        self.until(answered, "answer to PING")

    def error(self) -> Code | None:
        """Reads to the connection's end: the code of its GOAWAY, None when it ended without one."""
        try:
            while True:
                self.frame()
        except Ended:
            return None if self.link.goaway is None else Code(self.link.goaway[1])

    def alive(self) -> bool:
        try:
            self.fence()
        except (Ended, OSError):
            return False
        return self.link.goaway is None

    # -- out --

    def open_id(self) -> int:
        number, self.next_id = self.next_id, self.next_id + 2
        return number

    def fields(self, method: str, path: str, fields: tuple[tuple[str, str], ...]) -> Fields:
        own = [(":method", method), (":scheme", "http"), (":authority", "a.test"), (":path", path)]
        given = {name for name, _ in fields}
        pseudo = [pair for pair in fields if pair[0].startswith(":")]
        rest = [pair for pair in fields if not pair[0].startswith(":")]
        return [pair for pair in own if pair[0] not in given] + pseudo + rest

    def begin(self, method: str = "GET", path: str = "/", *fields: tuple[str, str], end: bool = True) -> int:
        """Opens a stream with this head and answers its number."""
        number = self.open_id()
        self.send_raw(self.link.head(number, self.fields(method, path, fields), end=end))
        self.link.stream(number)
        return number

    def data(self, stream: int, data: bytes = b"", *, end: bool = False) -> None:
        """DATA as the windows allow; reads while they don't."""
        view = memoryview(data)
        while True:
            if len(view) and self.link.room(stream) <= 0:
                self.until(lambda: self.link.room(stream) > 0 or self.link.stream(stream).reset is not None, "window")
                if self.link.stream(stream).reset is not None:
                    return
            piece = view[: max(0, min(len(view), self.link.room(stream), 1 << 16))]
            view = view[len(piece) :]
            self.send_raw(self.link.data(stream, bytes(piece), end=end and not len(view)))
            if not len(view):
                return

    def trailers(self, stream: int, fields: Fields) -> None:
        self.send_raw(self.link.head(stream, fields, end=True))

    def reset_stream(self, stream: int, code: int = Code.CANCEL) -> None:
        self.send_raw(rst_stream(stream, code))

    def exchange(
        self, method: str = "GET", path: str = "/", *fields: tuple[str, str], body: bytes | None = None,
        trailers: Fields | None = None,
    ) -> Exchange2:  # fmt: skip
        number = self.begin(method, path, *fields, end=body is None and trailers is None)
        if body is not None:
            self.data(number, body, end=trailers is None)
        if trailers is not None:
            self.trailers(number, trailers)
        return self.wait(number)
