"""The C of Redis' parts as a process that answers records: csrc/tests/resp_pipe.c, built once."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgpack
import pytest

from mosnpy.codecs.redis.commands import COMMANDS

ROOT = Path(__file__).parents[3]
PARTS = "resp resp_scan resp_write resp_inline redis_table redis_table_learn redis_keys redis_shape".split()
FLAGS = "-std=gnu11 -O1 -g -Wall -Wextra -Werror -fsanitize=address,undefined -fno-sanitize-recover=all".split()


class Pipe:
    """One running resp_pipe with a command table: all of it, or none to begin with."""

    def __init__(self, binary: Path, *, empty: bool = False) -> None:
        self._process = subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._ask(b"T", msgpack.packb([] if empty else COMMANDS))

    def _ask(self, operation: bytes, payload: bytes) -> bytes | None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(operation + struct.pack("<I", len(payload)) + payload)
        self._process.stdin.flush()
        head = self._process.stdout.read(4)
        assert len(head) == 4, "resp_pipe ended"
        (size,) = struct.unpack("<i", head)
        return None if size < 0 else self._process.stdout.read(size)

    def resp3(self, request: bytes, reply: bytes) -> bytes | None:
        """The RESP3 form of a RESP2 reply to this request. None when it can't be read."""
        self._ask(b"Q", request)
        return self._ask(b"U", reply)

    def learn(self, command_reply: bytes) -> int | None:
        """How many commands the table took from a COMMAND reply. None when it can't be read."""
        count = self._ask(b"L", command_reply)
        return None if count is None else struct.unpack("<i", count)[0]

    def keys(self, request: bytes) -> list[int]:
        """Positions of the keys among the request's arguments."""
        self._ask(b"Q", request)
        positions = self._ask(b"K", b"")
        assert positions is not None
        return [position for (position,) in struct.iter_unpack("<I", positions)]

    def scan(self, replies: bytes, piece: int = 0) -> list[int]:
        """The lengths of the whole replies, found in pieces of that size; a negative one: broken there."""
        self._ask(b"P", str(piece).encode())
        lengths = self._ask(b"S", replies)
        assert lengths is not None
        return [length for (length,) in struct.iter_unpack("<i", lengths)]

    def close(self) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        return self._process.wait(timeout=20)


@pytest.fixture(scope="session")
def pipe_binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    binary = tmp_path_factory.mktemp("resp") / "resp_pipe"
    codecs = [f"csrc/codecs/{part}.c" for part in PARTS]
    sources = ["csrc/tests/resp_pipe.c", *codecs, "csrc/core/mpack.c", "csrc/core/base.c"]
    subprocess.run([compiler, *FLAGS, "-Icsrc", *sources, "-o", binary], cwd=ROOT, check=True)
    return binary


@pytest.fixture(scope="session")
def pipe(pipe_binary: Path) -> Iterator[Pipe]:
    running = Pipe(pipe_binary)
    yield running
    assert running.close() == 0, "resp_pipe: a finding of a sanitizer"


@pytest.fixture(scope="session")
def empty_pipe(pipe_binary: Path) -> Iterator[Pipe]:
    running = Pipe(pipe_binary, empty=True)
    yield running
    assert running.close() == 0, "resp_pipe: a finding of a sanitizer"
