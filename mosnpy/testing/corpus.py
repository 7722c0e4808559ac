"""Reads command corpora (tests/data/redis/corpus.txt says how they are written) and compares two runs of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mosnpy.testing.resp import Closed, Wire, encode, parse, shape, unordered

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|(\S+)')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|.)")
_ESCAPED = {"r": b"\r", "n": b"\n", "t": b"\t", '"': b'"', "\\": b"\\"}
_MARKS = "?%~"


@dataclass(frozen=True)
class Command:
    line: int
    mark: str  # one of "", "?", "%", "~"
    words: tuple[bytes, ...]

    def __str__(self) -> str:
        return f"line {self.line}: " + " ".join(repr(word)[2:-1] or '""' for word in self.words)


def split_words(text: str) -> tuple[bytes, ...]:
    words = []
    for match in _WORD.finditer(text):
        quoted, bare = match.groups()
        words.append(_unescape(quoted) if quoted is not None else bare.encode())
    return tuple(words)


def _unescape(text: str) -> bytes:
    out, at = b"", 0
    for match in _ESCAPE.finditer(text):
        out += text[at : match.start()].encode()
        code = match.group(1)
        out += bytes([int(code[1:], 16)]) if len(code) == 3 else _ESCAPED[code]
        at = match.end()
    return out + text[at:].encode()


def read_corpus(path: Path) -> dict[str, list[Command]]:
    """Family name → its commands, in order."""
    families: dict[str, list[Command]] = {}
    commands: list[Command] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if line.startswith("== "):
            commands = families.setdefault(line[3:].strip(), [])
        elif line.strip() and not line.startswith("#"):
            mark, text = (line[0], line[1:]) if line[0] in _MARKS and line[1:2] == " " else ("", line)
            commands.append(Command(number, mark, split_words(text)))
    return families


def run_one_by_one(wire: Wire, commands: list[Command]) -> list[bytes]:
    """Each command after the reply to the one before. A closed connection ends the run with an empty reply."""
    replies = []
    for command in commands:
        try:
            replies.append(wire.ask(*command.words))
        except Closed:
            replies.append(b"")
            break
    return replies


def run_pipelined(wire: Wire, commands: list[Command]) -> list[bytes]:
    """All commands in one write. A closed connection ends the run with an empty reply."""
    wire.send_raw(b"".join(encode(*command.words) for command in commands))
    replies: list[bytes] = []
    while len(replies) < len(commands):
        try:
            replies.append(wire.reply())
        except Closed:
            replies.append(b"")
            break
    return replies


def differences(commands: list[Command], expected: list[bytes], got: list[bytes]) -> Iterator[str]:
    if len(expected) != len(got):
        yield f"{len(got)} replies instead of {len(expected)}"
    for command, right, reply in zip(commands, expected, got, strict=False):
        if not _same(command.mark, right, reply):
            yield f"{command}\n    expected {right[:400]!r}\n    got      {reply[:400]!r}"


def _same(mark: str, right: bytes, reply: bytes) -> bool:
    if mark == "~" or right == reply:
        return True
    if not right or not reply or not mark:
        return False
    if mark == "?":
        return shape(parse(right)) == shape(parse(reply))
    return unordered(parse(right)) == unordered(parse(reply))
