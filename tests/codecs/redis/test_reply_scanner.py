"""The scanner of replies against hiredis: both must find the same ends, and refuse the same bytes or for a written reason."""

from __future__ import annotations

import itertools
import random
from typing import Protocol

import hiredis
import pytest


class Pipe(Protocol):
    """What this needs of conftest.py's."""

    def scan(self, replies: bytes, piece: int = 0) -> list[int]: ...


SCALARS = [
    b"+OK\r\n", b"+\r\n", b"-ERR no\r\n", b":0\r\n", b":-12\r\n", b":9223372036854775807\r\n", b"$0\r\n\r\n", b"$5\r\nhello\r\n",
    b"$2\r\n\r\n\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n", b"_\r\n", b"#t\r\n", b"#f\r\n", b",1.5\r\n", b",inf\r\n", b",-inf\r\n",
    b",1e10\r\n", b"(123456789012345678901234567890\r\n", b"=7\r\ntxt:abc\r\n", b"$12\r\nabcdefghijkl\r\n",
]  # fmt: skip
BROKEN = [
    b"?\r\n", b"\r\n", b"$abc\r\n", b"$-2\r\n", b"*-2\r\n", b":\r\n", b":abc\r\n", b":1x\r\n", b"#x\r\n", b"_x\r\n",
    b"$1x\r\n", b"$\r\n", b"*\r\n", b"(1.5\r\n", b"*01\r\n:1\r\n", b"$01\r\na\r\n",
]  # fmt: skip
# Where the two differ by design: contents are the client's business, places are the scanner's.
HIREDIS_IS_STRICTER = [b",x\r\n", b",1.2.3\r\n", b":99999999999999999999\r\n"]
SCANNER_IS_STRICTER = [b"$3\r\nabcxx", b"%-1\r\n", b"~-1\r\n"]


def random_reply(rng: random.Random, depth: int = 0) -> bytes:
    kind = rng.choice(b"*%~>" if depth == 0 else b"*%~") if depth < 5 and rng.random() < 0.4 else 0
    if not kind:
        return rng.choice(SCALARS)
    count = rng.choice([0, 1, 2, 3, 12])
    members = count * 2 if kind == ord("%") else count
    if kind == ord("%"):  # hiredis makes dicts of maps, so keys must be hashable
        body = b"".join(b"$3\r\nk%02d\r\n" % i + random_reply(rng, depth + 1) for i in range(count))
    elif kind == ord("~"):
        body = b"".join(b":%d\r\n" % i for i in range(members))
    else:
        body = b"".join(random_reply(rng, depth + 1) for _ in range(members))
    return b"%c%d\r\n" % (kind, count) + body


def ends_by_hiredis(data: bytes) -> list[int]:
    """Lengths of the whole replies, found by giving hiredis a byte at a time; -1 where it refuses."""
    reader, lengths, begin = hiredis.Reader(notEnoughData=...), list[int](), 0
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        try:
            if reader.gets() is not ...:
                lengths.append(at + 1 - begin)
                begin = at + 1
        except hiredis.ProtocolError:
            return [*lengths, -1]
    return lengths


def refused(lengths: list[int]) -> list[int]:
    return [max(length, -1) for length in lengths]


def test_ends_are_where_hiredis_finds_them(pipe: Pipe) -> None:
    rng = random.Random(7)
    for _ in range(150):
        data = b"".join(random_reply(rng) for _ in range(rng.randrange(1, 6)))
        data = data[: rng.randrange(1, len(data) + 1)] if rng.random() < 0.3 else data
        want = ends_by_hiredis(data)
        for piece in (0, 1, rng.randrange(2, 40)):
            assert pipe.scan(data, piece) == want, data


@pytest.mark.parametrize("data", BROKEN)
def test_what_hiredis_refuses_is_refused(pipe: Pipe, data: bytes) -> None:
    for before, piece in itertools.product([b"", b"+OK\r\n", b"$3\r\nabc\r\n:1\r\n"], (0, 1, 3)):
        assert refused(pipe.scan(before + data, piece)) == ends_by_hiredis(before + data)


@pytest.mark.parametrize("data", HIREDIS_IS_STRICTER)
def test_contents_of_numbers_are_left_to_the_client(pipe: Pipe, data: bytes) -> None:
    assert ends_by_hiredis(data) == [-1]
    assert pipe.scan(data) == [len(data)]


@pytest.mark.parametrize("data", SCANNER_IS_STRICTER)
def test_line_ends_and_nulls_are_checked(pipe: Pipe, data: bytes) -> None:
    assert ends_by_hiredis(data) == [len(data)]
    assert refused(pipe.scan(data)) == [-1]
