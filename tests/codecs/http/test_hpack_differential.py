"""HPACK beside the `hpack` library: blocks of either read by the other, and blocks with bytes changed."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hpack import Decoder, Encoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.struct import HeaderTuple, NeverIndexedHeaderTuple

ROOT = Path(__file__).parents[3]
PARTS = "hpack_table hpack_huffman hpack_decode hpack_encode http".split()
FLAGS = "-std=gnu11 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all".split()

Fields = list[tuple[bytes, bytes]]

NAMES = (
    ":method :path :scheme :authority :status accept accept-encoding authorization cache-control content-length content-type "
    "cookie date etag grpc-timeout host server set-cookie te user-agent via x-forwarded-for x-request-id x-a x-custom-name"
).split()
VALUES = [
    b"",
    b"GET",
    b"POST",
    b"/",
    b"/index.html",
    b"http",
    b"https",
    b"200",
    b"404",
    b"gzip, deflate",
    b"0",
    b"trailers",
]


class Pipe:
    """One running hpack_pipe with a decoder."""

    def __init__(self, binary: Path) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def _ask(self, operation: bytes, payload: bytes) -> bytes | int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(operation + struct.pack("<I", len(payload)) + payload)
        self._process.stdin.flush()
        head = self._process.stdout.read(4)
        assert len(head) == 4, "hpack_pipe ended"
        (size,) = struct.unpack("<i", head)
        return size if size < 0 else self._process.stdout.read(size)

    def new(self, table: int = 4096) -> None:
        self._ask(b"N", struct.pack("<I", table))

    def decode(self, block: bytes) -> Fields | None:
        """The fields; None when the block is broken."""
        answer = self._ask(b"D", block)
        if isinstance(answer, int):
            assert answer == -1
            return None
        texts = []
        while answer:
            (size,) = struct.unpack_from("<I", answer)
            texts.append(answer[4 : 4 + size])
            answer = answer[4 + size :]
        return list(zip(texts[::2], texts[1::2], strict=True))

    def encode(self, fields: Fields) -> bytes:
        block = self._ask(b"E", b"".join(struct.pack("<I", len(text)) + text for field in fields for text in field))
        assert isinstance(block, bytes)
        return block

    def close(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait(timeout=20)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipe]:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    binary = tmp_path_factory.mktemp("hpack") / "hpack_pipe"
    sources = ["csrc/tests/hpack_pipe.c", *(f"csrc/codecs/{part}.c" for part in PARTS)]
    subprocess.run([compiler, *FLAGS, "-Icsrc", *sources, "-o", binary], cwd=ROOT, check=True)
    running = Pipe(binary)
    yield running
    assert running.close() == 0, "hpack_pipe: a finding of a sanitizer"


def random_fields(dice: random.Random, *, any_bytes: bool = True) -> Fields:
    fields: Fields = []
    for _ in range(dice.randint(0, 12)):
        name = dice.choice(NAMES).encode()
        if dice.random() < 0.2:
            name = bytes(dice.choices(b"abcdefghijklmnopqrstuvwxyz-0123456789", k=dice.choice([1, 5, 20, 200])))
        value = dice.choice(VALUES)
        if dice.random() < 0.5:
            letters = range(256) if any_bytes and dice.random() < 0.3 else range(0x20, 0x7F)
            value = bytes(dice.choices(letters, k=dice.choice([1, 3, 17, 60, 126, 127, 128, 300, 2000])))
        if name == b":status":
            value = str(dice.randint(100, 999)).encode()
        fields.append((name, value))
    return fields


def encoded(dice: random.Random, encoder: Encoder, fields: Fields) -> bytes:
    tuples = [(NeverIndexedHeaderTuple if dice.random() < 0.1 else HeaderTuple)(*field) for field in fields]
    return bytes(encoder.encode(tuples, huffman=dice.random() < 0.6))


def theirs(decoder: Decoder, block: bytes) -> Fields:
    return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]


@pytest.mark.parametrize("seed", range(40))
def test_their_blocks_mean_the_same_to_us(pipe: Pipe, seed: int) -> None:
    dice = random.Random(seed)
    table = dice.choice([4096, 4096, 8192, 65536])
    encoder = Encoder()
    pipe.new(table)
    for _ in range(25):
        if dice.random() < 0.2:
            for _ in range(dice.randint(1, 3)):
                size = dice.choice([0, 40, 100, 500, 4096, table])
                if size != encoder.header_table_size:  # the library forgets a change when the same size is set again
                    encoder.header_table_size = size
        fields = random_fields(dice)
        assert pipe.decode(encoded(dice, encoder, fields)) == fields


@pytest.mark.parametrize("seed", range(20))
def test_our_blocks_mean_the_same_to_them(pipe: Pipe, seed: int) -> None:
    dice = random.Random(seed)
    decoder = Decoder(max_header_list_size=1 << 20)
    for _ in range(25):
        fields = random_fields(dice)
        shouted = [(name if name[:1] == b":" else name.title(), value) for name, value in fields]
        assert theirs(decoder, pipe.encode(shouted)) == fields
        assert not decoder.header_table.dynamic_entries


@pytest.mark.parametrize("seed", range(60))
def test_what_they_refuse_of_changed_blocks_we_refuse(pipe: Pipe, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(40):
        encoder, decoder = Encoder(), Decoder(max_header_list_size=1 << 20)
        pipe.new()
        for _ in range(4):
            block = bytearray(encoded(dice, encoder, random_fields(dice)))
            for _ in range(dice.choice([0, 0, 1, 1, 2, 5])):
                at = dice.randrange(len(block) + 1)
                change = dice.randrange(4)
                if change == 0 and at < len(block):
                    block[at] ^= 1 << dice.randrange(8)
                elif change == 1 and at < len(block):
                    block[at] = dice.choice([0x00, 0x20, 0x3F, 0x40, 0x7F, 0x80, 0xBE, 0xC0, 0xFF])
                elif change == 2:
                    del block[at : at + dice.randint(1, 3)]
                else:
                    block[at:at] = bytes(dice.choices(range(256), k=dice.randint(1, 3)))
            ours = pipe.decode(bytes(block))
            try:
                fields = theirs(decoder, bytes(block))
            except OversizedHeaderListError:
                break
            except (HPACKError, IndexError):
                assert ours is None, bytes(block).hex()
                break
            if ours is None:  # integers longer than any size needs to be: an implementation's limit (§5.1)
                assert any(byte == 0xFF or byte & 0x80 for byte in block)
                break
            assert ours == fields
