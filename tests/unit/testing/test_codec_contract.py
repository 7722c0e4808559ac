"""The contract suite itself: it passes a good decoder and finds each fault it is there to find."""

from __future__ import annotations

from collections.abc import Sequence

import hiredis
import pytest

from mosnpy.errors import CodecError
from mosnpy.testing.codec_contract import Case, CodecContract, Decoder
from mosnpy.testing.resp import encode, split_replies


class Lines:
    """One length byte, then that many bytes; 255 is over the limit."""

    def __init__(self) -> None:
        self.rest = b""
        self.broken = False

    def feed(self, data: memoryview) -> list[object]:
        if self.broken:
            raise CodecError("broken before")
        self.rest += bytes(data)
        found: list[object] = []
        while self.rest and len(self.rest) > self.rest[0]:
            if self.rest[0] == 255:
                break
            found.append(self.rest[1 : 1 + self.rest[0]])
            self.rest = self.rest[1 + self.rest[0] :]
        if self.rest[:1] == b"\xff":
            self.broken = True
            raise CodecError("over the limit")
        return found

    def finish(self) -> None:
        if self.rest:
            raise CodecError("cut short")


class TestLines(CodecContract):
    cases = [Case(b"\x05hello", [b"hello"]), Case(b"\x00", [b""]), Case(b"\x01a\x02bc", [b"a", b"bc"])]
    refused = [b"\xff", b"\x01a\xff"]

    def decoder(self) -> Decoder:
        return Lines()

    def encode(self, messages: Sequence[object]) -> bytes:
        return b"".join(bytes([len(message)]) + message for message in messages if isinstance(message, bytes))


class Hiredis:
    def __init__(self) -> None:
        self.reader = hiredis.Reader()
        self.came = b""

    def feed(self, data: memoryview) -> list[object]:
        self.came += bytes(data)
        self.reader.feed(bytes(data))
        found = []
        while (reply := self.reader.gets()) is not False:
            found.append(reply)
        return found

    def finish(self) -> None:
        if split_replies(self.came)[1]:  # its own has_data() is false between the members of an array
            raise hiredis.ProtocolError("cut short")


class TestHiredis(CodecContract):
    """A parser of good repute holds the contract: the contract asks for nothing odd."""

    cases = [
        Case(encode("GET", "a"), [[b"GET", b"a"]]),
        Case(b":12\r\n+OK\r\n", [12, b"OK"]),
        Case(b"$0\r\n\r\n", [b""]),
        Case(b"*0\r\n", [[]]),
    ]
    refused = [b":abc\r\n", b"?\r\n"]
    errors = (hiredis.ProtocolError, UnicodeDecodeError)

    def decoder(self) -> Decoder:
        return Hiredis()


class Splitter:
    """The harness' own splitter of replies, as a decoder."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: memoryview) -> list[object]:
        replies, self.rest = split_replies(self.rest + bytes(data))
        return list(replies)

    def finish(self) -> None:
        if self.rest:
            raise AssertionError("cut short")


class TestSplitter(CodecContract):
    cases = [
        Case(wire, [wire])
        for wire in (
            b"+OK\r\n", b"-ERR x\r\n", b":1\r\n", b"$3\r\nabc\r\n", b"$-1\r\n", b"*-1\r\n", b"*2\r\n:1\r\n$1\r\na\r\n", b"_\r\n", b"#t\r\n", b",1.5\r\n",
            b"(123\r\n", b"!5\r\nERR x\r\n", b"=6\r\ntxt:ab\r\n", b"%1\r\n+a\r\n*1\r\n:1\r\n", b"~2\r\n:1\r\n:2\r\n", b">2\r\n+a\r\n+b\r\n",
            b"|1\r\n+ttl\r\n:5\r\n$1\r\nv\r\n", b"*1\r\n|1\r\n+k\r\n:1\r\n:7\r\n",
        )
    ]  # fmt: skip
    errors = (AssertionError,)
    refused = [b"abc\r\n", b"$x\r\n"]

    def decoder(self) -> Decoder:
        return Splitter()

    def test_refusal_is_sticky(self) -> None:
        """Not asked of the harness: a test ends at the first broken byte."""


class ForgetsSplits(Lines):
    def feed(self, data: memoryview) -> list[object]:
        self.rest = b""
        return super().feed(data)


class KeepsTheView(Lines):
    view: memoryview | None = None

    def feed(self, data: memoryview) -> list[object]:
        found = super().feed(data)
        self.rest, self.view = b"", data[len(data) - len(self.rest) :] if self.rest else None
        return found


class Crashes(Lines):
    def feed(self, data: memoryview) -> list[object]:
        if 0x77 in bytes(data):
            raise IndexError("a fault of the codec")
        return super().feed(data)


class ForgivesEverything(Lines):
    def feed(self, data: memoryview) -> list[object]:
        try:
            return super().feed(data)
        except CodecError:
            self.broken, self.rest = False, b""
            return []


@pytest.mark.parametrize(
    ("decoder", "check"),
    [
        (ForgetsSplits, "test_every_split_in_two"), (ForgetsSplits, "test_byte_by_byte"), (KeepsTheView, "test_every_split_in_two"),
        (Crashes, "test_random_bytes_give_only_codec_errors"), (ForgivesEverything, "test_what_must_be_refused_is_refused_at_once"),
        (ForgivesEverything, "test_refusal_is_sticky"),
    ],
)  # fmt: skip
def test_faulty_decoder_is_found(decoder: type[Lines], check: str) -> None:
    suite = TestLines()
    suite.decoder = decoder  # type: ignore[method-assign]
    with pytest.raises((AssertionError, IndexError, CodecError)):
        getattr(suite, check)()
