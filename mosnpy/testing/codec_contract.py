"""What every decoder must hold, whatever its protocol: the same checks for the codecs that come with mosnpy and for yours.

    class TestAcme(CodecContract):
        cases = [Case(b"\\x00\\x05hello", ["hello"])]
        def decoder(self): return AcmeDecoder()
        refused = [b"\\xff\\xff"]                     # broken, or above a limit: must be refused without waiting for more

A decoder is anything with `feed(data) -> list of messages` and `finish()`, called after the last byte: it raises when a
message is cut short. Both raise only `errors` (CodecError unless said otherwise). Pytest collects the methods below.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from mosnpy.errors import CodecError


class Decoder(Protocol):
    def feed(self, data: memoryview) -> list[object]:
        """The messages that are whole now. The view is only valid during the call."""

    def finish(self) -> None:
        """The peer has sent its last byte; raises when a message is cut short."""


@dataclass(frozen=True)
class Case:
    """Bytes as they come from the wire, and the messages they mean."""

    wire: bytes
    messages: Sequence[object]


class Refusal(AssertionError):
    """A decoder took what it must refuse, or refused what it must take."""


def feed(decoder: Decoder, data: bytes) -> list[object]:
    """Feeds from a buffer that is overwritten afterwards: a decoder that keeps the view is found out."""
    buffer = bytearray(data)
    messages = list(decoder.feed(memoryview(buffer)))
    for at in range(len(buffer)):
        buffer[at] = 0xAA
    return messages


class CodecContract:
    """Base class of a codec's tests; it has no `Test` prefix, so it is not collected itself."""

    cases: ClassVar[Sequence[Case]] = ()
    refused: ClassVar[Sequence[bytes]] = ()  # each must raise from feed() alone, before any finish()
    errors: ClassVar[tuple[type[Exception], ...]] = (CodecError,)
    random_rounds: ClassVar[int] = 200
    # Decoding n times the bytes may take this many times n longer, at most: catches quadratic slow drips, not jitter.
    slack: ClassVar[float] = 8.0

    def decoder(self) -> Decoder:
        raise NotImplementedError("return a new decoder")

    def encode(self, messages: Sequence[object]) -> bytes | None:
        """The bytes of the messages, where the codec can write; None leaves that check out."""
        return None

    def decode(self, pieces: Sequence[bytes]) -> list[object]:
        """All messages of the pieces, fed one by one, to their end."""
        decoder = self.decoder()
        messages = [message for piece in pieces for message in feed(decoder, piece)]
        decoder.finish()
        return messages

    def test_there_are_cases(self) -> None:
        assert self.cases, "a codec without cases is not tested"

    def test_whole(self) -> None:
        for case in self.cases:
            assert self.decode([case.wire]) == list(case.messages), case

    def test_byte_by_byte(self) -> None:
        for case in self.cases:
            assert self.decode([case.wire[at : at + 1] for at in range(len(case.wire))]) == list(case.messages), case

    def test_every_split_in_two(self) -> None:
        for case in self.cases:
            for at in range(1, len(case.wire)):
                assert self.decode([case.wire[:at], case.wire[at:]]) == list(case.messages), (case, at)

    def test_several_per_read(self) -> None:
        wire = b"".join(case.wire for case in self.cases) * 3
        messages = [message for case in self.cases for message in case.messages] * 3
        assert self.decode([wire]) == messages

    def test_random_splits_of_several(self) -> None:
        dice = random.Random(1)
        wire = b"".join(case.wire for case in self.cases)
        messages = [message for case in self.cases for message in case.messages]
        for _ in range(50):
            cuts = sorted(dice.randrange(len(wire) + 1) for _ in range(dice.randrange(8)))
            pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
            assert self.decode(pieces) == messages, cuts

    def test_trailing_bytes_wait_for_more(self) -> None:
        """The beginning of the next message neither delays nor changes the one before it."""
        for case in self.cases:
            for following in self.cases:
                decoder = self.decoder()
                came = feed(decoder, case.wire + following.wire[:1])
                assert came[: len(case.messages)] == list(case.messages)
                assert came + feed(decoder, following.wire[1:]) == [*case.messages, *following.messages]

    def test_cut_short_is_an_error_at_the_end(self) -> None:
        for case in self.cases:
            for at in range(1, len(case.wire)):
                decoder = self.decoder()
                came = feed(decoder, case.wire[:at])
                if came == list(case.messages)[: len(came)] and len(came) < len(case.messages):
                    if self._refuses_end(decoder):
                        continue
                    # Allowed only where the cut lies between two messages of the case.
                    assert self.decode([case.wire[:at]]) == came
                    assert self.decode([case.wire[at:]]) == list(case.messages)[len(came) :], (case, at)

    def _refuses_end(self, decoder: Decoder) -> bool:
        try:
            decoder.finish()
        except self.errors:
            return True
        return False

    def test_what_must_be_refused_is_refused_at_once(self) -> None:
        for wire in self.refused:
            for pieces in ([wire], [wire[at : at + 1] for at in range(len(wire))]):
                decoder = self.decoder()
                try:
                    for piece in pieces:
                        feed(decoder, piece)
                except self.errors:
                    continue
                raise Refusal(f"not refused: {wire[:100]!r}")

    def test_refusal_is_sticky(self) -> None:
        for wire in self.refused:
            decoder = self.decoder()
            for attempt in (wire, *[case.wire for case in self.cases]):
                try:
                    feed(decoder, attempt)
                except self.errors:
                    continue
                raise Refusal(f"taken up again after {wire[:100]!r}")

    def test_random_bytes_give_only_codec_errors(self) -> None:
        for seed in range(self.random_rounds):
            dice = random.Random(seed)
            decoder = self.decoder()
            try:
                for _ in range(20):
                    feed(decoder, dice.randbytes(dice.randrange(1, 200)))
                decoder.finish()
            except self.errors:
                pass

    def test_damaged_messages_give_only_codec_errors(self) -> None:
        for seed in range(self.random_rounds):
            dice = random.Random(seed)
            wire = bytearray(dice.choice(self.cases).wire)
            if not wire:
                continue
            for _ in range(dice.randrange(1, 4)):
                wire[dice.randrange(len(wire))] = dice.randrange(256)
            try:
                self.decode([bytes(wire)])
            except self.errors:
                pass

    def test_written_messages_are_read_back(self) -> None:
        for case in self.cases:
            wire = self.encode(case.messages)
            if wire is not None:
                assert self.decode([wire]) == list(case.messages), case

    def test_time_grows_with_the_bytes_not_with_their_square(self) -> None:
        wire = b"".join(case.wire for case in self.cases)
        short = wire * (1 + 4_000 // len(wire))
        once = min(self._seconds(short) for _ in range(3))
        many = min(self._seconds(short * 8) for _ in range(2))
        assert many <= 8 * self.slack * max(once, 1e-4), (
            f"{once * 1e3:.2f} ms for {len(short)} bytes, {many * 1e3:.2f} ms for 8 times as many"
        )

    def _seconds(self, wire: bytes) -> float:
        """Byte by byte: the slowest way bytes can come."""
        pieces = [wire[at : at + 1] for at in range(len(wire))]
        begun = time.perf_counter()
        self.decode(pieces)
        return time.perf_counter() - begun
