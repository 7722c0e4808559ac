"""HTTP/2 frames for tests: what both scripted peers, client and server, know of the wire.

Frames are hyperframe's, header blocks hpack's; `raw_frame` makes those that neither library would. `Link` keeps what a
connection must: the compression contexts, both directions' windows, and the messages that arrive.

Specification: RFC 9113; numbers of errors and settings in §7 and §6.5.2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum

import hpack
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from mosnpy.testing.http_message import FieldAccess, Fields
from mosnpy.testing.resp import WireError

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_WINDOW = 65_535
MAX_WINDOW = 2**31 - 1


class Code(IntEnum):
    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11
    INADEQUATE_SECURITY = 12
    HTTP_1_1_REQUIRED = 13


class Setting(IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5
    MAX_HEADER_LIST_SIZE = 6
    ENABLE_CONNECT_PROTOCOL = 8


DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITIZED = 0x1, 0x1, 0x4, 0x8, 0x20


def raw_frame(kind: int, flags: int, stream: int, payload: bytes = b"", *, length: int | None = None) -> bytes:
    """A frame byte for byte; `length` may lie."""
    size = len(payload) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def settings_frame(values: dict[int, int] | None = None, *, ack: bool = False) -> bytes:
    payload = b"".join(struct.pack(">HI", key, value) for key, value in (values or {}).items())
    return raw_frame(SETTINGS, ACK if ack else 0, 0, payload)


def window_update(stream: int, increment: int) -> bytes:
    return raw_frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def rst_stream(stream: int, code: int = Code.CANCEL) -> bytes:
    return raw_frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def goaway(last: int, code: int = Code.NO_ERROR, text: bytes = b"") -> bytes:
    return raw_frame(GOAWAY, 0, 0, struct.pack(">II", last, code) + text)


def ping(payload: bytes = b"12345678", *, ack: bool = False) -> bytes:
    return raw_frame(PING, ACK if ack else 0, 0, payload)


def literal(name: str, value: str, *, indexed: bool = False) -> bytes:
    """One field as a literal without Huffman, a new name; `indexed` enters the dynamic table. Says whatever it is given."""
    raw_name, raw_value = name.encode("latin-1"), value.encode("latin-1")
    return (
        (b"\x40" if indexed else b"\x00")
        + _number(len(raw_name), 7)
        + raw_name
        + _number(len(raw_value), 7)
        + raw_value
    )


def _number(value: int, bits: int) -> bytes:
    """RFC 7541 §5.1, the first byte's upper bits zero."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes([value])
    out, value = [limit], value - limit
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes([*out, value])


def literals(fields: Iterable[tuple[str, str]]) -> bytes:
    return b"".join(literal(name, value) for name, value in fields)


class H2Error(WireError):
    """The peer broke the protocol, or ended the connection when something was due."""


@dataclass
class Exchange2(FieldAccess):
    """One stream as its receiver saw it: a request at the server, a response at the client."""

    id: int
    fields: Fields = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = field(default_factory=list)
    interim: list[Fields] = field(default_factory=list)
    ended: bool = False
    reset: int | None = None  # code of RST_STREAM
    size: int = 0  # of the body, also where it isn't kept
    send_window: int = DEFAULT_WINDOW

    @property
    def over(self) -> bool:
        return self.ended or self.reset is not None

    @property
    def status(self) -> int:
        return int(self[":status"])

    @property
    def text(self) -> str:
        return self.body.decode()


class Link:
    """One connection's state. Feed it bytes; it answers the frames and keeps messages, windows and the GOAWAY."""

    def __init__(self, *, client: bool, keep_bodies: bool = True) -> None:
        self.client, self.keep_bodies = client, keep_bodies
        self.encoder, self.decoder = hpack.Encoder(), hpack.Decoder()
        self.decoder.max_header_list_size = 1 << 24
        self.buffer = bytearray()
        self.streams: dict[int, Exchange2] = {}
        self.peer_settings: dict[int, int] = {}
        self.settings_seen = False
        self.settings_acked = 0  # of ours
        self.send_window = DEFAULT_WINDOW
        self.peer_window = DEFAULT_WINDOW  # initial window of streams we send on
        self.max_frame = 16_384
        self.goaway: tuple[int, int, bytes] | None = None  # last stream, code, text
        self._block: tuple[int, bool, bytearray] | None = None

    def stream(self, number: int) -> Exchange2:
        if number not in self.streams:
            self.streams[number] = Exchange2(number, send_window=self.peer_window)
        return self.streams[number]

    def take(self) -> Frame | None:
        """The next whole frame of what was fed, already acted upon."""
        if len(self.buffer) < 9:
            return None
        frame, length = Frame.parse_frame_header(memoryview(bytes(self.buffer[:9])))
        if len(self.buffer) < 9 + length:
            return None
        frame.parse_body(memoryview(bytes(self.buffer[9 : 9 + length])))
        del self.buffer[: 9 + length]
        self._act(frame)
        return frame

    def _act(self, frame: Frame) -> None:
        if self._block is not None and not isinstance(frame, ContinuationFrame):
            raise H2Error(f"{frame} within a header block")
        match frame:
            case HeadersFrame():
                self._block = (frame.stream_id, "END_STREAM" in frame.flags, bytearray(frame.data))
                self._end_block(frame)
            case ContinuationFrame():
                assert self._block is not None, "CONTINUATION without HEADERS"
                self._block[2].extend(frame.data)
                self._end_block(frame)
            case DataFrame():
                stream = self.stream(frame.stream_id)
                stream.size += len(frame.data)
                if self.keep_bodies:
                    stream.body += frame.data
                stream.ended |= "END_STREAM" in frame.flags
            case RstStreamFrame():
                self.stream(frame.stream_id).reset = frame.error_code
            case SettingsFrame():
                self._settings(frame)
            case WindowUpdateFrame():
                if frame.stream_id:
                    self.stream(frame.stream_id).send_window += frame.window_increment
                else:
                    self.send_window += frame.window_increment
            case GoAwayFrame():
                self.goaway = (frame.last_stream_id, frame.error_code, bytes(frame.additional_data))
            case PingFrame():
                pass

    def _settings(self, frame: SettingsFrame) -> None:
        if "ACK" in frame.flags:
            self.settings_acked += 1
            return
        self.settings_seen = True
        self.peer_settings.update(frame.settings)
        if Setting.INITIAL_WINDOW_SIZE in frame.settings:
            change = frame.settings[Setting.INITIAL_WINDOW_SIZE] - self.peer_window
            self.peer_window += change
            for stream in self.streams.values():
                stream.send_window += change
        self.max_frame = self.peer_settings.get(Setting.MAX_FRAME_SIZE, self.max_frame)
        if Setting.HEADER_TABLE_SIZE in frame.settings:
            self.encoder.header_table_size = min(4096, frame.settings[Setting.HEADER_TABLE_SIZE])

    def _end_block(self, frame: Frame) -> None:
        assert self._block is not None
        if "END_HEADERS" not in frame.flags:
            return
        number, end, block = self._block
        self._block = None
        decoded = self.decoder.decode(bytes(block), raw=True)
        fields = [(bytes(name).decode("latin-1"), bytes(value).decode("latin-1")) for name, value in decoded]
        stream = self.stream(number)
        if self.client and not stream.fields and dict(fields).get(":status", "").startswith("1"):
            stream.interim.append(fields)
        elif not stream.fields:
            stream.fields = fields
        else:
            stream.trailers = fields
        stream.ended |= end

    def head(self, stream: int, fields: Fields, *, end: bool = True, split: int = 16_384) -> bytes:
        """HEADERS and as many CONTINUATIONs as it takes."""
        block = self.encoder.encode(fields)
        return head_frames(stream, block, end=end, split=split)

    def room(self, stream: int) -> int:
        """Bytes of DATA that may go out on this stream now."""
        return min(self.send_window, self.stream(stream).send_window)

    def data(self, stream: int, piece: bytes, *, end: bool) -> bytes:
        """DATA within the window, which it uses up."""
        assert len(piece) <= self.room(stream) or not piece
        self.send_window -= len(piece)
        self.stream(stream).send_window -= len(piece)
        return data_frames(stream, piece, end=end, size=self.max_frame)


def head_frames(stream: int, block: bytes, *, end: bool = True, split: int = 16_384) -> bytes:
    parts = [block[at : at + split] for at in range(0, len(block), split)] or [b""]
    out = []
    for number, part in enumerate(parts):
        flags = (END_HEADERS if number == len(parts) - 1 else 0) | (END_STREAM if end and number == 0 else 0)
        out.append(raw_frame(CONTINUATION if number else HEADERS, flags, stream, part))
    return b"".join(out)


def data_frames(stream: int, piece: bytes, *, end: bool = False, size: int = 16_384) -> bytes:
    """DATA whatever the windows say."""
    parts = [piece[at : at + size] for at in range(0, len(piece), size)] or [b""]
    return b"".join(
        raw_frame(DATA, END_STREAM if end and number == len(parts) - 1 else 0, stream, part)
        for number, part in enumerate(parts)
    )
